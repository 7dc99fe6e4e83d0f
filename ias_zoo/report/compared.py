"""What the page of a comparison says, beyond the pictures: the verdict, the tables and the plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ias_zoo.report.plots import (
    Bar,
    arm_class,
    cost_plot,
    duration,
    gain_plot,
    loss_plot,
    recall_plot,
    signed,
    window,
)
from ias_zoo.report.results import (
    ARMS,
    BOTH,
    COMPARE_FILE,
    GAIN_SCORE,
    REAL_ONLY,
    RESULT_FILE,
    SHOTS,
    Comparison,
    Experiment,
    Row,
    as_text,
    deviation,
    mean,
    number,
    protocols_in,
)
from ias_zoo.report.tables import quality_table, results_table

LISTED = 20
"""Longer lists of a record are left out of the page."""

Curves = dict[str, list[tuple[list[float], list[float]]]]
"""Arm to (recall, precision) of every seed."""


def comparison_parts(comparison: Comparison) -> dict[str, Any]:
    """The parts of the page by the names the template uses."""
    rows, settings = comparison.rows, comparison.settings
    bars = [_bar(row) for row in rows if row.gain]
    recall, arms = _recall_plots(comparison)
    costless = [bar.name for bar in bars if not bar.cost]
    title = f"Which method helps {_name_of(str(settings.get('data', '')))}?"
    return {
        "kind": "comparison",
        "title": title,
        "sentences": sentences(comparison),
        "facts": _facts(comparison),
        "warnings": _warnings(comparison),
        "table": results_table(comparison) if rows or comparison.reference.experiments else None,
        "gain_plot": gain_plot(bars) if bars else "",
        "cost_plot": cost_plot(bars) if bars else "",
        "costless": ", ".join(costless),
        "recall_plots": recall,
        "arms": [(arm_class(arm), ARMS.get(arm, arm)) for arm in arms],
        "loss_plots": [panel for row in rows for panel in _loss_panels(row)],
        "quality": quality_table(rows),
        "protocols": _protocols(rows),
        "records": _records(comparison),
    }


def sentences(comparison: Comparison) -> list[str]:
    """The answer in words, with how sure it is."""
    judged = [row for row in comparison.rows if row.gain]
    if not judged:
        return ["No method has been evaluated yet."]
    best = judged[0]
    value, spread, seeds = mean(best.gain), deviation(best.gain), len(best.gain)
    figure = f"{signed(value)} pixel AP" + (
        f" (± {spread:.3f} over {seeds} seeds)" if spread is not None else " (one seed)"
    )
    alone = comparison.reference.scores(SHOTS, GAIN_SCORE)
    base = f" The shots alone reach {mean(alone):.3f}." if alone else ""
    if value <= 0:
        first = f"No method raised pixel AP above the shots alone; the best, {best.method}, comes to {figure}.{base}"
    else:
        first = f"{best.method} gains most: {figure} over the shots alone.{base}"
    groups = {"helps": "helped", "hurts": "hurt", "unclear": "cannot be told from no difference"}
    found = [
        f"{', '.join(names)} {words}"
        for verdict, words in groups.items()
        if (names := [row.method for row in judged if row.verdict == verdict])
    ]
    second = "; ".join(found) + " (95 % interval over the seeds)."
    if max(len(row.gain) for row in judged) == 1:
        second = "One seed shows no spread: a difference may be chance."
    return [first, second]


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    settings = comparison.settings
    shots = settings.get("shots")
    shots_text = (
        ", ".join(f"{count} {name}" for name, count in shots.items()) if isinstance(shots, dict) else str(shots)
    )
    protocol = settings.get("protocol")
    name = protocol.get("name", "") if isinstance(protocol, dict) else protocol
    facts = [("Data", str(settings.get("data", "")))]
    facts += [("Shots", shots_text)] if shots else []
    facts += [("Protocol", str(name))] if name else []
    facts += [("Seeds", ", ".join(map(str, comparison.seeds)))] if comparison.seeds else []
    total = comparison.total_seconds()
    facts += [("Fitting and generating", f"{duration(total)} in all")] if total else []
    return facts


def _warnings(comparison: Comparison) -> list[str]:
    asked = set(comparison.seeds)
    found = []
    for row in comparison.rows:
        missing = sorted(asked - {one.seed for one in row.experiments})
        if missing:
            found.append(f"{row.method}: no result yet for seed {', '.join(map(str, missing))}.")
    found += comparison.refused()
    if not comparison.reference.experiments:
        found.append(f"There is no result of {REAL_ONLY}: no gain can be given.")
    return found


def _bar(row: Row) -> Bar:
    seconds = row.seconds()
    cost = mean(seconds) if seconds else None
    return Bar(row.method, tuple(row.gain.values()), mean(row.gain), deviation(row.gain), row.verdict, cost)


def _recall_plots(comparison: Comparison) -> tuple[list[tuple[str, Any]], list[str]]:
    reference = _curves(comparison.reference.experiments)
    plots: list[tuple[str, Any]] = []
    seen: list[str] = []
    for row in comparison.rows:
        curves = _curves(row.experiments)
        if not curves:
            continue
        if SHOTS not in curves and SHOTS in reference:
            curves[SHOTS] = reference[SHOTS]
        ordered = {arm: curves[arm] for arm in sorted(curves, key=_order)}
        seen += ordered
        plots.append((row.method, recall_plot(row.method, ordered)))
    if not plots and SHOTS in reference:
        plots, seen = [(REAL_ONLY, recall_plot(REAL_ONLY, reference))], [SHOTS]
    return plots, sorted(dict.fromkeys(seen), key=_order)


def _order(arm: str) -> tuple[int, str]:
    """The arm that counts is drawn last, on top."""
    return (2 if arm == BOTH else 0 if arm == SHOTS else 1), arm


def _curves(experiments: Sequence[Experiment]) -> Curves:
    found: Curves = {}
    for one in experiments:
        curves = one.result.get("curves")
        for arm in curves if isinstance(curves, dict) else ():
            curve = one.curve(arm)
            if curve is not None:
                found.setdefault(arm, []).append(curve)
    return found


def _loss_panels(row: Row) -> list[dict[str, Any]]:
    """A panel a training stage, with the losses of all fits; one fit may have served several seeds."""
    fits: list[dict[str, dict[str, list[float]]]] = []
    for one in row.experiments:
        if (losses := _losses(one)) not in fits:
            fits.append(losses)
    stages: dict[str, dict[str, list[list[float]]]] = {}
    for losses in fits:
        for name, curves in losses.items():
            for term, values in curves.items():
                stages.setdefault(name, {}).setdefault(term, []).append(values)
    panels = []
    for name, terms in stages.items():
        title = f"{row.method}: {name}"
        if plot := loss_plot(title, terms):
            steps = max(len(values) for each in terms.values() for values in each)
            words = f"running mean of {window(steps)} steps" if window(steps) > 1 else "every step"
            panels.append({"name": title, "words": words, "terms": list(terms), "plot": plot})
    return panels


def _losses(experiment: Experiment) -> dict[str, dict[str, list[float]]]:
    """Stage to loss term to the values that are numbers."""
    found: dict[str, dict[str, list[float]]] = {}
    listed = (experiment.training or {}).get("stages")
    for stage in listed if isinstance(listed, list) else ():
        losses = stage.get("losses") if isinstance(stage, dict) else None
        for term, values in losses.items() if isinstance(losses, dict) else ():
            finite = [number(value) for value in values] if isinstance(values, list) else []
            kept = [value for value in finite if value is not None]
            if kept:
                found.setdefault(str(stage.get("name", "")), {})[str(term)] = kept
    return found


def _protocols(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Each protocol and warning once."""
    found = [said for row in rows for one in row.experiments for said in protocols_in(one.quality)]
    return list(dict.fromkeys(found))


