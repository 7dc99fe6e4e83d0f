"""Write the tables of docs/results.md.

``python tools/results.py take NAME FOLDER`` keeps the figures of a comparison's folder as docs/results/NAME.json;
``python tools/results.py`` writes the tables from those files. A test keeps the tables true to them.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from ias_zoo.data.images import write_whole
from ias_zoo.report.results import BOTH, SHOTS, SYNTHETIC, Row, read_comparison

ROOT = Path(__file__).parents[1]
DOC, KEPT = ROOT / "docs/results.md", ROOT / "docs/results"
SCORES = ("pixel_ap", "pixel_ap_types", "pixel_auroc", "pixel_pro", "image_auroc", "type_accuracy")
_PLACE = re.compile(r"(<!-- (table|types) (\w+): made by tools/results.py -->\n).*?(<!-- end -->)", re.DOTALL)


def take(name: str, folder: Path) -> None:
    """Keep what a comparison found: every score of every seed, how the samples were used, and what it cost."""
    found = read_comparison(folder)
    settings = {key: found.settings[key] for key in ("shots", "protocol", "n", "seeds")}
    settings["test"] = len(found.settings["split"]["test"])
    rows = [_row(found.reference, (SHOTS,)), *(_row(row, (BOTH, SYNTHETIC)) for row in found.rows if row.gain)]
    write_whole(KEPT / f"{name}.json", (json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n").encode())


def _row(row: Row, arms: tuple[str, ...]) -> dict[str, Any]:
    uses = {one.result["use"].get(BOTH) for one in row.experiments} - {None}
    return {
        "method": row.method,
        "options": row.experiments[0].result["given"],
        "gain": list(row.gain.values()),
        "interval": row.interval,
        "verdict": row.verdict,
        "use": sorted(uses),
        "scores": {arm: {name: list(row.scores(arm, name).values()) for name in SCORES} for arm in arms},
        "by_defect": {arm: _by_defect(row, arm) for arm in arms},
        "fit_seconds": _mean(list(row.costs("fit_seconds").values())),
        "generate_seconds": _mean(list(row.costs("generate_seconds").values())),
    }


def _by_defect(row: Row, arm: str) -> dict[str, list[float]]:
    """Pixel AP of each defect type, seed by seed."""
    found = [one.result["detail"]["arms"][arm]["by_defect"] for one in row.experiments]
    return {defect: [kinds[defect]["ap"] for kinds in found] for defect in found[0]}


def table(kept: dict[str, Any]) -> str:
    """The table of one comparison, in Markdown."""
    lines = [
        "| method | gain in pixel AP | 95 % interval | | used | pixel AP | mean of types | AUROC | PRO | image AUROC "
        "| type accuracy | synthetic alone, pixel AP | fit, s | generate, s |",
        "|---|---:|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in kept["rows"]:
        alone = SHOTS in row["scores"]
        scores = [_text(row["scores"][SHOTS if alone else BOTH][name]) for name in SCORES]
        cells = [
            "**shots alone**" if alone else _name(row),
            "" if alone else _text(row["gain"], sign=True) + _few(row["gain"], kept["settings"]["seeds"]),
            "" if not row["interval"] else "{:+.3f} to {:+.3f}".format(*row["interval"]),
            row["verdict"],
            ", ".join(row["use"]),
            *scores,
            "" if alone else _text(row["scores"][SYNTHETIC]["pixel_ap"]),
            *("" if row[cost] is None else f"{row[cost]:.0f}" for cost in ("fit_seconds", "generate_seconds")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def types(kept: dict[str, Any]) -> str:
    """Pixel AP by defect type, in Markdown."""
    names = sorted(kept["rows"][0]["by_defect"][SHOTS])
    lines = [f"| pixel AP | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for row in kept["rows"]:
        alone = SHOTS in row["scores"]
        found = row["by_defect"][SHOTS if alone else BOTH]
        lines.append(f"| {'**shots alone**' if alone else _name(row)} | {' | '.join(_text(found[n]) for n in names)} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """The document with its tables made anew."""

    def made(place: re.Match[str]) -> str:
        kept = json.loads((KEPT / f"{place[3]}.json").read_text(encoding="utf-8"))
        return f"{place[1]}{table(kept) if place[2] == 'table' else types(kept)}\n{place[4]}"

    return _PLACE.sub(made, text)


def _name(row: dict[str, Any]) -> str:
    """The method, and the options that were given for it."""
    given = [f"`{name}={value}`" for name, value in row["options"].items()]
    return ", ".join([f"`{row['method']}`", *given])


def _few(values: list[float], seeds: list[int]) -> str:
    return "" if len(values) == len(seeds) else f" ({len(values)} of {len(seeds)} seeds)"


def _text(values: list[float], *, sign: bool = False) -> str:
    if not values:
        return ""
    text = f"{statistics.fmean(values):{'+' if sign else ''}.3f}"
    return text if len(values) < 2 else f"{text} ± {statistics.stdev(values):.3f}"


def _mean(values: list[float]) -> float | None:
    return round(statistics.fmean(values), 1) if values else None


if __name__ == "__main__":
    if sys.argv[1:2] == ["take"]:
        take(sys.argv[2], Path(sys.argv[3]))
    write_whole(DOC, with_tables(DOC.read_text(encoding="utf-8")).encode())
