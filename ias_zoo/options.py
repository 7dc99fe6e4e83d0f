"""Hyper-parameters: one frozen dataclass a method, each field with a default and one line of help.

::

    @dataclass(frozen=True)
    class MyOptions:
        opacity: Annotated[float, Interval(gt=0, le=1)] = option(0.5, "weight of the pasted texture")

Values come from Python, from ``--set name=value`` and from recipes; all three go through :func:`build_options`, which
refuses unknown names and values of the wrong type or out of range. Validation is pydantic's, in its strict JSON mode,
so that what is accepted is also what a recipe can hold.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from annotated_types import Ge, Gt, Interval, Le, Len, Lt

from ias_zoo.errors import OptionError

T = TypeVar("T")

__all__ = [
    "Ge",
    "Gt",
    "Interval",
    "Le",
    "Len",
    "Lt",
    "OptionInfo",
    "build_options",
    "describe_options",
    "option",
    "options_to_json",
    "parse_assignments",
]


def option(default: Any, help: str) -> Any:  # noqa: A002 - the word people know from argparse and click
    """Make a dataclass field with its default and one line of help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class OptionInfo:
    """One option, for people to read."""

    name: str
    type: str
    default: Any
    help: str


def describe_options(cls: type) -> list[OptionInfo]:
    """List the options of an options dataclass, in the order they are written."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [
        OptionInfo(
            field.name, _type_text(hints[field.name]), _jsonable(field.default), str(field.metadata.get("help", ""))
        )
        for field in dataclasses.fields(cls)
    ]


def build_options(cls: type[T], values: Mapping[str, Any], *, method: str) -> T:
    """Check ``values`` against the dataclass ``cls`` and make an instance.

    Raises
    ------
    OptionError
        For an unknown name (with the nearest right one), or a value of the wrong type or out of range.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    checked = {}
    for name, value in values.items():
        if name not in hints:
            raise OptionError(_unknown_option(name, list(hints), method))
        checked[name] = _validate(hints[name], value, f"{method}: option {name}={value!r}")
    try:
        return cls(**checked)
    except ValueError as error:  # a __post_init__ that compares fields with each other
        raise OptionError(f"{method}: {error}") from error


def parse_assignments(cls: type, assignments: Iterable[str], *, method: str) -> dict[str, Any]:
    """Turn ``["opacity=0.5", "variant=paper"]`` into values for :func:`build_options`.

    A value is read as JSON or Python (``0.5``, ``[0.02, 0.15]``, ``true`` or ``True``, ``null`` or ``None``), and as
    plain text where the option takes a text.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise OptionError(f"--set {assignment}: expected name=value")
        if name not in hints:
            raise OptionError(_unknown_option(name, list(hints), method))
        values[name] = _parse(hints[name], text)
    return values


def _parse(hint: Any, text: str) -> Any:
    """JSON or Python spelling (true, True, null, None, lists, tuples) where the type takes it, else the text itself."""
    if text in ("null", "None") and type(None) in typing.get_args(hint):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
        try:
            _validate(hint, text, "")
        except OptionError:
            return value  # also when it is out of range: the message is then about the number, not about a text
        return text
    return text


def options_to_json(options: Any) -> dict[str, Any]:
    """Every option as JSON-able values, defaults included, for recipes and plans."""
    return {field.name: _jsonable(getattr(options, field.name)) for field in dataclasses.fields(options)}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown_option(name: str, known: list[str], method: str) -> str:
    listing = ", ".join(known) if known else "none"
    return f"{method} has no option {name!r}{did_you_mean(name, known)} (its options: {listing})"


def _validate(hint: Any, value: Any, what: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        text = json.dumps(value, default=_as_json_default)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{what}: expected {_type_text(hint)}, got a {type(value).__name__}") from error
    try:
        checked = TypeAdapter(hint).validate_json(text, strict=True)
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(detail["msg"] for detail in error.errors()))
        raise OptionError(f"{what}: expected {_type_text(hint)} ({reasons})") from error
    # A recipe must mean the same folder wherever it is read.
    return checked.expanduser().resolve() if isinstance(checked, Path) else checked


def _as_json_default(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    raise TypeError(type(value).__name__)


def _jsonable(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_jsonable(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _type_text(hint: Any) -> str:
    """Write a type as people would: ``float in [0, 1]``, ``one of code, paper``, ``a pair of float``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        limits = " and ".join(text for text in map(_limit_text, args[1:]) if text)
        return f"{_type_text(args[0])} {limits}".strip()
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        return "[" + ", ".join("..." if arg is Ellipsis else _type_text(arg) for arg in args) + "]"
    if args:  # unions
        return " or ".join(_type_text(arg) for arg in args)
    if hint is type(None):
        return "null"
    return getattr(hint, "__name__", str(hint))


def _limit_text(limit: Any) -> str:
    bounds = []
    for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
        value = getattr(limit, attribute, None)
        if value is not None:
            bounds.append(f"{sign} {value}")
    return " and ".join(bounds)
