"""One HTML file that shows what a run or a comparison came to, and needs nothing but a browser.

Everything is in the file: pictures as ``data:`` addresses, style and script inline, both named by their hashes in a
Content-Security-Policy that forbids everything else. Names and recipes are data: the template escapes them, the script
only ever sets text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import ias_zoo
from ias_zoo.data.images import write_whole
from ias_zoo.errors import OptionError, RunError
from ias_zoo.generation.folder import REPORT, disk_errors
from ias_zoo.generation.gate import CHANGED_LEVELS, CHANGED_SHARE
from ias_zoo.generation.plan import PLAN_FILE, Plan
from ias_zoo.report.compared import comparison_parts
from ias_zoo.report.gather import Judged, Run, attempts, choose, count_to_judge, judge, open_run, percent, worst
from ias_zoo.report.pictures import Pictures, Shown, best_side, view_json
from ias_zoo.report.results import COMPARE_FILE, Comparison, as_text, read_comparison
from ias_zoo.report.tables import gate_table

LIMIT, MOST = 200, 1000
"""Samples in the gallery: by default, and at most, for the page must stay small enough to send."""

SMALL = 100
"""Pictures below this side are drawn with their pixels visible, for they are enlarged."""

STEPS = 100
"""The steps a report is made in, as a progress bar counts them."""

GENERATOR = "ias_zoo report"


def write_report(
    folder: Path, out: Path | None = None, *, limit: int = LIMIT, step: Callable[[int], None] = lambda count: None
) -> Path:
    """Write the report of a generated folder or of a comparison.

    Parameters
    ----------
    folder:
        What ``ias-zoo generate`` or ``ias-zoo compare`` made.
    out:
        The HTML file; default ``report.html`` in the folder. An earlier report is replaced, any other file is not.
    limit:
        At most so many samples in the gallery, 1 to 1000, spread evenly over methods, seeds and defect types.
    step:
        Called with a number of steps whenever so many more of the :data:`STEPS` are done.

    Returns
    -------
    The file written.

    Raises
    ------
    OptionError, RunError, DataError
        If the limit is out of range, the folder is neither, something in it is damaged, or the file cannot be written.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise OptionError(f"limit={limit!r}: expected an integer from 1 to {MOST}")
    folder = Path(folder)
    target = _target(folder, out)
    comparison: Comparison | None = None
    if (folder / COMPARE_FILE).is_file():
        comparison = read_comparison(folder)
        runs = _runs_of(comparison)
    elif (folder / PLAN_FILE).is_file():
        runs = [open_run(folder)]
    else:
        raise RunError(
            f"{folder}: neither a generated folder ({PLAN_FILE}) nor a comparison ({COMPARE_FILE}); "
            "make one with `ias-zoo generate` or `ias-zoo compare`"
        )
    page = _render(_context(folder, runs, comparison, limit, _Progress(step, count_to_judge(runs) + limit)))
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, page.encode("utf-8", "replace"))  # a file name may hold what no text may
    return target


def _target(folder: Path, out: Path | None) -> Path:
    target = folder / REPORT if out is None else Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"{target}: expected a name that ends in .html")
    with disk_errors(target):
        if target.exists():
            with target.open("rb") as file:
                ours = f'name="generator" content="{GENERATOR}'.encode() in file.read(1024)
            if not ours:
                raise RunError(f"{target} exists and is no report; give another name")
    return target


