"""Every built-in method keeps every promise of the kit; and the kit notices when one is broken."""

from __future__ import annotations

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
