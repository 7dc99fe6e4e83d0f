"""``check-data``: what a folder holds, what is odd about it, and which methods can run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ias_zoo.data.dataset import DataSet, Item, Problem
from ias_zoo.data.groups import META, Groups
from ias_zoo.data.images import Picture, read_mask
from ias_zoo.errors import DataError
from ias_zoo.method import Input, Method


@dataclass
class CheckReport:
    """What was found. ``usable`` is False when an error needs a person."""

    layout: str
    counts: dict[str, int]
    normals: int
    shots: int
    masks: int
    regions: int
    grouped_by: str
    groups: dict[str, int]
    sizes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether nothing but notes was found."""
        return not any(problem.error for problem in self.problems)

    def has(self) -> set[Input]:
        """The inputs that this data can serve."""
        have = {Input.DEFECT, Input.PROMPT}
        have |= {Input.NORMALS} if self.normals else set()
        have |= {Input.SOURCE} if self.normals > 1 else set()
        have |= {Input.REGION} if self.regions else set()
        have |= {Input.SHOTS} if self.shots else set()
        have |= {Input.MASKS} if self.masks else set()
        return have

    def runnable(self, methods: Iterable[Method]) -> tuple[list[str], dict[str, list[str]]]:
        """The methods that can run, and what is missing for the others."""
        have = self.has() | {Input.TEXTURES}  # methods that take textures bring their own when the user has none
        can, cannot = [], {}
        for method in methods:
            missing = sorted(method.needs - have)
            if missing:
                cannot[method.name] = [what.value for what in missing]
            else:
                can.append(method.name)
        return can, cannot

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "layout": self.layout,
            "usable": self.usable,
            "counts": self.counts,
            "normals": self.normals,
            "shots": self.shots,
            "masks": self.masks,
            "regions": self.regions,
            "grouped_by": self.grouped_by,
            "groups": self.groups,
            "sizes": self.sizes,
            "kinds": self.kinds,
            "problems": [{"where": p.where, "what": p.what, "error": p.error} for p in self.problems],
        }


def check_data(data: DataSet, *, group_by: str | None = None, step: Callable[[], None] = lambda: None) -> CheckReport:
    """Read every picture and mask once and say what is odd.

    Parameters
    ----------
    group_by:
        A pattern that finds a picture's group in its id; see :meth:`ias_zoo.data.groups.Groups.of`.
    step:
        Called after each picture, for a progress bar.

    Returns
    -------
    A report. Its ``groups`` are numbers by defect type: shots are counted in groups.

    Raises
    ------
    OptionError, DataError
        If ``group_by`` is no regular expression, or leaves a picture without a group.
    """
    how, groups, wrong = _count_groups(data, group_by)
    report = CheckReport(
        layout=data.layout,
        counts=data.counts(),
        normals=len(data.normals),
        shots=len(data.shots),
        masks=sum(item.mask is not None for item in data.items),
        regions=sum(item.region is not None for item in data.items),
        grouped_by=how,
        groups=groups,
        problems=[*data.problems, *wrong],
    )
    if not data.normals:
        report.problems.append(Problem(str(data.root), "no normals: put pictures of good parts into train/good"))
    for item in data.items:
        _check_item(data, item, report)
        step()
    return report


def _count_groups(data: DataSet, pattern: str | None) -> tuple[str, dict[str, int], list[Problem]]:
    """Where the groups are known from, and how many each defect type has; a bad ``meta.csv`` is a problem."""
    try:
        groups = Groups.of(data, pattern)
    except DataError as error:
        if pattern is not None:
            raise
        return META, {}, [Problem(META, str(error).removeprefix(f"{data.root / META}: "))]
    found: dict[str, set[str]] = {}
    for item in data.shots:
        found.setdefault(str(item.defect), set()).add(groups[item.id])
    return groups.how, {defect: len(found[defect]) for defect in sorted(found)}, []


def _check_item(data: DataSet, item: Item, report: CheckReport) -> None:
    try:
        picture = data.read(item)
    except DataError as error:
        report.problems.append(Problem(item.id, _after_path(error, item)))
        report.normals -= item.defect is None and item.split == "train"
        return
    height, width = picture.image.shape[:2]
    _count(report.sizes, f"{width}x{height}")
    _count(report.kinds, f"{'grey' if picture.grey else 'colour'} {item.path.suffix.lower().lstrip('.')}")
    report.problems += [Problem(item.id, note, error=False) for note in picture.notes]
    if item.defect is not None and item.mask is None:
        report.problems.append(Problem(item.id, "no mask", error=False))
    for what, path in (("mask", item.mask), ("region", item.region)):
        if path is not None:
            _check_mask(what, path, item, picture, report)


def _check_mask(what: str, path: Any, item: Item, picture: Picture, report: CheckReport) -> None:
    where = f"{item.id} ({what} {path.name})"
    try:
        mask = read_mask(path)
    except DataError as error:
        report.problems.append(Problem(where, str(error)))
        return
    if mask.shape != picture.image.shape[:2]:
        sizes = f"{mask.shape[1]}x{mask.shape[0]}, its picture {picture.image.shape[1]}x{picture.image.shape[0]}"
        report.problems.append(Problem(where, f"the {what} is {sizes}"))
    elif not mask.any():
        report.problems.append(Problem(where, f"the {what} is empty"))
    elif what == "mask" and np.all(mask):
        report.problems.append(Problem(where, "the mask covers the whole picture", error=False))


def _count(counter: dict[str, int], key: str) -> None:
    counter[key] = counter.get(key, 0) + 1


def _after_path(error: DataError, item: Item) -> str:
    return str(error).removeprefix(f"{item.path}: ")
