"""How fast the hand-crafted methods are, beside what a user would pick instead, in one run on one core.

    python benchmarks/handcrafted.py [--textures FOLDER] [--data FOLDER] [--count 200] [--only NAME ...] [--json FILE]

A figure is the median time of one sample over ``--count`` requests, in milliseconds. Beside it: its floor (the time of
one copy of the image, and of as many bytes as its mask touches), how many times the floor it takes, and at 256 x 256
the limit that the project has set itself. Peers: anomalib's ``PerlinAnomalyGenerator`` and albumentations' dropouts
where they are installed, and the published steps of nsa written straight onto ``cv2.seamlessClone`` and scipy's rank
filter (``nsa_opencv.py``). Machines are noisy: compare within one run only.
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
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def median_ms(call: Callable[[int], object], count: int) -> float:
    for index in range(min(40, count)):  # warm caches; more than the sample products have normals
        call(index)
    times = []
    for index in range(count):
        started = time.perf_counter()
        call(index)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000


def zoo_case(name: str, options: dict[str, Any], normals: Normals, count: int) -> tuple[float, float]:
    """Median time of a sample, and of its floor."""
    if TEXTURES and any(field.name == "textures" for field in dataclasses.fields(registry().options_class(name))):
        options = {**options, "textures": TEXTURES}
    synthesizer = ias_zoo.load(name, **options)
    maker = RequestMaker(synthesizer.method, normals, seed=0)
    requests = [maker.make(index)[0] for index in range(count)]
    touched = [3 * int(sample.mask.sum()) for sample in synthesizer.synthesize(requests)]
    time_ms = median_ms(lambda index: synthesizer.synthesize([requests[index]]), count)

    def floor(index: int) -> object:
        image = requests[index].normal
        assert image is not None
        return image.copy(), image.ravel()[: touched[index]].copy()

    return time_ms, median_ms(floor, count)


def floor_case(normals: Normals, count: int) -> float:
    """One copy of the image: what no method that returns a new image can beat."""
    images = [normals.read(index % len(normals)).image for index in range(count)]
    return median_ms(lambda index: images[index].copy(), count)


def peers(normals: Normals, count: int) -> Iterator[tuple[str, float]]:
    images = [normals.read(index % len(normals)).image for index in range(count)]
    others = [normals.read((index + 1) % len(normals)).image for index in range(count)]
    for label in ("binary", "logistic"):
        rng = np.random.default_rng(0)

        def direct(index: int, label: str = label, rng: np.random.Generator = rng) -> object:
            return nsa_direct(images[index], others[index], rng, label)

        yield f"nsa steps on OpenCV, {label}", median_ms(direct, count)
    yield from dropouts(images, count)
    if importlib.util.find_spec("anomalib") is None:
        print("anomalib is not installed: its generator was not timed", file=sys.stderr)
        return
    import torch
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

    torch.set_num_threads(1)
    generator = PerlinAnomalyGenerator(anomaly_source_path=TEXTURES, probability=1.0)
    tensors = [torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255 for image in images]
    version = importlib.metadata.version("anomalib")
    yield f"anomalib {version} PerlinAnomalyGenerator", median_ms(lambda index: generator(tensors[index]), count)


def dropouts(images: list[Any], count: int) -> Iterator[tuple[str, float]]:
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

        yield f"albumentations {version} {name}", median_ms(drop, count)


def main() -> None:
    global TEXTURES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of normals; default: the sample products of the demo")
    parser.add_argument("--textures", help="texture pictures for all that take some; default: each one's own")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--only", nargs="+", help="these methods alone, without peers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    TEXTURES = arguments.textures
    results: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": 1,
        "medians_ms": {},
        "floors_ms": {},
    }
    known = {entry.method.name for entry in registry().entries()}
    missing = sorted({name for name, _ in CASES} - known)
    if missing:
        print(f"not installed, not timed: {', '.join(missing)}", file=sys.stderr)
    cases = [case for case in CASES if case[0] in (arguments.only or known) and case[0] in known]
    with tempfile.TemporaryDirectory() as scratch:
        sources = [arguments.data] if arguments.data else write_sample(Path(scratch))
        for source in sources:
            for size in arguments.sizes:
                normals = Normals(ias_zoo.open_data(source), size=(size, size))
                count = arguments.count if size <= 256 else max(40, arguments.count // 4)
                print(f"\n{Path(source).name} {size}x{size}, median of {count}, ms; floor, ratio to it, limit")
                table = {"copy of the image": floor_case(normals, count)}
                print(f"  {'copy of the image':42} {table['copy of the image']:8.3f}")
                for name, options in cases:
                    title = " ".join([name, *options.values()])
                    table[title], floor = zoo_case(name, options, normals, count)
                    limit = LIMITS.get(title) if size == 256 else None
                    verdict = ""
                    if limit is not None:
                        verdict = f"  limit {limit:g}: {'kept' if table[title] < limit else 'MISSED'}"
                    ratio = table[title] / floor
                    print(f"  {title:42} {table[title]:8.3f} {floor:8.3f} {ratio:6.0f}x{verdict}", flush=True)
                    results["floors_ms"][f"{Path(source).name} {size}x{size} {title}"] = floor
                if size == arguments.sizes[0] and not arguments.only:
                    for title, value in peers(normals, count):
                        table[title] = value
                        print(f"  {title:42} {value:8.3f}", flush=True)
                results["medians_ms"][f"{Path(source).name} {size}x{size}"] = table
    results["versions"] = {
        name: importlib.metadata.version(name) for name in ("numpy", "opencv-contrib-python-headless", "scipy")
    }
    results["plugins"] = [record.distribution + " " + record.version for record in registry().plugins]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


TEXTURES: str | None = None

if __name__ == "__main__":
    main()
