"""Write good pictures as PNG files: the procedural scenes and CC0 photographs of make_data.py, none with a defect.

For the bases of methods that train their own: ``ias-zoo fit METHOD --stage base --data FOLDER`` reads them. A picture
depends on its number and the seed alone, and one that exists is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from make_data import draw_picture, read_photographs

from ias_zoo.data.images import encode_png, resize_image, write_whole


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder; pictures go into its train/good")
    parser.add_argument("--photographs", type=Path, help="folder of CC0 pictures, one folder a material")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--size", type=int, default=64, help="side in pixels; they are drawn at 128")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    photographs = read_photographs(args.photographs, held_out=False)
    folder = args.out / "train/good"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(args.count):
        path = folder / f"{number:05d}.png"
        if path.exists():
            continue
        picture, _ = draw_picture(photographs, {}, np.random.default_rng([args.seed, number, 2]), normal=True)
        write_whole(path, encode_png(resize_image(picture, args.size, args.size)))


if __name__ == "__main__":
    main()
