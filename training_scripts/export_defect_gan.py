"""Put the base that train_defect_gan.py trained into the plugin: a weights folder of stage base, half precision."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from train_defect_gan import DISCRIMINATOR, GENERATOR

import ias_zoo
from ias_zoo.hub import Manifest, write_weights
from ias_zoo.method import PLUGIN_API
from ias_zoo.options import options_to_json
from ias_zoo_defect_gan.base import read_base, save_base
from ias_zoo_defect_gan.options import DefectGANOptions

LARGEST = 4e6  # bytes; the folder is part of a wheel


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of train_defect_gan.py")
    parser.add_argument("--out", type=Path, required=True, help="the base's folder; what is in it is replaced")
    parser.add_argument("--card", type=Path, help="its README.md; default: the one that is there")
    args = parser.parse_args()
    networks = read_base(args.run / "base", "base")
    architecture = networks.architecture
    spent = {name: json.loads((args.run / name / "state.json").read_text()) for name in (GENERATOR, DISCRIMINATOR)}
    card = (args.card or args.out / "README.md").read_text(encoding="utf-8")
    chosen = DefectGANOptions(
        adapter="full", supervision="masks", size=architecture.size, width=architecture.width,
        restore_control=architecture.restore_control, classes=architecture.classes,
    )  # fmt: skip
    manifest = Manifest(
        method="defect_gan",
        distribution="ias-zoo",
        plugin_version=ias_zoo.__version__,
        plugin_api=PLUGIN_API,
        zoo_version=ias_zoo.__version__,
        base=None,
        base_revision=None,
        options=options_to_json(chosen),
        defects=(),
        licence="Apache-2.0",
        training_files={},
        facts={
            "resolution": architecture.size,
            "crop": None,
            "steps": {name: state["step"] for name, state in spent.items()},
            "seconds": round(spent[GENERATOR]["spent"], 1),
        },
        stage="base",
    )
    shutil.rmtree(args.out, ignore_errors=True)
    write_weights(args.out, manifest, lambda folder: save_base(networks, folder, half=True), card)
    total = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{total / 1e6:.2f} MB in {args.out}")
    if total > LARGEST:
        raise SystemExit("too large for the wheel")


if __name__ == "__main__":
    main()
