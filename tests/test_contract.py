"""Method records and options: what is refused, and in which words."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

import ias_zoo
from ias_zoo.errors import OptionError
from ias_zoo.method import Base, Group, Licences, Method, Paradigm
from ias_zoo.options import Interval, build_options, describe_options, option, options_to_json, parse_assignments


def record(**changes: Any) -> Method:
    values: dict[str, Any] = {
        "name": "toy",
        "title": "Toy",
        "summary": "A toy.",
        "group": "self-contained",
        "paper": None,
        "implementation": "a.b:C",
        "options": "a.b:D",
        "fidelity": "our design",
        "fidelity_note": "a toy",
    }
    return Method(**(values | changes))


def test_paradigm_follows_from_the_group() -> None:
    assert {group.paradigm for group in Group} == set(Paradigm)
    assert record(group="one-stage").paradigm is Paradigm.VISION_LANGUAGE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Toy"}, "lower-case"),
        ({"name": "2d"}, "lower-case"),
        ({"aliases": ("a-b",)}, "lower-case"),
        ({"implementation": "a.b.C"}, "package.module:Class"),
        ({"plugin_api": "1"}, "expected an integer"),
        ({"plugin_api": True}, "expected an integer"),
        ({"base": Base("org/model", "main")}, "40-digit commit hash"),
        ({"summary": " "}, "empty"),
        ({"needs": {"normal"}}, "normal"),
        ({"group": "self contained"}, "self contained"),
    ],
)
def test_wrong_records_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        record(**changes)


def test_permissive_looks_at_code_weights_and_data_not_at_the_original_code() -> None:
    assert Licences(original_code="CC-BY-NC-4.0").permissive
    assert not Licences(base_weights="CreativeML-OpenRAIL-M").permissive
    assert not Licences(training_data="CC-BY-NC-SA-4.0").permissive


@dataclass(frozen=True)
class Options:
    opacity: Annotated[float, Interval(gt=0, le=1)] = option(0.5, "weight")
    sides: tuple[float, float] = option((0.3, 3.3), "range")
    count: int = option(3, "how many")
    on: bool = option(True, "switch")
    kind: Literal["code", "paper"] = option("code", "which")
    textures: pathlib.Path | None = option(None, "folder")

    def __post_init__(self) -> None:
        if self.sides[0] > self.sides[1]:
            raise ValueError(f"sides={self.sides}: the first must not exceed the second")


def test_good_values_pass() -> None:
    built = build_options(Options, {"opacity": 1, "sides": [1, 2.5], "kind": "paper", "textures": "x"}, method="toy")
    assert (built.opacity, built.sides, built.kind) == (1.0, (1.0, 2.5), "paper")
    assert built.textures is not None
    assert built.textures.is_absolute(), "a recipe must mean the same folder everywhere"
    again = build_options(Options, options_to_json(built), method="toy")
    assert again == built


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"opactiy": 0.5}, "no option 'opactiy'; did you mean 'opacity'"),
        ({"opacity": 0}, "opacity=0: expected float > 0 and <= 1"),
        ({"opacity": "0.5"}, "expected float"),
        ({"opacity": float("nan")}, "expected float"),
        ({"count": 2.5}, "expected int"),
        ({"count": True}, "expected int"),
        ({"on": 1}, "expected bool"),
        ({"kind": "Code"}, "expected one of code, paper"),
        ({"sides": [1]}, "expected \\[float, float\\]"),
        ({"sides": [2, 1]}, "toy: sides=.*must not exceed"),
        ({"count": object()}, "got a object"),
    ],
)
def test_bad_values_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        build_options(Options, values, method="toy")


def test_assignments_from_the_command_line() -> None:
    given = ["opacity=0.25", "sides=[1, 2]", "kind=paper", "on=false", "textures=123"]
    values = parse_assignments(Options, given, method="toy")
    assert values == {"opacity": 0.25, "sides": [1, 2], "kind": "paper", "on": False, "textures": "123"}
    with pytest.raises(OptionError, match="expected name=value"):
        parse_assignments(Options, ["opacity"], method="toy")
    with pytest.raises(OptionError, match="did you mean 'kind'"):
        parse_assignments(Options, ["kinds=paper"], method="toy")


def test_descriptions_read_like_words() -> None:
    types = {info.name: info.type for info in describe_options(Options)}
    assert types["opacity"] == "float > 0 and <= 1"
    assert types["sides"] == "[float, float]"
    assert types["kind"] == "one of code, paper"


@pytest.mark.parametrize("name", ias_zoo.__all__)
def test_top_level_names_exist(name: str) -> None:
    assert getattr(ias_zoo, name) is not None


def test_unknown_top_level_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = ias_zoo.lod  # type: ignore[attr-defined]


def test_both_spellings_and_the_reason_for_numbers() -> None:
    given = ["on=False", "sides=(1, 2)", "textures=None", "opacity=5"]
    values = parse_assignments(Options, given, method="toy")
    assert values == {"on": False, "sides": (1, 2), "textures": None, "opacity": 5}
    with pytest.raises(OptionError, match="opacity=5: expected float > 0 and <= 1 .*less than or equal to 1"):
        build_options(Options, {"opacity": 5}, method="toy")
