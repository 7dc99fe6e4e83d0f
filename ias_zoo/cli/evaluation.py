"""``compare`` and ``evaluate``: what synthetic pictures are worth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ias_zoo.cli.console import print_json, print_table, training_progress
from ias_zoo.cli.shots import GROUP, SHOTS, shot_counts
from ias_zoo.errors import OptionError
from ias_zoo.extras import require

if TYPE_CHECKING:
    from ias_zoo.report.results import Comparison, Row, Values

_MODULES = ("torch", "torchvision", "sklearn", "segmentation_models_pytorch", "timm", "torch_fidelity", "safetensors")
_DATA = typer.Option(help="Real pictures: good ones, defective ones and their masks; a folder or a manifest.")
_RUN_SHOTS = typer.Option(
    "--shots",
    help="Training shots of each type, one a group: a number, or crack=4,blowhole=8. Default: the shots that the "
    "samples come from, where the run knows them; else a third of the groups.",
)
_PER_GROUP = typer.Option(help="Test on at most so many pictures of a group; default: all of them.")
_EXTRACTOR = typer.Option(
    help="Network for FID, KID and the like: inception-v3, dinov2, safetensors:FILE. Not measured without."
)
_LPIPS = typer.Option(
    help="Network of perceptual distances: lpips-squeeze, lpips-alex, lpips-vgg. Not measured without."
)
_DETECTOR = typer.Option(help="Network of the detector that judges masks. Default: that of --lpips.")
_FILES = typer.Option(
    "--weights", help="NAME=FILE of a network's local weights, `encoder` being the detector's; again for several."
)


def compare(
    data: Annotated[Path, _DATA],
    methods: Annotated[str, typer.Option(help="Names with commas between. The baselines come by themselves.")],
    out: Annotated[Path, typer.Option(help="A folder; what is in it of the same comparison is not run again.")],
    shots: Annotated[str | None, SHOTS] = None,
    defect: Annotated[list[str] | None, typer.Option(help="A defect type; again for several. Default: all.")] = None,
    protocol: Annotated[str, typer.Option(help="How the detector is trained and tested.")] = "quick",
    seeds: Annotated[int | None, typer.Option(help="How many; default: the protocol's.")] = None,
    n: Annotated[int, typer.Option("-n", help="Synthetic pictures of a method and seed.")] = 300,
    base: Annotated[
        str | None, typer.Option(help="For methods that start from one: tiny, a folder, a repository.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="method.option=value; again for several.")] = None,
    group_by: Annotated[str | None, GROUP] = None,
    test_per_group: Annotated[int | None, _PER_GROUP] = None,
    fit_each_seed: Annotated[bool, typer.Option(help="Fit anew for each seed; else once a method.")] = False,
    extractor: Annotated[str | None, _EXTRACTOR] = None,
    lpips: Annotated[str | None, _LPIPS] = None,
    detector: Annotated[str | None, _DETECTOR] = None,
    weights: Annotated[list[str] | None, _FILES] = None,
    workers: Annotated[int, typer.Option(help="Processes that generate, a core each.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    white: Annotated[int | None, typer.Option(help="The value that is white in 16-bit pictures.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Fit, generate and evaluate several methods on one split: which makes the detector better, and by how much."""
    require("compare", "evaluation", *_MODULES)
    from ias_zoo.evaluation.compare import Task
    from ias_zoo.evaluation.compare import compare as run

    files = _files(weights or [])
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise OptionError(f"--methods {methods!r}: expected names with commas between; `ias-zoo list` shows them")
    task = Task(
        data=data,
        shots=shot_counts(shots),
        defects=defect,
        group_by=group_by,
        per_group=test_per_group,
        protocol=protocol,
        encoder=files.pop("encoder", None),
        seeds=seeds,
        n=n,
        base=base,
        options=_options(set_ or []),
        fit_each_seed=fit_each_seed,
        measures=_measures(extractor, lpips, detector, files),
        device=device,
        white=white,
        workers=workers,
    )
    with training_progress() as bar:
        found = run(task, names, out, step=lambda name, what, done, of: bar(f"{name}: {what}", done, of, None))
    if json:
        print_json(_as_json(found))
    else:
        print_comparison(found)
        print(f"next: ias-zoo report {out}")
    for said in found.refused():
        print(f"note: {said}", file=sys.stderr)
    for name, why in found.failed.items():
        print(f"error: {name} was not finished: {why}", file=sys.stderr)
    if found.failed:
        raise typer.Exit(1)


