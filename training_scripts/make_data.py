"""Make the training pictures: procedural scenes and CC0 photographs, half of them with a defect, with captions.

Writes ``shard_000.npz`` and so on into a cache folder: ``images`` (N x 128 x 128 x 3 uint8 RGB) and ``captions`` (N
strings). A shard depends on its number and the seed alone; one that exists is kept, so the script can be stopped and
started again, and run several times side by side over different ranges of shards.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scenes import Scene, draw_scene

import ias_zoo
from ias_zoo.errors import IasZooError
from ias_zoo.imaging.drawn_defects import draw_defect

Array = np.ndarray[Any, Any]
Random = np.random.Generator

SIZE = 128
HELD_OUT = 10  # every tenth photograph is kept for --held-out
MADE_BY_METHODS = {"draem": "patch of another texture", "nsa": "misplaced patch", "cutpaste": "pasted patch"}
WORDS = {
    "chainmail": "chain mail", "corrugatedsteel": "corrugated steel", "diamondplate": "diamond plate",
    "glazedterracotta": "glazed terracotta", "officeceiling": "ceiling", "pavingstones": "paving stones",
    "pineneedles": "pine needles", "roofingtiles": "roofing tiles", "scatteredleaves": "leaves",
    "solarpanel": "solar panel", "thatchedroof": "thatched roof", "woodchips": "wood chips",
    "woodfloor": "wooden floor", "woodsiding": "wooden boards",
}  # fmt: skip


def read_photographs(folder: Path | None, held_out: bool) -> list[tuple[str, Array]]:
    """Read (words, RGB picture) pairs: scikit-image's three CC0 textures, and a folder with one folder a material."""
    from skimage import data

    found = [(name, cv2.cvtColor(getattr(data, name)(), cv2.COLOR_GRAY2RGB)) for name in ("brick", "grass", "gravel")]
    for path in sorted(folder.rglob("*.jpg")) if folder else ():
        picture = cv2.imread(str(path))
        if picture is None:
            raise SystemExit(f"{path} is not a picture")
        found.append((WORDS.get(path.parent.name, path.parent.name), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
    return [item for index, item in enumerate(found) if (index % HELD_OUT == HELD_OUT - 1) == held_out]


def photograph(photographs: list[tuple[str, Array]], rng: Random) -> Scene:
    """Cut a square out of a photograph at a random scale; small seamless ones are laid side by side first."""
    words, picture = photographs[int(rng.integers(len(photographs)))]
    if min(picture.shape[:2]) < 2 * SIZE:
        picture = np.tile(picture, (2, 2, 1))
    side = int(rng.integers(SIZE * 3 // 4, min(2 * SIZE, *picture.shape[:2]) + 1))
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    crop = np.rot90(picture[top : top + side, left : left + side], int(rng.integers(4)))
    smaller = cv2.resize(np.ascontiguousarray(crop), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return Scene(smaller.astype(np.float32) / 255, words)


def draw_picture(
    photographs: list[tuple[str, Array]], methods: dict[str, Any], rng: Random, *, normal: bool = False
) -> tuple[Array, str]:
    """Draw a picture (SIZE x SIZE x 3 uint8) and its caption; ``normal``: never with a defect."""
    scene = photograph(photographs, rng) if rng.random() < 0.3 else draw_scene(SIZE, rng)
    image, words, defect = scene.image, scene.words, None
    if not normal and rng.random() < 0.5:
        if methods and rng.random() < 0.15:
            name = str(rng.choice(list(methods)))
            good, source = to_uint8(image), to_uint8(draw_scene(SIZE, rng).image)
            request = ias_zoo.Request(seed=int(rng.integers(2**31)), normal=good, source=source, region=scene.region)
            try:
                image = methods[name].synthesize([request])[0].image.astype(np.float32) / 255
                defect = MADE_BY_METHODS[name]
            except IasZooError:  # a region too small for the method: the picture stays normal, and is captioned so
                pass
        else:
            image, defect = draw_defect(scene, rng)
    image, grey = as_camera(image, rng)
    if rng.random() < 0.1:  # general words, for prompts that name no material
        words = "object" if scene.region is not None else "surface"
        defect = defect and str(rng.choice(["defect", "anomaly", "damage", "blemish"]))
    if grey and rng.random() < 0.7:
        words = f"grey {words}"
    article = "an" if words[0] in "aeiou" else "a"
    start = str(rng.choice(["", "", f"{article} ", "a photo of ", f"a photo of {article} ", "a picture of "]))
    end = f" with a {defect}" if defect else str(rng.choice(["", "", "", " without a defect"]))
    return to_uint8(image), start + words + end


def as_camera(image: Array, rng: Random) -> tuple[Array, bool]:
    """Exposure, a little blur and sensor noise; grey every other time."""
    image = np.clip(image, 0, 1) ** rng.uniform(0.75, 1.3) * rng.uniform(0.75, 1.1)
    grey = bool(rng.random() < 0.5)
    if grey:
        image = np.repeat(image @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    noise = rng.standard_normal((SIZE, SIZE, 1 if grey else 3)) * rng.choice([0.0, rng.uniform(0, 0.03)])
    return image + noise, grey


def to_uint8(image: Array) -> Array:
    """From [0, 1] to levels."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def main() -> None:
    """Write the shards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="cache folder")
    parser.add_argument("--photographs", type=Path, help="folder of CC0 pictures, one folder a material")
    parser.add_argument("--shards", type=int, nargs=2, default=(0, 12), metavar=("FIRST", "END"))
    parser.add_argument("--per-shard", type=int, default=1000)
    parser.add_argument("--held-out", action="store_true", help="from the photographs kept apart, under other seeds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    photographs = read_photographs(args.photographs, args.held_out)
    methods = {name: ias_zoo.load(name) for name in MADE_BY_METHODS}
    for number in range(*args.shards):
        path = args.out / f"shard_{number:03d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([args.seed, number, int(args.held_out)])
        made = [draw_picture(photographs, methods, rng) for _ in range(args.per_shard)]
        part = path.with_suffix(".part.npz")
        np.savez(part, images=np.stack([image for image, _ in made]), captions=np.array([text for _, text in made]))
        part.rename(path)
        print(path, flush=True)


if __name__ == "__main__":
    main()
