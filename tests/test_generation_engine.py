"""Single images of a run: what the gate refuses, what is drawn again, and a method's own faults."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import ias_zoo
from ias_zoo.errors import RequestError
from ias_zoo.generation import gate
from ias_zoo.generation.engine import produce
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.generation.seeds import seed_for
from ias_zoo.synthesizer import Drawn, Request, Sample


class Scripted:
    """A synthesizer whose samples are decided by the test: by attempt, it gives what ``script`` says."""

    def __init__(self, script: list[str]) -> None:
        self.method = ias_zoo.info("cutpaste")
        self.options = None
        self.script, self.calls = script, 0
        self.seeds: list[int] = []
        self.sizes: list[int] = []
        self.batch_size = 1

    def synthesize(self, requests: list[Request]) -> list[Sample]:
        self.sizes.append(len(requests))
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Sample:
        kind = self.script[min(self.calls, len(self.script) - 1)]
        self.calls += 1
        self.seeds.append(request.seed)
        assert request.normal is not None
        image, mask = request.normal.copy(), np.zeros(request.normal.shape[:2], bool)
        if kind == "error":
            raise RequestError("no")
        if kind != "empty":
            mask[10:20, 10:20] = True
        if kind == "good":
            image[mask] = 255 - image[mask]
        if kind == "faint":
            image[mask] = np.where(image[mask] > 128, image[mask] - 2, image[mask] + 2)
        if kind == "one pixel":
            image[10, 10] = 255 - image[10, 10]
        return Sample(image=image, mask=mask, defect="d", recipe={"request": request.to_json()})


@pytest.mark.parametrize(
    ("script", "refusals"),
    [
        (["good"], ()),
        (["empty", "good"], (gate.EMPTY,)),
        (["unchanged", "faint", "one pixel", "empty", "good"], (gate.UNCHANGED,) * 3 + (gate.EMPTY,)),
    ],
)
def test_gate_redraws_with_the_next_seed(mvtec: Path, script: list[str], refusals: tuple[str, ...]) -> None:
    scripted = Scripted(script)
    maker = RequestMaker(scripted.method, Normals(mvtec), seed=5)
    (outcome,) = produce(scripted, maker, [3])
    assert outcome.refusals == refusals
    assert scripted.seeds == [seed_for(5, 3, attempt) for attempt in range(len(script))]
    assert outcome.sample is not None
    assert outcome.sample.recipe["run"]["attempt"] == len(script) - 1


def test_gate_gives_up_in_words(mvtec: Path) -> None:
    scripted = Scripted(["empty"])
    maker = RequestMaker(scripted.method, Normals(mvtec), seed=5)
    (outcome,) = produce(scripted, maker, [0])
    assert outcome.sample is None
    assert outcome.error == f"refused {gate.TRIES} times: empty mask"
    assert scripted.calls == gate.TRIES


def test_a_failing_request_costs_itself_only(mvtec: Path) -> None:
    # The batch of three fails at its second request; then each is tried alone, and the second fails again.
    scripted = Scripted(["good", "error", "good", "error", "good"])
    scripted.batch_size = 3
    outcomes = list(produce(scripted, RequestMaker(scripted.method, Normals(mvtec), seed=5), range(3)))
    assert [outcome.sample is not None for outcome in outcomes] == [True, False, True]
    assert (outcomes[1].error, outcomes[1].kind) == ("no", "other")


def test_batches_stay_full_while_samples_are_drawn_again(mvtec: Path) -> None:
    scripted = Scripted(["good", "empty", "good", "empty", "good"])  # 0, 1 refused, 2; then 1 again in vain, 3, 4
    scripted.batch_size = 3
    outcomes = list(produce(scripted, RequestMaker(scripted.method, Normals(mvtec), seed=5), range(6)))
    assert scripted.sizes == [3, 3, 2]
    assert [outcome.index for outcome in outcomes] == list(range(6))
    assert [len(outcome.refusals) for outcome in outcomes] == [0, 2, 0, 0, 0, 0]
    tries = [(0, 0), (1, 0), (2, 0), (1, 1), (3, 0), (4, 0), (1, 2), (5, 0)]
    assert scripted.seeds == [seed_for(5, index, attempt) for index, attempt in tries]


def test_synthesize_hands_over_as_many_as_the_method_takes(mvtec: Path) -> None:
    from ias_zoo_handcrafted.cutpaste import CutPaste

    class Many(CutPaste):
        batch_size = 4
        sizes: ClassVar[list[int]] = []

        def draw_many(self, requests: Any, rngs: Any) -> list[Drawn]:
            self.sizes.append(len(requests))
            return super().draw_many(requests, rngs)

    plain = ias_zoo.load("cutpaste")
    many = Many(plain.setup)
    one, other = plain.generate(10, mvtec, seed=3), many.generate(10, mvtec, seed=3)
    assert sum(many.sizes) >= 10
    assert many.sizes[0] == 4
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.image, second.image)
        assert first.recipe == second.recipe


class Sloppy(Scripted):
    """Gives what no sample may be."""

    def __init__(self, **wrong: Any) -> None:
        super().__init__(["good"])
        self.wrong = wrong

    def synthesize(self, requests: list[Request]) -> list[Sample]:
        if "raises" in self.wrong:
            raise self.wrong["raises"]
        return [dataclasses.replace(sample, **self.wrong) for sample in super().synthesize(requests)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"image": np.zeros((5, 5, 3), np.uint8)}, r"a sample's mask is \(64, 80\) bool; expected \(5, 5\) bool"),
        ({"image": np.zeros((64, 80, 3))}, r"a sample's image is \(64, 80, 3\) float64"),
        ({"mask": np.zeros((64, 80), np.uint8)}, r"a sample's mask is \(64, 80\) uint8"),
        ({"mask": None}, "a sample's mask is NoneType"),
        ({"label_map": np.zeros((64, 80))}, "a sample's label map is"),
        ({"raises": ZeroDivisionError("division by zero")}, "cutpaste raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugins_faults_are_named(mvtec: Path, wrong: dict[str, Any], words: str) -> None:
    sloppy = Sloppy(**wrong)
    (outcome,) = produce(sloppy, RequestMaker(sloppy.method, Normals(mvtec), seed=0), [0])
    assert outcome.sample is None
    assert re.search(words, outcome.error), outcome.error
