"""AnomalyDiffusion on a random base, for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ias_zoo
from ias_zoo.synthesizer import Request
from ias_zoo.testing.subject import picture
from ias_zoo_anomalydiffusion.synthesizer import AnomalyDiffusion

# A threshold that even a mask of noise passes: these networks learn nothing.
QUICK: dict[str, Any] = {
    "steps": 1,
    "mask_steps": 1,
    "sampling_steps": 3,
    "mask_sampling_steps": 2,
    "mask_threshold": -0.9,
    "mask_border": "keep",
    "masks": "drawn",
    "least_seen": 0.0,
    "batch": 2,
    "guidance": 1.0,
}


def method(random_base: Path, **options: Any) -> AnomalyDiffusion:
    return ias_zoo.load("anomalydiffusion", base=str(random_base), device="cpu", **(QUICK | options))


def requests(count: int, **changes: Any) -> list[Request]:
    return [Request(seed=n, normal=picture((64, 64), n % 3), defect="scratch", **changes) for n in range(count)]
