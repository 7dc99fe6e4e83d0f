"""``generate``, ``verify`` and ``replay``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ias_zoo.cli.console import progress
from ias_zoo.cli.shots import GROUP, shot_counts
from ias_zoo.errors import OptionError

if TYPE_CHECKING:
    from ias_zoo.generation.run import RunSummary

_SHOWN = 10


def generate(
    method: Annotated[str, typer.Argument(help="A method's name; `ias-zoo list` shows them.")],
    data: Annotated[Path, typer.Option(help="Pictures of good parts: a folder or a manifest.")],
    out: Annotated[Path, typer.Option(help="A new folder for the result.")],
    n: Annotated[int, typer.Option("-n", help="How many images.")] = 100,
    defect: Annotated[list[str] | None, typer.Option(help="The defect's name; give it again for several.")] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            help="For methods that copy from shots: how many of each type, one a group: a number, or "
            "crack=4,blowhole=8. Default: a third of the groups."
        ),
    ] = None,
    group_by: Annotated[str | None, GROUP] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="option=value; `ias-zoo info METHOD` lists them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes, a core each.")] = 1,
    weights: Annotated[
        str | None, typer.Option(help="A weights folder or a Hub repository, for methods that train.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The repository's revision.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Another base than the weights name: tiny, a folder, a repository.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Resize normals first: one number, or HEIGHTxWIDTH. Default: their own size.")
    ] = None,
    white: Annotated[
        int | None, typer.Option(help="The value that is white in 16-bit pictures (4095: 12 bits).")
    ] = None,
    soft_labels: Annotated[
        bool, typer.Option("--soft-labels", help="Write float label maps where there are any.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run that is in the folder; --data may name its pictures' new place."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Start the run that is in the folder over.")] = False,
) -> None:
    """Make synthetic defect images with masks, in MVTec AD's folder layout.

    Exit code 1 when some images could not be made; the others are there.
    """
    from ias_zoo.generation.plan import make_plan
    from ias_zoo.generation.run import run
    from ias_zoo.options import parse_assignments
    from ias_zoo.registry import registry
    from ias_zoo.report.contact_sheet import sheet_of_run

    name = registry().find(method).method.name
    options = parse_assignments(registry().options_class(method), set_ or [], method=name)
    plan = make_plan(
        method,
        data,
        n,
        seed=seed,
        options=options,
        weights=weights,
        revision=revision,
        base=base,
        device=device,
        dtype=dtype,
        defects=defect or [],
        shots=shot_counts(shots),
        group_by=group_by,
        size=_size(size),
        white=white,
        soft_labels=soft_labels,
    )
    for problem in plan.open_data().problems[:3]:
        print(f"note: {problem} (check-data tells all)", file=sys.stderr)
    with progress("generating", plan.n) as step:
        summary = run(plan, out, workers=workers, resume=resume, force=force, step=step)
    print_summary(summary, sheet_of_run(out))
    if soft_labels and not (out / "label_map").is_dir():
        print(f"note: {name} has no soft labels; none were written", file=sys.stderr)
    if summary.failures:
        raise typer.Exit(1)


def print_summary(summary: RunSummary, sheet: Path | None) -> None:
    """Say what a run came to."""
    from ias_zoo.generation.failures import advice_lines, failure_lines

    speed = summary.made / summary.seconds if summary.seconds > 0 else 0.0
    rate = f", {speed:{'.0f' if speed >= 10 else '.2g'}} images/s" if speed else ""
    print(f"{summary.made} images in {summary.seconds:.1f} s{rate}; in {summary.folder}")
    if summary.skipped:
        print(f"{summary.skipped} were there already")
    for reason, count in sorted(summary.refusals.items()):
        print(f"drawn again: {count} ({reason})")
    for note in sorted(summary.notes)[:3]:
        print(f"note: {note}", file=sys.stderr)
    reasons = failure_lines(summary.failures)
    if len(reasons) > _SHOWN:
        reasons[_SHOWN:] = [f"and {len(reasons) - _SHOWN} more reasons (`ias-zoo verify {summary.folder}`)"]
    for line in (*reasons, *advice_lines(summary.failures)):
        print(f"error: {line}", file=sys.stderr)
    if sheet is not None:
        print(f"look at {sheet}")


def verify(folder: Annotated[Path, typer.Argument(help="A generated folder.")]) -> None:
    """Check a generated folder: every shard done, every file there with the bytes it was written with."""
    from ias_zoo.generation.failures import advice_lines
    from ias_zoo.generation.verify import verify as check

    report = check(folder)
    for problem in report.problems[:20]:
        print(f"error: {problem}", file=sys.stderr)
    if len(report.problems) > 20:
        print(f"error: and {len(report.problems) - 20} more", file=sys.stderr)
    for line in advice_lines(report.failures):
        print(f"error: {line}", file=sys.stderr)
    print(f"{report.images} images, {len(report.problems)} problems")
    if report.problems:
        raise typer.Exit(1)


def replay(
    folder: Annotated[Path, typer.Argument(help="A generated folder.")],
    image: Annotated[str, typer.Argument(help="An image in it: its name or number.")],
    out: Annotated[Path | None, typer.Option(help="Write the image made again to this PNG file.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the pictures are now, if they have moved since the run.")
    ] = None,
) -> None:
    """Make one image of a run again from its recipe and compare the bytes."""
    from ias_zoo.data.images import write_whole
    from ias_zoo.errors import RunError
    from ias_zoo.generation.folder import disk_errors
    from ias_zoo.generation.verify import replay as make_again

    if out is not None and out.suffix.lower() != ".png":
        raise OptionError(f"--out {out}: expected a name that ends in .png")
    again = make_again(folder, image, data=data)
    if out is not None:
        if out.exists():
            raise RunError(f"{out} exists; give another name")
        with disk_errors(out):
            write_whole(out, again.image)
    made_by = again.line["recipe"]["plugin"]
    if again.same:
        print(f"{again.line['image']}: made again, the same bytes")
        return
    raise RunError(
        f"{again.line['image']}: made again, the bytes differ (it was made by {made_by['distribution']} "
        f"{made_by['version']}; other library versions can change pixels)"
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[xX](\d+))?", text)
    if not match:
        raise OptionError(f"--size {text!r}: expected a number, or HEIGHTxWIDTH such as 256x320")
    height = int(match[1])
    return height, int(match[2] or height)
