"""The conformance kit notices: a method that breaks a promise fails the check of that promise, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ias_zoo import Drawn, ImageSynthesizer, Method, Request
from ias_zoo.method import Input
from ias_zoo.registry import PluginRecord, PluginStatus, Registry
from ias_zoo.testing import CHECKS, Subject, checks_for, conformance


class Fine(ImageSynthesizer):
    """A method that keeps every promise; the others break one each."""

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        assert request.normal is not None
        image, region = request.normal.copy(), request.region
        mask = np.zeros(image.shape[:2], bool)
        places = np.argwhere(np.ones_like(mask) if region is None else region)
        y, x = places[rng.integers(len(places))]
        mask[y, x] = True
        image[mask] = 255 - image[mask] // 2
        return Drawn(image=image, mask=mask, drawn={"y": y, "x": x})


class Empty(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        return Drawn(image=request.normal.copy(), mask=np.zeros(request.normal.shape[:2], bool))


class Bleeding(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        drawn = super().draw(request, rng)
        drawn.image[0, 0] ^= 1
        return drawn


class Deaf(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        return super().draw(request, np.random.default_rng(1))


class GlobalReader(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        state = np.random.get_state()  # noqa: NPY002
        return super().draw(request, np.random.default_rng([request.seed, int(state[1][0])]))


class GlobalWriter(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        np.random.rand()  # noqa: NPY002
        return super().draw(request, rng)


class Remembering(Fine):
    count = 0

    def synthesize(self, requests: Any) -> Any:
        samples = super().synthesize(requests)
        return samples[::-1]


class InPlace(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        normal = request.normal
        if normal.flags.writeable:
            normal[0, 0] = 7
        return Drawn(image=normal, mask=super().draw(request, rng).mask)


class Unpicklable(Fine):
    def __init__(self, setup: Any) -> None:
        super().__init__(setup)
        self.lock = threading.Lock()


class Crashing(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        if request.normal.shape[0] < 8:
            raise IndexError("index 7 is out of bounds")
        return super().draw(request, rng)


class Wandering(Fine):
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        return super().draw(Request(seed=request.seed, normal=request.normal), rng)


class Dumb(Fine):
    def synthesize(self, requests: Any) -> Any:
        samples = super().synthesize(requests)
        for sample in samples:
            sample.recipe["drawn"] = {"object": object()}
        return samples


class Lenient(Fine):
    def synthesize(self, requests: Any) -> Any:
        return super().synthesize([Request(seed=abs(request.seed), normal=request.normal) for request in requests])


BROKEN = {
    Empty: {"mask_fits", "seeds_differ"},
    Bleeding: {"outside_untouched"},
    Deaf: {"seeds_differ"},
    GlobalReader: {"no_global_random_state"},
    GlobalWriter: {"no_global_random_state"},
    Remembering: {"batch_equals_singles"},
    InPlace: {"inputs_unmodified", "seeds_differ"},
    Unpicklable: {"survives_pickling"},
    Crashing: {"any_size"},
    Wandering: {"region_respected"},
    Dumb: {"recipe_is_json"},
    Lenient: {"wrong_requests_refused", "region_respected"},
}


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that holds the toys; they live in this module, which is importable under its own name here."""
    monkeypatch.setitem(sys.modules, "kit_toys", sys.modules[__name__])
    methods = tuple(
        Method(
            name=cls.__name__.lower(),
            title=cls.__name__,
            summary="A toy.",
            group="self-contained",
            paper=None,
            implementation=f"kit_toys:{cls.__name__}",
            options="types:SimpleNamespace",
            fidelity="our design",
            fidelity_note="a toy",
            accepts={Input.REGION},
            exact_mask=True,
        )
        for cls in (Fine, *BROKEN)
    )
    zoo = Registry([PluginRecord("toys", "toys", "1.0", PluginStatus.OK, methods)])
    monkeypatch.setattr(Registry, "options_class", lambda self, name: _Options)
    for module in ("ias_zoo.registry", "ias_zoo.testing.subject", "ias_zoo.testing.checks"):
        monkeypatch.setattr(f"{module}.registry", lambda: zoo)
    return


from dataclasses import dataclass  # noqa: E402 - beside its use

from ias_zoo import option  # noqa: E402


@dataclass(frozen=True)
class _Options:
    size: int = option(1, "pixels")


# A fresh interpreter cannot see the toys, so these two checks are tried elsewhere: on the stranger's plugin.
ELSEWHERE = {"listing_imports_nothing_heavy"}


def failing(name: str) -> set[str]:
    subject, failed = Subject(name), set()
    for check in checks_for(subject):
        if check.name in ELSEWHERE or (check.name == "survives_pickling" and name != "unpicklable"):
            continue
        try:
            check.run(subject)
        except Exception:
            failed.add(check.name)
    return failed


def test_a_good_method_passes() -> None:
    assert failing("fine") == set()


@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_noticed(cls: type) -> None:
    assert failing(cls.__name__.lower()) == BROKEN[cls]


def test_expected_failures_must_exist() -> None:
    with pytest.raises(ValueError, match="no_such_check"):
        conformance("fine", expected_failures={"no_such_check": "why"})
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)


def test_expected_failures_are_strict(tmp_path: Path) -> None:
    """A check that is expected to fail and passes fails the suite, and one that fails as expected does not."""
    (tmp_path / "test_it.py").write_text(
        "from ias_zoo.testing import conformance\n"
        "test_contract = conformance('cutpaste', expected_failures={'seeds_differ': 'it does not'})\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "seeds_differ", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "XPASS(strict)" in done.stdout, json.dumps(done.stdout[-500:])