def print_comparison(found: Comparison) -> None:
    """The table, best first."""
    rows = [["shots alone", "", *_scores(found.reference, "shots"), "", ""]]
    for row in found.rows:
        gain = _gain(row, len(found.seeds))
        cost = _spread(row.seconds(), digits=0)
        rows.append([row.method, gain, *_scores(row, "both"), _spread(row.scores("synthetic", "pixel_ap")), cost])
    columns = ["method", "gain", "pixel AP", "AUROC", "F1", "PRO", "image AUROC", "synthetic alone", "seconds"]
    print_table(
        columns,
        rows,
        title=f"Gain: pixel AP with minus without the synthetic pictures. Mean ± deviation of "
        f"{len(found.seeds)} seeds, [95 % interval of the mean]",
    )


def _gain(row: Row, asked: int) -> str:
    if not row.gain:
        return "not run"
    around = f" [{row.interval[0]:+.3f}, {row.interval[1]:+.3f}]" if row.interval else ""
    few = "" if len(row.gain) == asked else f" ({len(row.gain)} of {asked} seeds)"
    return f"{_spread(row.gain, sign=True)}{around} {row.verdict}{few}"


def _scores(row: Any, arm: str) -> list[str]:
    names = ("pixel_ap", "pixel_auroc", "pixel_f1_max", "pixel_pro", "image_auroc")
    return [_spread(row.scores(arm, name)) for name in names]


def _spread(values: Values, *, sign: bool = False, digits: int = 3) -> str:
    from ias_zoo.report.results import deviation, mean

    if not values:
        return "-"
    text = f"{mean(values):{'+' if sign else ''}.{digits}f}"
    width = deviation(values)
    return text if width is None else f"{text} ± {width:.{digits}f}"


def _as_json(found: Comparison) -> dict[str, Any]:
    def arms(row: Any) -> dict[str, Any]:
        known = sorted({(arm, name) for one in row.experiments for arm in one.arms for name in one.score_names(arm)})
        return {f"{arm}.{name}": row.scores(arm, name) for arm, name in known}

    return {
        "reference": arms(found.reference),
        "methods": [
            {
                "method": row.method,
                "gain": row.gain,
                "interval": row.interval,
                "verdict": row.verdict,
                "seconds": row.seconds(),
                **arms(row),
            }
            for row in found.rows
        ],
        "failed": found.failed,
    }


