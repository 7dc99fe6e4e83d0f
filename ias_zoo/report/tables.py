"""The tables of a report: cells with the text people read and the value a heading sorts by."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ias_zoo.report.gather import Judged, Run, percent
from ias_zoo.report.plots import duration, signed
from ias_zoo.report.results import (
    ARMS,
    BOTH,
    COSTS,
    GAIN_SCORE,
    REAL_ONLY,
    SHOTS,
    Comparison,
    Row,
    Values,
    deviation,
    mean,
)

SCORES = {
    "pixel_ap": "pixel AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_f1_max": "pixel F1",
    "pixel_pro": "PRO",
    "pixel_iou": "IoU",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "type_accuracy": "defect type",
}
"""Scores in the order of their columns; others come after them under their own name."""


@dataclass(frozen=True)
class Cell:
    """``value`` is what a heading sorts by, None where there is nothing; ``kind`` is a CSS class."""

    text: str
    value: float | str | None = None
    spread: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """``sorted`` is the order the rows are in at first, in ARIA's words."""

    name: str
    sorted: str = ""


@dataclass(frozen=True)
class Group:
    """A heading above ``span`` columns."""

    name: str
    span: int


@dataclass(frozen=True)
class Line:
    """A row; a ``reference`` is drawn apart."""

    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """What the template draws."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[Line]
    groups: Sequence[Group] = field(default_factory=tuple)


NOTHING = Cell("–", kind="missing")


def results_table(comparison: Comparison) -> Table:
    """A row a method by falling gain, and the reference among them, where it belongs: at a gain of 0."""
    rows, reference = comparison.rows, comparison.reference
    scores = _names(rows, BOTH) or _names([reference], SHOTS)
    others = [
        arm for arm in _arms(rows) if arm not in (SHOTS, BOTH) and any(row.scores(arm, GAIN_SCORE) for row in rows)
    ]
    costs = [name for name in COSTS if any(row.costs(name) for row in rows)]
    columns = [Column("method"), Column("gain", "descending")]
    columns += [Column(SCORES.get(name, name)) for name in scores]
    columns += [Column(f"pixel AP, {ARMS.get(arm, arm)}") for arm in others]
    columns += [Column(COSTS[name]) for name in costs] + [Column("seeds")]
    groups = [Group("", 2), Group(ARMS[BOTH], len(scores))] + ([Group("other training", len(others))] if others else [])
    groups += [Group("cost", len(costs))] if costs else []
    asked = len(comparison.seeds)

    def line(row: Row, arm: str, gain: Cell) -> Line:
        cells = [Cell(row.method, row.method), gain]
        cells += [score_cell(row.scores(arm, name)) for name in scores]
        cells += [score_cell(row.scores(other, GAIN_SCORE) if arm == BOTH else {}) for other in others]
        cells += [_cost_cell(name, row.costs(name)) for name in costs]
        done = len(row.experiments)
        cells.append(Cell(f"{done} of {asked}" if asked else str(done), done))
        return Line(tuple(cells), arm == SHOTS)

    lines = [line(row, BOTH, gain_cell(row)) for row in rows]
    if reference.experiments:
        place = sum(bool(row.gain) and mean(row.gain) >= 0 for row in rows)
        lines.insert(place, line(Row(REAL_ONLY, reference.experiments), SHOTS, Cell("0", 0.0)))
    return Table("Methods by gain", columns, lines, (*groups, Group("", 1)))


def quality_table(rows: Sequence[Row]) -> Table | None:
    """Every figure of the results' ``quality``, a column each; None where there is none."""
    found = [(row, row.quality()) for row in rows]
    names = list(dict.fromkeys(name for _, quality in found for name in quality))
    if not names:
        return None
    lines = [
        Line((Cell(row.method, row.method), *(score_cell(quality.get(name, {})) for name in names)))
        for row, quality in found
        if quality
    ]
    return Table("Fidelity and diversity", [Column("method"), *(Column(_words(name)) for name in names)], lines)


def gate_table(runs: Sequence[Run], judged: Sequence[Judged]) -> Table:
    """What the gate met: a row a method, or a defect type where there is one method."""
    methods = list(dict.fromkeys(run.method for run in runs))
    by_defect = len(methods) == 1
    names = list(dict.fromkeys(defect for run in runs for defect in run.places)) if by_defect else methods
    lines = []
    for name in names:
        own = [run for run in runs if by_defect or run.method == name]
        made = sum(
            len(places) for run in own for defect, places in run.places.items() if not by_defect or defect == name
        )
        again = sum(count for run in own for defect, count in run.redrawn.items() if not by_defect or defect == name)
        samples = [one for one in judged if name == (one.defect if by_defect else one.run.method)]
        changed = [one.changed for one in samples if one.changed is not None]
        cells = [Cell(name, name), Cell(f"{made:,}", made), Cell(f"{again:,}", again)]
        cells += [
            _cell([one.share for one in samples], statistics.median, percent),
            _cell([one.pixels for one in samples], min, lambda pixels: f"{pixels:,.0f} px"),
            _cell(changed, statistics.median, percent),
            _cell(changed, min, percent),
        ]
        lines.append(Line(tuple(cells)))
    columns = [
        "defect" if by_defect else "method",
        "pictures",
        "refused draws",
        "median",
        "smallest",
        "median",
        "least",
    ]
    groups = (Group("", 3), Group("mask", 2), Group("changed inside it", 2))
    return Table("Quality gate", [Column(name) for name in columns], lines, groups)


def gain_cell(row: Row) -> Cell:
    """A method's gain with its 95 % interval; its colour says on which side of 0 that is."""
    if not row.gain:
        return NOTHING
    around = f" [{signed(row.interval[0])}, {signed(row.interval[1])}]" if row.interval else ""
    return Cell(signed(mean(row.gain)), mean(row.gain), _spread(row.gain) + around, row.verdict)


def score_cell(values: Values) -> Cell:
    """Mean and spread over seeds."""
    if not values:
        return NOTHING
    return Cell(_figure(mean(values)), mean(values), _spread(values))


def _cost_cell(name: str, values: Values) -> Cell:
    if not values:
        return NOTHING
    value = mean(values)
    return Cell(duration(value) if name.endswith("_seconds") else f"{value:,.0f} MB", value)


def _cell(values: Sequence[float], reduce: Callable[[Sequence[float]], float], words: Callable[[float], str]) -> Cell:
    return Cell(words(reduce(values)), reduce(values)) if values else NOTHING


def _figure(value: float) -> str:
    """Three decimals below 10, fewer above; very small ones as they are."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}".replace("-", "−")
    if value == 0:
        return "0"
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def _spread(values: Values) -> str:
    found = deviation(values)
    return "" if found is None else f"± {_figure(found)}"


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", ", ")


def _arms(rows: Sequence[Row]) -> list[str]:
    found = [arm for row in rows for one in row.experiments for arm in one.arms]
    return sorted(dict.fromkeys(found), key=lambda arm: (*ARMS, arm).index(arm))


def _names(rows: Sequence[Row], arm: str) -> list[str]:
    found = [name for row in rows for one in row.experiments for name in one.score_names(arm)]
    return sorted(dict.fromkeys(found), key=lambda name: (*SCORES, name).index(name))
