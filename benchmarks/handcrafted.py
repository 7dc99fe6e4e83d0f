"""How fast the hand-crafted methods are, beside what a user would pick instead, in one run on one core.

    python benchmarks/handcrafted.py [--textures FOLDER] [--data FOLDER] [--count 200] [--only NAME ...] [--json FILE]

A figure is the median CPU time of one sample over ``--count`` requests (fewer above 256 x 256), in milliseconds: the
least of ``--rounds`` such medians, which go round the methods in turns. CPU time is what the sample takes on a core of
its own; time on the wall measures whoever else uses the machine. Beside it: its floor (a copy of the image, and of as
many bytes as its mask touches), how many times the floor it takes, and at 256 x 256 the limit that the project has set
itself. Then how much faster or slower than the pixel count each method grows with the size. Peers: anomalib's
``PerlinAnomalyGenerator`` and albumentations' dropouts where they are installed, and the published steps of nsa written
straight onto ``cv2.seamlessClone`` and scipy's rank filter (``nsa_opencv.py``). Compare within one run only.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

import ias_zoo
from ias_zoo.data.sample import write_sample
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.registry import registry

sys.path.insert(0, str(Path(__file__).parent))
from nsa_opencv import nsa_direct

cv2.setNumThreads(1)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("cutpaste", {}),
    ("cutpaste_scar", {}),
    ("draem", {}),
    ("nsa", {"label": "binary"}),
    ("nsa", {"label": "logistic"}),
    ("reb_defectmaker", {}),
    ("adsas", {}),
    ("destseg", {}),
    ("memseg", {}),
    ("intra", {}),
    ("i3ad", {}),
    ("riad", {}),
    ("smai", {}),
    ("cdo", {}),
    ("cdo", {"variant": "v2"}),
    ("rdpp", {}),
]
LIMITS = {
    "cutpaste": 1.0,
    "cdo": 1.0,
    "rdpp": 1.0,
    "riad": 1.0,
    "intra": 1.0,
    "smai": 1.0,
    "reb_defectmaker": 3.0,
    "draem": 5.0,
    "destseg": 5.0,
    "memseg": 5.0,
    "nsa binary": 8.0,
    "nsa logistic": 12.0,
}
"""Milliseconds at 256 x 256; smai's is for normals seen before, as the warm-up makes them."""


SLOW = ("i3ad",)  # OpenCV's inpainting: at 256 x 256 alone
PICTURES = 8  # normals in use


Call: TypeAlias = "Callable[[int], object]"


def median_ms(call: Callable[[int], object], count: int) -> float:
    for index in range(min(PICTURES, count)):  # warm caches
        call(index)
    times = []
    for index in range(count):
        started = time.process_time()
        call(index)
        times.append(time.process_time() - started)
    return float(np.median(times)) * 1000


def zoo_case(name: str, options: dict[str, Any], normals: Normals, count: int) -> tuple[Call, Call]:
    """What makes a sample, and what does the least that a sample takes."""
    if TEXTURES and any(field.name == "textures" for field in dataclasses.fields(registry().options_class(name))):
        options = {**options, "textures": TEXTURES}
    synthesizer = ias_zoo.load(name, **options)
    maker = RequestMaker(synthesizer.method, normals, seed=0)
    requests = [maker.make(index)[0] for index in range(count)]
    touched = [3 * int(sample.mask.sum()) for sample in synthesizer.synthesize(requests)]

    def floor(index: int) -> object:
        image = requests[index].normal
        assert image is not None
        return image.copy(), image.ravel()[: touched[index]].copy()

    return lambda index: synthesizer.synthesize([requests[index]]), floor


def peers(normals: Normals, count: int) -> Iterator[tuple[str, Call]]:
    images = [normals.read(index % len(normals)).image for index in range(count)]
    others = [normals.read((index + 1) % len(normals)).image for index in range(count)]
    for label in ("binary", "logistic"):
        rng = np.random.default_rng(0)

        def direct(index: int, label: str = label, rng: np.random.Generator = rng) -> object:
            return nsa_direct(images[index], others[index], rng, label)

        yield f"nsa steps on OpenCV, {label}", direct
    yield from dropouts(images)
    if importlib.util.find_spec("anomalib") is None:
        print("anomalib is not installed: its generator was not timed", file=sys.stderr)
        return
    import torch
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

    torch.set_num_threads(1)
    generator = PerlinAnomalyGenerator(anomaly_source_path=TEXTURES, probability=1.0)
    tensors = [torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255 for image in images]
    version = importlib.metadata.version("anomalib")
    yield f"anomalib {version} PerlinAnomalyGenerator", lambda index: generator(tensors[index])