def _records(comparison: Comparison) -> list[tuple[str, str]]:
    """The settings and each result, without what is bulky: the page must stay small enough to send."""
    records = [(COMPARE_FILE, as_text(_shortened(comparison.settings, COMPARE_FILE)))]
    seen: set[str] = set()
    for row in (*comparison.rows, comparison.reference):
        for one in row.experiments:
            method = one.folder.parent.name
            name = f"{method}, seed {one.seed}: result"
            if name not in seen:
                seen.add(name)
                records.append((name, as_text(_record(one.result, shots=method == REAL_ONLY))))
    return records


def _record(result: dict[str, Any], *, shots: bool) -> Any:
    """A result as the page shows it; ``shots``: with the detail of that arm, which all methods of a seed share."""
    detail = result.get("detail")
    arms = detail.get("arms") if isinstance(detail, dict) else None
    if not shots and isinstance(detail, dict) and isinstance(arms, dict) and SHOTS in arms:
        result = {**result, "detail": {**detail, "arms": {**arms, SHOTS: f"left out here: see {RESULT_FILE}"}}}
    return _shortened(result, RESULT_FILE)


def _shortened(value: Any, file: str) -> Any:
    """The value, with words in place of its long lists: curves, losses, a score or an id for each test picture."""
    if isinstance(value, dict):
        return {key: _shortened(item, file) for key, item in value.items()}
    if isinstance(value, list) and len(value) > LISTED:
        return f"{len(value)} entries, left out here: see {file}"
    return [_shortened(item, file) for item in value] if isinstance(value, list) else value


def _name_of(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or "this product"
