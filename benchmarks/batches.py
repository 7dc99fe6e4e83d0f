"""What drawing several requests at once is worth: a method's samples one by one, and the same requests in batches.

    python benchmarks/batches.py [--method anomalydiffusion] [--count 8] [--batch 8] [--repeats 3]

On the embedded base, with weights of a fit of one step: what a sample costs does not depend on what was learned. Both
ways must give the same bytes. Ratios within one run; the ways take turns, and the best time of each counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import ias_zoo
from ias_zoo.synthesizer import Request
from ias_zoo.testing.subject import disc, picture, toy_set

# A fit that is over at once; masks are given, or of a threshold that nothing fails.
OPTIONS = {
    "anomalydiffusion": {
        "steps": 1,
        "mask_steps": 1,
        "masks": "drawn",
        "mask_threshold": -0.9,
        "mask_border": "keep",
        "least_seen": 0.0,
    },
    "dualanodiff": {"steps": 1, "mask_threshold": 0.09},
    "seas": {"steps": 1, "mask_steps": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="anomalydiffusion")
    parser.add_argument("--options", type=json.loads, default={}, help="JSON")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--given", action="store_true", help="with given masks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        options = OPTIONS.get(arguments.method, {}) | arguments.options | {"sampling_batch": arguments.batch}
        made = ias_zoo.load(arguments.method, base="tiny", device="cpu", **options)
        made.fit(toy_set(Path(scratch) / "toys"), count=2)
    mask = disc((128, 128)) if arguments.given else None
    requests = [
        Request(seed=n, normal=picture((128, 128), n), mask=mask, defect="scratch") for n in range(arguments.count)
    ]
    alone, together = float("inf"), float("inf")
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        singles = [made.synthesize([request])[0] for request in requests]
        alone = min(alone, time.perf_counter() - started)
        started = time.perf_counter()
        batches = made.synthesize(requests)
        together = min(together, time.perf_counter() - started)
        for one, other in zip(singles, batches, strict=True):
            assert np.array_equal(one.image, other.image)
            assert np.array_equal(one.mask, other.mask)
    count = arguments.count
    print(
        f"{arguments.method}, torch {torch.__version__}, {torch.get_num_threads()} threads: one by one "
        f"{1000 * alone / count:.0f} ms a sample, {made.batch_size} at once {1000 * together / count:.0f} ms, "
        f"{alone / together:.2f} times faster, the same bytes"
    )


if __name__ == "__main__":
    main()