def dropouts(images: list[Any]) -> Iterator[tuple[str, Call]]:
    """The same hiding of pixels by the library that most people take for it."""
    if importlib.util.find_spec("albumentations") is None:
        print("albumentations is not installed: its dropouts were not timed", file=sys.stderr)
        return
    import albumentations

    blank = np.zeros(images[0].shape[:2], np.uint8)
    for name, arguments in {
        "GridDropout": {"ratio": 0.5, "unit_size_range": (4, 16), "p": 1.0},
        "CoarseDropout": {"p": 1.0},
        "XYMasking": {"num_masks_x": 2, "num_masks_y": 2, "mask_x_length": 20, "mask_y_length": 20, "p": 1.0},
    }.items():
        transform = getattr(albumentations, name)(**arguments)
        version = importlib.metadata.version("albumentations")

        def drop(index: int, transform: Any = transform) -> object:
            return transform(image=images[index], mask=blank)

        yield f"albumentations {version} {name}", drop


def one_size(
    cases: list[tuple[str, dict[str, Any]]], normals: Normals, size: int, with_peers: bool, arguments: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """The least of the rounds' medians of every method and peer at one size, and of the methods' floors."""
    count = arguments.count if size <= 256 else max(PICTURES, arguments.count * 32 // size)
    images = [normals.read(index % len(normals)).image for index in range(count)]
    calls: dict[str, Call] = {"copy of the image": lambda index: images[index].copy()}
    floors: dict[str, Call] = {}
    for name, options in cases:
        if size <= 256 or name not in SLOW:
            title = " ".join([name, *options.values()])
            calls[title], floors[title] = zoo_case(name, options, normals, count)
    if with_peers:
        calls.update(peers(normals, count))
    rounds = [{title: median_ms(call, count) for title, call in calls.items()} for _ in range(arguments.rounds)]
    least = {title: min(times[title] for times in rounds) for title in calls}
    return least, {title: median_ms(call, count) for title, call in floors.items()}


def show(where: str, size: int, medians: dict[str, float], floors: dict[str, float]) -> None:
    print(f"\n{where}, ms of CPU; floor, ratio to it, limit")
    for title, value in medians.items():
        text = f"  {title:42} {value:8.3f}"
        if title in floors:
            text += f" {floors[title]:8.3f} {value / floors[title]:6.0f}x"
        if title in LIMITS and size == 256:
            text += f"  limit {LIMITS[title]:g}: {'kept' if value < LIMITS[title] else 'MISSED'}"
        print(text, flush=True)


def show_growth(name: str, sizes: list[int], medians: dict[str, dict[str, float]]) -> None:
    first, *others = [(size, medians[f"{name} {size}x{size}"]) for size in sizes]
    print(f"\n{name}: growth from {first[0]}, of the pixel count's (1: as the pixels, less: slower)")
    for title, value in first[1].items():
        shares = [table[title] / value / (size / first[0]) ** 2 for size, table in others if title in table]
        if shares:
            print(f"  {title:42} " + " ".join(f"{share:6.2f}" for share in shares))


def main() -> None:
    global TEXTURES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of normals; default: the sample products of the demo")
    parser.add_argument("--textures", help="texture pictures for all that take some; default: each one's own")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024, 2048])
    parser.add_argument("--only", nargs="+", help="these methods alone, without peers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    TEXTURES = arguments.textures
    results: dict[str, Any] = {"cores": 1, "rounds": arguments.rounds, "medians_ms": {}, "floors_ms": {}}
    known = {entry.method.name for entry in registry().entries()}
    missing = sorted({name for name, _ in CASES} - known)
    if missing:
        print(f"not installed, not timed: {', '.join(missing)}", file=sys.stderr)
    cases = [case for case in CASES if case[0] in (arguments.only or known) and case[0] in known]
    with tempfile.TemporaryDirectory() as scratch:
        for source in [arguments.data] if arguments.data else write_sample(Path(scratch)):
            found = ias_zoo.open_data(source)
            for size in arguments.sizes:
                every = Normals(found, size=(size, size))
                normals = Normals([every.read(index).image for index in range(min(PICTURES, len(every)))])
                where = f"{Path(source).name} {size}x{size}"
                first = size == arguments.sizes[0] and not arguments.only
                medians, floors = one_size(cases, normals, size, first, arguments)
                results["medians_ms"][where], results["floors_ms"][where] = medians, floors
                show(where, size, medians, floors)
            show_growth(Path(source).name, arguments.sizes, results["medians_ms"])
    results["versions"] = {
        name: importlib.metadata.version(name) for name in ("numpy", "opencv-contrib-python-headless", "scipy")
    }
    results["plugins"] = [record.distribution + " " + record.version for record in registry().plugins]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


TEXTURES: str | None = None

if __name__ == "__main__":
    main()
