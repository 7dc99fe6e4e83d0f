"""Read a comparison's folder: one row a method, its scores over seeds, and the gain over training without it.

The layout is what ``ias-zoo compare`` writes::

    OUT/compare.json                            what was compared
    OUT/<method>/settings.json                  what all of it was made with
    OUT/<method>/seed-<k>/result.json           scores, cost and curves of one experiment
    OUT/<method>/seed-<k>/generated/            the run that was evaluated
    OUT/<method>/seed-<k>/weights/training.json losses, for methods that are trained
    OUT/real-only/seed-<k>/result.json          the reference: the shots alone

Everything but ``compare.json`` may be missing: a comparison can be looked at while it runs.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ias_zoo.errors import RunError
from ias_zoo.generation.plan import PLAN_FILE
from ias_zoo.generation.provenance import is_inside

COMPARE_FILE, RESULT_FILE, TRAINING_FILE = "compare.json", "result.json", "training.json"
REAL_ONLY = "real-only"
FORMAT = 1
GAIN_SCORE = "pixel_ap"
"""The score whose rise over the shots alone is a method's gain."""

SHOTS, BOTH, SYNTHETIC = "shots", "both", "synthetic"
ARMS = {SHOTS: "shots alone", BOTH: "shots + synthetic", SYNTHETIC: "synthetic alone"}
"""What the segmenter was trained on, and the words for it."""

COSTS = {"fit_seconds": "fit", "generate_seconds": "generate", "peak_mb": "memory"}
"""What a method costs, and the words for it."""

Values = dict[int, float]
"""Seed to number."""


@dataclass
class Experiment:
    """One method with one seed."""

    folder: Path
    seed: int
    result: dict[str, Any]
    training: dict[str, Any] | None

    @property
    def generated(self) -> Path | None:
        """The run that was evaluated, if it is there."""
        folder = self.folder / "generated"
        return folder if (folder / PLAN_FILE).is_file() else None

    @property
    def quality(self) -> dict[str, Any]:
        """Figures of the synthetic pictures, nested."""
        return _mapping(self.result.get("quality"))

    @property
    def arms(self) -> list[str]:
        """The ways the segmenter was trained."""
        return [arm for arm, scores in _mapping(self.result.get("downstream")).items() if isinstance(scores, dict)]

    def score_names(self, arm: str) -> list[str]:
        """The scores an arm has."""
        scores = _mapping(_mapping(self.result.get("downstream")).get(arm))
        return [name for name, value in scores.items() if number(value) is not None and not name.endswith("threshold")]

    def score(self, arm: str, name: str) -> float | None:
        """A score of the held-out real pictures, or None."""
        return number(_mapping(_mapping(self.result.get("downstream")).get(arm)).get(name))

    def cost(self, name: str) -> float | None:
        """``fit_seconds``, ``generate_seconds`` or ``peak_mb``."""
        return number(_mapping(self.result.get("cost")).get(name))

    def curve(self, arm: str) -> tuple[list[float], list[float]] | None:
        """Recall and precision, by rising recall; None where there is no (whole) curve."""
        curve = _mapping(_mapping(self.result.get("curves")).get(arm))
        recall, precision = (_numbers(curve.get(name)) for name in ("recall", "precision"))
        if recall is None or precision is None or len(recall) != len(precision) or len(recall) < 2:
            return None
        pairs = sorted(zip(recall, precision, strict=True), key=lambda pair: (pair[0], -pair[1]))
        return [x for x, _ in pairs], [y for _, y in pairs]


