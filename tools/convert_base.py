"""Turn a base with pickled weights into one that the zoo opens.

    python tools/convert_base.py DOWNLOADED NEW

Some older repositories, CompVis/ldm-text2im-large-256 among them, hold their weights as pickles (``*.bin``), and the
zoo never opens a pickle: reading one can run a program. This script is for you to run, once, on files that you chose to
trust; it reads them with torch's restricted loader (``weights_only=True``, tensors and plain containers alone) and
writes the same tensors as safetensors, with everything else of the folder beside. Download the repository first::

    hf download CompVis/ldm-text2im-large-256 --local-dir DOWNLOADED
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

NAMES = {"pytorch_model.bin": "model.safetensors"}  # transformers' name; diffusers keeps the stem


def convert(source: Path, target: Path) -> list[Path]:
    """Write the folder anew, pickles converted; gives the files converted."""
    import torch
    from safetensors.torch import save_file

    if not (source / "model_index.json").is_file():
        sys.exit(f"{source}: no model_index.json; expected a model in diffusers' format")
    if target.exists():
        sys.exit(f"{target} exists; give a new folder")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    written = []
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        if path.is_dir() or inside.parts[0].startswith("."):
            continue
        (partial / inside).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix not in (".bin", ".ckpt", ".pt", ".pth"):
            shutil.copyfile(path, partial / inside)
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        tensors = {name: t.contiguous().clone() for name, t in state.items() if isinstance(t, torch.Tensor)}
        place = partial / inside.with_name(NAMES.get(path.name, f"{path.stem}.safetensors"))
        save_file(tensors, place, metadata={"format": "pt"})
        written.append(target / place.relative_to(partial))
    partial.rename(target)
    return written


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("downloaded", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    for path in convert(arguments.downloaded, arguments.new):
        print(path)


if __name__ == "__main__":
    main()
