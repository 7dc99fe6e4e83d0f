"""How fast the hand-crafted methods are, beside what a user would pick instead, in one run on one core.

    python benchmarks/handcrafted.py [--textures FOLDER] [--data FOLDER] [--count 200] [--json FILE]

A figure is the median time of one sample over ``--count`` requests, in milliseconds. Peers: anomalib's
``PerlinAnomalyGenerator`` where anomalib is installed, and the published steps of nsa written straight onto
``cv2.seamlessClone`` and scipy's rank filter (``nsa_opencv.py``). Machines are noisy: compare within one run only.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy is imported

import argparse
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
]


def median_ms(call: Callable[[int], object], count: int) -> float:
    for index in range(min(10, count)):  # warm caches
        call(index)
    times = []
    for index in range(count):
        started = time.perf_counter()
        call(index)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000


def zoo_case(name: str, options: dict[str, Any], normals: Normals, count: int) -> float:
    if name == "draem" and TEXTURES:
        options = {**options, "textures": TEXTURES}
    synthesizer = ias_zoo.load(name, **options)
    maker = RequestMaker(synthesizer.method, normals, seed=0)
    requests = [maker.make(index)[0] for index in range(count)]
    return median_ms(lambda index: synthesizer.synthesize([requests[index]]), count)


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


def main() -> None:
    global TEXTURES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of normals; default: the sample products of the demo")
    parser.add_argument("--textures", help="texture pictures for draem and anomalib; default: each one's own")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    TEXTURES = arguments.textures
    results: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "cores": 1, "medians_ms": {}}
    with tempfile.TemporaryDirectory() as scratch:
        sources = [arguments.data] if arguments.data else write_sample(Path(scratch))
        for source in sources:
            for size in arguments.sizes:
                normals = Normals(ias_zoo.open_data(source), size=(size, size))
                count = arguments.count if size <= 256 else max(40, arguments.count // 4)
                table = {"copy of the image (floor)": floor_case(normals, count)}
                for name, options in CASES:
                    title = " ".join([name, *options.values()])
                    table[title] = zoo_case(name, options, normals, count)
                table |= dict(peers(normals, count)) if size == arguments.sizes[0] else {}
                results["medians_ms"][f"{Path(source).name} {size}x{size}"] = table
                print(f"\n{Path(source).name} {size}x{size}, median of {count}, ms")
                for title, value in table.items():
                    print(f"  {title:42} {value:8.2f}", flush=True)
    results["versions"] = {
        name: importlib.metadata.version(name) for name in ("numpy", "opencv-contrib-python-headless", "scipy")
    }
    results["plugins"] = [record.distribution + " " + record.version for record in registry().plugins]
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


TEXTURES: str | None = None

if __name__ == "__main__":
    main()