def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder that `generate` made.")],
    data: Annotated[Path, _DATA],
    shots: Annotated[str | None, _RUN_SHOTS] = None,
    protocol: Annotated[str, typer.Option(help="How the detector is trained and tested.")] = "quick",
    seeds: Annotated[int | None, typer.Option(help="How many; default: the protocol's. 0: train no detector.")] = None,
    group_by: Annotated[str | None, GROUP] = None,
    test_per_group: Annotated[int | None, _PER_GROUP] = None,
    extractor: Annotated[str | None, _EXTRACTOR] = None,
    lpips: Annotated[str | None, _LPIPS] = None,
    detector: Annotated[str | None, _DETECTOR] = None,
    weights: Annotated[list[str] | None, _FILES] = None,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the result.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    white: Annotated[int | None, typer.Option(help="The value that is white in 16-bit pictures.")] = None,
) -> None:
    """Measure a generated folder: masks, fidelity, diversity, and what it is worth to a detector."""
    require("evaluate", "evaluation", *_MODULES)
    from ias_zoo.data.groups import some_of
    from ias_zoo.data.images import write_whole
    from ias_zoo.evaluation.evaluate import evaluate as run
    from ias_zoo.report.results import as_text, figures_in, protocols_in

    if out is not None and out.exists():
        raise OptionError(f"--out {out}: exists; give another name")
    files = _files(weights or [])
    with training_progress() as step:
        found = run(
            folder,
            data,
            shots=shot_counts(shots),
            protocol=protocol,
            encoder=files.pop("encoder", None),
            seeds=seeds,
            group_by=group_by,
            per_group=test_per_group,
            measures=_measures(extractor, lpips, detector, files),
            device=device,
            white=white,
            step=step,
        )
    for note in found["quality"]["notes"]:
        print(f"note: {note}")
    if seen := found["seen"]:
        print(f"{len(seen)} good pictures are left out of the test: samples were made on them ({some_of(seen)})")
    print_table(["figure", "value"], [[name, _figure(one)] for name, one in figures_in(found["quality"]).items()])
    print_table(["figure", "how it was measured"], [list(said) for said in protocols_in(found["quality"])])
    if found["downstream"] is not None:
        summary = found["downstream"]["summary"]
        columns = ["arm", "pixel AP", "AUROC", "F1", "PRO", "image AUROC", "type accuracy"]
        names = ("pixel_ap", "pixel_auroc", "pixel_f1_max", "pixel_pro", "image_auroc", "type_accuracy")
        rows = [[arm, *(_mean(scores.get(name)) for name in names)] for arm, scores in summary["arms"].items()]
        rows += [
            [f"{arm}: gain", *(_mean(s.get(name), sign=True) for name in names)] for arm, s in summary["gain"].items()
        ]
        how = found["downstream"]["runs"][0]["arms"]["shots"]["protocol"]["name"]
        print_table(
            columns,
            rows,
            title=f"Detector: protocol {how}, {len(summary['seeds'])} seeds; in brackets the 95 % interval",
        )
    if out is not None:
        write_whole(out, (as_text(found) + "\n").encode())


def _figure(one: dict[str, Any]) -> str:
    text = f"{one['value']:.4g}" if isinstance(one.get("value"), int | float) else "-"
    return text + (f" ({one['warning']})" if one.get("warning") else "")


def _mean(one: dict[str, Any] | None, *, sign: bool = False) -> str:
    if not one or one.get("mean") is None:
        return "-"
    text = f"{one['mean']:{'+' if sign else ''}.3f}"
    text = text if one.get("sd") is None else f"{text} ± {one['sd']:.3f}"
    return text if one.get("low") is None else f"{text} [{one['low']:+.3f}, {one['high']:+.3f}]"


def _options(assignments: list[str]) -> dict[str, dict[str, Any]]:
    from ias_zoo.options import parse_assignments
    from ias_zoo.registry import registry

    texts: dict[str, list[str]] = {}
    for assignment in assignments:
        name, dot, rest = assignment.partition(".")
        if not dot:
            raise OptionError(f"--set {assignment}: expected method.option=value")
        texts.setdefault(registry().find(name).method.name, []).append(rest)
    return {
        name: parse_assignments(registry().options_class(name), given, method=name) for name, given in texts.items()
    }


def _files(assignments: list[str]) -> dict[str, Path]:
    files = {}
    for assignment in assignments:
        name, equals, path = assignment.partition("=")
        if not equals:
            raise OptionError(f"--weights {assignment}: expected NAME=FILE")
        files[name] = Path(path).expanduser()
    return files


def _measures(extractor: str | None, lpips: str | None, detector: str | None, files: dict[str, Path]) -> dict[str, Any]:
    return {"extractor": extractor, "lpips": lpips, "detector": detector, "weights": files or None}
