"""Every built-in method keeps every promise of the kit; and the kit notices when one is broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ias_zoo.method import Trains
from ias_zoo.registry import registry
from ias_zoo.testing import Check, Subject, checks_for

METHODS = [
    entry.method.name
    for entry in registry().entries()
    if entry.plugin.distribution == "ias-zoo" and entry.method.trains is Trains.NONE
]


@pytest.mark.parametrize(
    ("name", "check"),
    [pytest.param(name, check, id=f"{name}-{check.name}") for name in METHODS for check in checks_for(Subject(name))],
)
def test_builtin(name: str, check: Check) -> None:
    check.run(Subject(name))


SMALL: dict[str, dict[str, Any]] = {
    # A threshold that masks of noise pass: these networks learn nothing.
    "anomalydiffusion": {
        "steps": 2,
        "mask_steps": 2,
        "sampling_steps": 3,
        "mask_sampling_steps": 2,
        "mask_threshold": -0.9,
        "masks": "drawn",
        "mask_border": "keep",
        "least_seen": 0.0,
    },
    "dualanodiff": {"steps": 2, "sampling_steps": 4, "rank": 2},
    "seas": {"steps": 2, "mask_steps": 2, "sampling_steps": 4, "rank": 2, "mask_channels": (16, 16)},
    "dfmgan": {"kimg": 0.008, "batch": 4},
    "defect_gan": {"steps": 2, "batch": 2, "mask_threshold": 0.1},
}
"""What makes a trained method's fit take seconds."""

TRAINED = [
    entry.method.name
    for entry in registry().entries()
    if entry.plugin.distribution == "ias-zoo" and entry.method.trains is not Trains.NONE
]


@pytest.fixture(scope="module")
def trained(base_of: Callable[[str], Path]) -> dict[str, Subject]:
    return {name: Subject(name, SMALL[name], str(base_of(name))) for name in TRAINED}


@pytest.mark.parametrize(
    ("name", "check"),
    [pytest.param(name, check, id=f"{name}-{check.name}") for name in TRAINED for check in checks_for(Subject(name))],
)
def test_trained(name: str, check: Check, trained: dict[str, Subject]) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        check.run(trained[name])
    finally:
        torch.set_num_threads(threads)