class _Progress:
    """Turns units of work into :data:`STEPS`."""

    def __init__(self, step: Callable[[int], None], total: int) -> None:
        self._step, self._total, self._done, self._told = step, max(1, total), 0, 0

    def __call__(self, count: int) -> None:
        self._done += count
        now = min(STEPS, STEPS * self._done // self._total)
        if now > self._told:
            self._step(now - self._told)
            self._told = now


def _runs_of(comparison: Comparison) -> list[Run]:
    return [
        open_run(one.generated, method=row.method, seed=one.seed)
        for row in comparison.rows
        for one in row.experiments
        if one.generated is not None
    ]


def _context(
    folder: Path, runs: list[Run], comparison: Comparison | None, limit: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    judged = judge(runs, step=progress)
    chosen, nearest = choose(judged, limit), worst(judged)
    cards = _Cards(folder, Pictures(best_side([*chosen, *(sample for sample, _ in nearest)])), several=len(runs) > 1)
    gallery = []
    for sample in chosen:
        gallery.append(cards.add(sample))
        progress(1)
    worst_cards = [cards.add(sample, reason) for sample, reason in nearest]
    total = sum(run.made for run in runs)
    parts = _run_parts(folder, runs, judged) if comparison is None else comparison_parts(comparison)
    sections = [("summary", "Summary")]
    sections += [("results", "Results")] if parts.get("table") else []
    sections += [("curves", "Curves")] if parts.get("recall_plots") or parts.get("loss_plots") else []
    sections += [("quality", "Quality")] if parts.get("quality") else []
    sections += [("gallery", "Gallery"), ("gate", "Gate"), ("provenance", "Provenance")]
    found = _filters(judged)
    return {
        "sections": sections,
        "gallery": gallery,
        "gallery_note": _gallery_note(len(gallery), total),
        "close_ups": any(sample["close"] for sample in cards.samples.values()),
        "filters": [(kind, values) for kind, values in found if len(values) > 1],
        "worst": worst_cards,
        "gate": _gate(runs, judged, total),
        "data": {"samples": cards.samples, "normals": cards.pictures.normals},
        "footer": f"Made by ias_zoo {ias_zoo.__version__}. This file asks the network for nothing.",
        **parts,
        "warnings": [*parts["warnings"], *_missing(runs)],
        "records": [*parts["records"], *((f"{_run_name(run)}: plan", _plan_text(run.plan)) for run in runs)],
    }


def _run_parts(folder: Path, runs: Sequence[Run], judged: Sequence[Judged]) -> dict[str, Any]:
    """What the page of one generated folder says."""
    run = runs[0]
    plan = run.plan
    kinds = ", ".join(f"{len(places):,} {defect}" for defect, places in sorted(run.places.items()))
    named = f": {kinds}" if kinds else ""
    sentence = f"{run.made:,} synthetic pictures with masks, made by {run.method}{named}."
    warnings = []
    if (unmade := plan.n - run.made - run.missing) > 0:
        warnings.append(f"{unmade:,} of the {plan.n:,} pictures planned are not there; `--resume` goes on.")
    shapes = sorted(one.share for one in judged)
    facts = [
        ("Method", f"{plan.method} ({plan.plugin_version})"),
        ("Normals", f"{len(plan.normals):,} from {plan.data}"),
        ("Run seed", str(plan.seed)),
        ("Size", "as the normals" if plan.size is None else f"{plan.size[1]} × {plan.size[0]} pixels"),
    ]
    if shapes:
        facts.append(("Mask, median", f"{percent(shapes[len(shapes) // 2])} of the picture"))
    facts += [("Weights", plan.weights)] if plan.weights else []
    facts += [("Base", plan.base)] if plan.base else []
    facts.append(("Made with", f"ias_zoo {plan.zoo_version}"))
    title = f"{run.method}: {folder.resolve().name}"
    return {
        "kind": "generated pictures",
        "title": title,
        "sentences": [sentence],
        "facts": facts,
        "warnings": warnings,
        "records": [],
        "table": None,
        "recall_plots": [],
        "loss_plots": [],
        "quality": None,
    }


def _missing(runs: Sequence[Run]) -> list[str]:
    return [
        f"{_run_name(run)}: {run.missing:,} of {run.made + run.missing:,} samples lack their picture or mask "
        "in the folder; they are not shown here."
        for run in runs
        if run.missing
    ]


class _Cards:
    """Collects what the gallery's cards show and what the script needs to open them."""

    def __init__(self, folder: Path, pictures: Pictures, *, several: bool) -> None:
        self.pictures = pictures
        self.samples: dict[str, Any] = {}
        self._folder, self._several = folder, several

    def add(self, sample: Judged, reason: str = "") -> dict[str, Any]:
        """A card, by the names the template uses."""
        key, shown = f"s{len(self.samples)}", self.pictures.show(sample)
        name, whole = Path(sample.line["image"]).name, shown.whole
        self.samples[key] = {
            "name": f"{sample.run.method}, seed {sample.run.seed}, {name}" if self._several else name,
            "defect": sample.defect,
            "facts": self._facts(sample, shown),
            "whole": {"normal": whole.normal, "height": whole.height, "width": whole.width},
            "close": view_json(shown.close),
            "why": shown.why,
            "recipe": as_text(sample.line["recipe"]),  # as text: a script would round 63-bit seeds
        }
        label = f"{sample.run.method}, seed {sample.run.seed}" if self._several else name
        return {
            "key": key,
            "name": name,
            "label": label,
            "reason": reason,
            "method": sample.run.method,
            "defect": sample.defect,
            "image": whole.image,
            "mask": whole.mask,
            "height": whole.height,
            "width": whole.width,
            "small": max(whole.height, whole.width) < SMALL,
        }

    def _facts(self, sample: Judged, shown: Shown) -> list[tuple[str, str]]:
        line, run = sample.line, sample.run
        facts = [("File", line["image"]), ("Size", f"{shown.width} × {shown.height} pixels")]
        facts.append(("Mask", f"{sample.pixels:,} pixels, {percent(sample.share)}"))
        if sample.changed is not None:
            facts.append(("Changed inside the mask", percent(sample.changed)))
        facts.append(("Drawn", f"at try {attempts(line) + 1}" if attempts(line) else "at the first try"))
        normal_id = line["recipe"]["request"].get("normal_id")
        facts += [("Normal", normal_id)] if isinstance(normal_id, str) else []
        where = Path(self._folder.resolve().name, run.folder.relative_to(self._folder)).as_posix()
        facts.append(("Make it again", f"ias-zoo replay {where} {sample.index}"))
        return facts


def _gate(runs: Sequence[Run], judged: Sequence[Judged], total: int) -> dict[str, Any]:
    again = sum(sum(run.redrawn.values()) for run in runs)
    failures = [
        f"{_run_name(run)}, {failure}" if len(runs) > 1 else failure for run in runs for failure in run.failures
    ]
    draws = "1 draw was" if again == 1 else f"{again:,} draws were" if again else "No draw was"
    among = f"all {total:,}" if len(judged) == total else f"{len(judged):,} of {total:,}, evenly spread,"
    compared = sum(one.changed is not None for one in judged)
    words = (
        f"Of {among} samples: those whose mask changed least, and those with the smallest masks. All passed the gate."
    )
    if compared < len(judged):
        words += f" {len(judged) - compared:,} could not be compared with their normal; only their masks are judged."
    return {
        "share": percent(CHANGED_SHARE),
        "levels": CHANGED_LEVELS,
        "words": f"{draws} refused on the way to {total:,} pictures.",
        "rows": total,
        "table": gate_table(runs, judged),
        "failures": failures,
        "worst": words,
    }


def _filters(judged: Sequence[Judged]) -> list[tuple[str, list[str]]]:
    methods = list(dict.fromkeys(one.run.method for one in judged))
    return [("method", methods), ("defect", sorted({one.defect for one in judged}))]


def _gallery_note(shown: int, total: int) -> str:
    if not total:
        return "There are no generated pictures in this folder."
    which = f"All {total:,} samples." if shown == total else f"{shown:,} of {total:,} samples, evenly spread."
    return f"{which} Press one to compare it with its normal and to see how it was made."


def _run_name(run: Run) -> str:
    return f"{run.method}, seed {run.seed}"


def _plan_text(plan: Plan) -> str:
    """A plan as JSON, with the normals counted, for there may be thousands."""
    return as_text({**asdict(plan), "normals": f"{len(plan.normals)} ids, from {plan.normals[0]} on"})


def _render(context: dict[str, Any]) -> str:
    import jinja2
    from markupsafe import Markup

    files = resources.files("ias_zoo.report") / "templates"
    css, script = ((files / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    names = ("report.html.j2", "parts.html.j2")
    loader = jinja2.DictLoader({name: (files / name).read_text(encoding="utf-8") for name in names})
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
    return environment.get_template("report.html.j2").render(
        css=Markup(css),  # noqa: S704 - files of this package
        script=Markup(script),  # noqa: S704
        policy=_policy([css], [script]),
        generator=f"{GENERATOR} {ias_zoo.__version__}",
        **context,
    )


def _policy(styles: Iterable[str], scripts: Iterable[str]) -> str:
    """Nothing may be fetched or run but the pictures, the style and the script that are in the page."""

    def hashes(texts: Iterable[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    allowed = f"img-src data:; style-src {hashes(styles)}; script-src {hashes(scripts)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
