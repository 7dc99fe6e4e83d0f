"""Make pairs of pictures, good and defective, with masks: the scenes, photographs and defects of make_data.py.

Writes ``pairs_000.npz`` and so on into a cache folder: ``normals`` and ``defects`` (N x 64 x 64 x 3 uint8 RGB, equal
outside the mask), ``masks`` (N x 64 x 64 bool) and ``kinds`` (N strings, names of defects.KINDS). Half of them are
pictures reduced to that size, half cut out at their own scale. A shard depends on its number and the seed alone; one
that exists is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from make_data import SIZE, as_camera, photograph, read_photographs, to_uint8
from scenes import draw_scene

from ias_zoo.imaging.drawn_defects import KINDS, draw_defect, visible_mask

Array = np.ndarray[Any, Any]
Random = np.random.Generator

SIDE = 64
LEAST, MOST = 12, SIDE * SIDE // 3  # pixels of a mask: fewer cannot be seen, more leave no surroundings


def draw_pair(photographs: list[tuple[str, Array]], rng: Random) -> tuple[Array, Array, Array, str]:
    """Draw a good picture, the same with a defect (SIDE x SIDE x 3 uint8), the mask (bool) and the kind."""
    while True:
        kind = str(rng.choice(list(KINDS)))
        scene = photograph(photographs, rng) if rng.random() < 0.3 else draw_scene(SIZE, rng)
        changed, _ = draw_defect(scene, rng, kind)
        seed = int(rng.integers(2**63))  # one camera for both
        normal, defect = (
            to_uint8(as_camera(image, np.random.default_rng(seed))[0]) for image in (scene.image, changed)
        )
        if rng.random() < 0.5:
            normal, defect = (
                cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in (normal, defect)
            )
        else:
            rows, columns = np.nonzero((normal != defect).any(axis=2))
            if not len(rows):
                continue
            pick = int(rng.integers(len(rows)))
            top, left = (
                int(np.clip(place - rng.uniform(0.2, 0.8) * SIDE, 0, SIZE - SIDE))
                for place in (rows[pick], columns[pick])
            )
            normal, defect = (image[top : top + SIDE, left : left + SIDE] for image in (normal, defect))
        mask = visible_mask(normal, defect)
        if mask is not None and LEAST <= mask.sum() <= MOST:
            return normal, defect, mask, kind


def main() -> None:
    """Write the shards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="cache folder")
    parser.add_argument("--photographs", type=Path, help="folder of CC0 pictures, one folder a material")
    parser.add_argument("--shards", type=int, nargs=2, default=(0, 10), metavar=("FIRST", "END"))
    parser.add_argument("--per-shard", type=int, default=1000)
    parser.add_argument("--held-out", action="store_true", help="from the photographs kept apart, under other seeds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    photographs = read_photographs(args.photographs, args.held_out)
    for number in range(*args.shards):
        path = args.out / f"pairs_{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([args.seed, number, int(args.held_out), 1])
        columns = zip(*(draw_pair(photographs, rng) for _ in range(args.per_shard)), strict=True)
        normals, defects, masks, kinds = (np.stack(column) for column in columns)
        part = path.with_suffix(".part.npz")
        np.savez(part, normals=normals, defects=defects, masks=masks, kinds=kinds)
        part.rename(path)
        print(path, flush=True)


if __name__ == "__main__":
    main()