@dataclass
class Row:
    """One method of the comparison. ``gain`` is paired: the same seed with and without the synthetic pictures."""

    method: str
    experiments: list[Experiment] = field(default_factory=list)
    gain: Values = field(default_factory=dict)

    def scores(self, arm: str, name: str) -> Values:
        """A score of every seed that has it."""
        return _known((one.seed, one.score(arm, name)) for one in self.experiments)

    def costs(self, name: str) -> Values:
        """A cost of every seed that has it."""
        return _known((one.seed, one.cost(name)) for one in self.experiments)

    def seconds(self) -> Values:
        """Seconds to fit and to generate together, of every seed that has them whole.

        A run that was stopped and resumed has no time of its own, and a sum without it would flatter the method.
        """
        fit, generate = self.costs("fit_seconds"), self.costs("generate_seconds")
        return {seed: fit.get(seed, 0.0) + value for seed, value in generate.items() if not fit or seed in fit}

    def quality(self) -> dict[str, Values]:
        """Every figure of ``quality``, by its dotted name."""
        found: dict[str, Values] = {}
        for one in self.experiments:
            for name, figure in figures_in(one.quality).items():
                if (value := number(figure["value"])) is not None:
                    found.setdefault(name, {})[one.seed] = value
        return found

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean gain; None for one seed."""
        low, high = interval(list(self.gain.values()))
        return None if low is None or high is None else (low, high)

    @property
    def verdict(self) -> str:
        """``helps`` or ``hurts`` when the interval leaves out no gain, else ``unclear``; ``""`` without a gain.

        With three seeds all gains have one sign by chance in a quarter of the cases: signs alone say little.
        """
        if not self.gain:
            return ""
        low, high = self.interval or (0.0, 0.0)
        return "helps" if low > 0 else "hurts" if high < 0 else "unclear"


@dataclass
class Comparison:
    """A comparison's folder. ``rows`` come by falling gain, those without one last; ``reference`` is real-only.

    ``failed``: what stopped methods in the call that gave this, by name.
    """

    folder: Path
    settings: dict[str, Any]
    rows: list[Row]
    reference: Row
    failed: dict[str, str] = field(default_factory=dict)

    def total_seconds(self) -> float:
        """What is known of the time all methods took; a fit that the seeds share counts once."""
        total = 0.0
        for row in self.rows:
            fit = list(row.costs("fit_seconds").values())
            total += sum(fit if self.settings.get("fit_each_seed") else fit[:1])
            total += sum(row.costs("generate_seconds").values())
        return total

    def refused(self) -> list[str]:
        """In words, which methods could not make all of their pictures: their gain is that of fewer."""
        asked = self.settings.get("n")
        return [
            f"{row.method}: {count:.0f} of {asked} pictures of seed {one.seed} could not be made."
            for row in self.rows
            for one in row.experiments
            if (count := number(one.result.get("refused")))
        ]

    @property
    def seeds(self) -> list[int]:
        """The seeds that were asked for."""
        return [seed for seed in _listed(self.settings.get("seeds")) if isinstance(seed, int)]


def read_comparison(folder: Path) -> Comparison:
    """Read a comparison.

    Raises
    ------
    RunError
        If ``compare.json`` or a result is damaged, or of another version.
    """
    settings = read_json(folder / COMPARE_FILE)
    if settings.get("format") != FORMAT:
        raise RunError(
            f"{folder / COMPARE_FILE}: format {settings.get('format')!r}; this version reads {FORMAT}: "
            "report with the version that made it"
        )
    names = [name for name in _listed(settings.get("methods")) if is_inside(name) and name != REAL_ONLY]
    reference = _row(folder, REAL_ONLY)
    rows = [_row(folder, name) for name in dict.fromkeys(names)]
    alone = reference.scores(SHOTS, GAIN_SCORE)
    for row in rows:
        before = {**alone, **row.scores(SHOTS, GAIN_SCORE)}  # its own, trained beside it, where there is one
        after = row.scores(BOTH, GAIN_SCORE)
        row.gain = {seed: value - before[seed] for seed, value in after.items() if seed in before}
    if not reference.experiments:  # every method carries the same arm
        longest = max(rows, key=lambda row: len(row.scores(SHOTS, GAIN_SCORE)), default=reference)
        reference.experiments = [one for one in longest.experiments if one.score(SHOTS, GAIN_SCORE) is not None]
    rows.sort(key=lambda row: -mean(row.gain) if row.gain else math.inf)
    return Comparison(folder, settings, rows, reference)


def _row(folder: Path, method: str) -> Row:
    row = Row(method)
    for place in sorted((folder / method).glob("seed-*"), key=lambda path: (len(path.name), path.name)):
        seed = place.name.removeprefix("seed-")
        if seed.isdecimal() and (place / RESULT_FILE).is_file():
            trained = sorted([*place.glob(TRAINING_FILE), *place.glob(f"*/{TRAINING_FILE}")])
            training = read_json(trained[0]) if trained else None
            row.experiments.append(Experiment(place, int(seed), read_json(place / RESULT_FILE), training))
    return row


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises
    ------
    RunError
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise RunError(f"{path}: expected an object, not {type(found).__name__}")
    return found


def mean(values: Values) -> float:
    """Over seeds."""
    return statistics.fmean(values.values())


def deviation(values: Values) -> float | None:
    """The standard deviation over seeds (n - 1 in the divisor); None for one seed, which has no spread."""
    return statistics.stdev(values.values()) if len(values) > 1 else None


def interval(differences: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Student's 95 % interval of the mean of paired differences; None for fewer than two, or where one is missing."""
    known = [value for value in differences if value is not None]
    if len(known) < len(differences) or len(known) < 2:
        return None, None
    from scipy.stats import t

    middle = statistics.fmean(known)
    half = float(t.ppf(0.975, len(known) - 1)) * statistics.stdev(known) / math.sqrt(len(known))
    return middle - half, middle + half


