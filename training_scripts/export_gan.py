"""Turn a base that `ias-zoo fit METHOD --stage base` wrote into an embedded one: half precision, without its pictures.

Checks that half precision changes next to nothing, and that the licence is the package's. The list of training files,
thousands of drawn pictures, becomes a count.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ias_zoo.cards import make_card
from ias_zoo.hub import read_weights, write_weights
from ias_zoo.registry import registry

LARGEST = 4_000_000  # bytes: what a wheel may carry for one method


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="the weights folder of a base stage")
    parser.add_argument("--out", type=Path, required=True, help="plugins/PLUGIN/tiny; replaced")
    parser.add_argument("--trained-on", required=True, help="what the pictures were, for the card")
    args = parser.parse_args()
    manifest = read_weights(args.base)
    if manifest.stage != "base":
        raise SystemExit(f"{args.base} holds {manifest.stage} weights, no base")
    facts = {**manifest.facts, "pictures": len(manifest.training_files), "trained_on": args.trained_on}
    manifest = dataclasses.replace(manifest, training_files={}, facts=facts, files={})

    def write(folder: Path) -> None:
        total = 0
        for path in sorted(args.base.glob("*.safetensors")):
            tensors = load_file(path)
            half = {name: tensor.half() for name, tensor in tensors.items()}
            worst = max(float((half[name].float() - tensor).abs().max()) for name, tensor in tensors.items())
            if not all(bool(torch.isfinite(tensor).all()) for tensor in half.values()):
                raise SystemExit(f"{path}: a weight is beyond half precision")
            save_file(half, folder / path.name)
            total += (folder / path.name).stat().st_size
            print(f"{path.name}: {sum(t.numel() for t in tensors.values()):,} numbers, half differs by {worst:.2g}")
        if total > LARGEST:
            raise SystemExit(f"{total:,} bytes; a wheel may carry {LARGEST:,} of one method")
        print(f"{total:,} bytes")

    method = registry().find(manifest.method).method
    with tempfile.TemporaryDirectory() as scratch:  # checked before anything is replaced
        write_weights(Path(scratch) / "base", manifest, write, make_card(method, manifest))
        read_weights(Path(scratch) / "base", method=manifest.method)
    write_weights(args.out, manifest, write, make_card(method, manifest))


if __name__ == "__main__":
    main()