def figures_in(quality: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of a result's ``quality`` by dotted names: objects with a ``value``, or numbers by themselves.

    Where there is an ``overall`` (means over defect types) that and ``pooled`` (all types together) are what is shown.
    What says how something was measured (``protocol``, ``run``, ``data``) holds no figures.
    """
    if isinstance(quality.get("overall"), dict):
        return _figures(quality["overall"]) | _figures(_mapping(quality.get("pooled")), "pooled.")
    return _figures(quality)


def protocols_in(quality: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How each figure was measured, and what it warns of: its own name, and words."""
    found: dict[tuple[str, str], None] = {}
    for name, figure in _figures(quality).items():
        for kind in ("protocol", "warning"):
            said = figure.get(kind)
            if isinstance(said, dict):
                said = ", ".join(f"{key} {value}" for key, value in said.items())
            if said:
                title = name.rpartition(".")[2] + (" (warning)" if kind == "warning" else "")
                found[title, str(said)] = None
    return list(found)


def _figures(tree: Mapping[str, Any], prefix: str = "") -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if key in _NO_FIGURES:
            continue
        if isinstance(value, dict) and "value" in value:
            found[name] = value
        elif isinstance(value, dict):
            found |= _figures(value, f"{name}.")
        elif number(value) is not None:
            found[name] = {"value": value}
    return found


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


_NO_FIGURES = frozenset({"protocol", "run", "data", "schema"})
_NUMBERS = re.compile(r"\[\n[-+.\deE,\s]+\]")  # a raw line break: never inside a JSON text


def as_text(value: Any) -> str:
    """JSON for people to read; lists of numbers stay on one line."""
    text = json.dumps(clean(value), indent=2, ensure_ascii=False)
    return _NUMBERS.sub(lambda match: re.sub(r"\s+", " ", match[0]).replace("[ ", "[").replace(" ]", "]"), text)


def clean(value: Any) -> Any:
    """A JSON-able value in which numbers that no JSON may hold (NaN, infinity) are texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def _known(values: Iterable[tuple[int, float | None]]) -> Values:
    return {seed: value for seed, value in values if value is not None}


def _numbers(values: Any) -> list[float] | None:
    found = [number(value) for value in _listed(values)]
    return [value for value in found if value is not None] if found and None not in found else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
