"""``demo``: everything that needs no training, on sample products made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ias_zoo.cli.console import progress
from ias_zoo.errors import PluginError, RunError

if TYPE_CHECKING:
    from ias_zoo.registry import Entry

_EACH = 6
_SHOWN = 2
_MARKER = ".ias_zoo_demo"


def demo(
    out: Annotated[Path, typer.Option(help="Where to put it; run again, it goes on where it stopped.")] = Path(
        "ias_zoo_demo"
    ),
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
    learn: Annotated[bool, typer.Option(help="With the methods that learn, where what they need is installed.")] = True,
) -> None:
    """Make a small data set with every method that needs no training, and a contact sheet to look at.

    Methods that learn take part where what they need is installed: a fit of a few minutes each (--no-learn: without).
    It says which do not.
    """
    from ias_zoo.data.images import encode_png, write_whole
    from ias_zoo.data.sample import write_sample, write_shots
    from ias_zoo.generation.folder import disk_errors
    from ias_zoo.generation.plan import make_plan
    from ias_zoo.generation.run import run
    from ias_zoo.generation.seeds import seed_for
    from ias_zoo.method import Input, Produces, Trains
    from ias_zoo.registry import State, registry
    from ias_zoo.report.contact_sheet import draw_sheet, rows_of_run
    from ias_zoo.synthesizer import copies_shots

    ready = [entry for entry in registry().entries() if entry.state is State.READY]
    makers = [entry for entry in ready if entry.method.produces is Produces.IMAGE]
    entries = [entry for entry in makers if entry.method.trains is Trains.NONE]
    learners = [entry for entry in makers if entry.method.trains is not Trains.NONE and entry.method.quick and learn]
    if not entries:
        raise PluginError("no method without training is installed; see `ias-zoo plugins`")
    marker = out / _MARKER
    with disk_errors(out):
        if out.exists() and not marker.is_file() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"{out} is not empty and was not made by this command; give a new folder with --out")
        out.mkdir(parents=True, exist_ok=True)
        marker.touch()
        products = write_sample(out / "normals")
    rows, made = [], 0

    def places(entry: Entry) -> list[Path]:
        copies = Input.SHOTS in entry.method.needs and copies_shots(entry.method)
        return [write_shots(out / "shots")] if copies else products

    with progress("generating", sum(len(places(entry)) for entry in entries) * _EACH) as step:
        for entry in entries:
            for product in places(entry):
                folder = out / entry.method.name / product.name
                summary = run(
                    make_plan(
                        entry.qualified_name, product, _EACH, seed=seed_for(seed, entry.method.name, product.name)
                    ),
                    folder,
                    resume=True,
                    step=step,
                )
                made += summary.made + summary.skipped
                rows += rows_of_run(folder, _SHOWN, prefix=f"{entry.method.name}: ")
    for entry in learners:
        made += _learn(entry, out, seed)
        rows += rows_of_run(out / entry.method.name / "pairs", 2 * _SHOWN, prefix=f"{entry.method.name}: ")
    sheet = out / "contact_sheet.png"
    with disk_errors(out):
        write_whole(sheet, encode_png(draw_sheet(rows, "ias-zoo demo: normal, synthetic defect, mask, overlay")))
    print(f"{made} images with masks: {len(entries) + len(learners)} methods; in {out}")
    for entry in registry().entries():
        if entry.state is State.NEEDS_INSTALL:
            print(f"not shown: {entry.method.name}, {entry.hint}")
        elif entry.method.trains is not Trains.NONE and entry not in learners and not learn:
            print(f"not shown: {entry.method.name}, which learns")
        elif entry.method.trains is not Trains.NONE and entry not in learners:
            print(f"not shown: {entry.method.name}, which has no settings for a fit of a minute")
    print(f"look at {sheet}")
    print(f"then on your own good parts: ias-zoo generate {entries[0].method.name} --data FOLDER --out NEW_FOLDER")


def _learn(entry: Entry, out: Path, seed: int) -> int:
    """Fine-tune on drawn scratches and holes, with the embedded base and few steps; gives how many pairs it made."""
    from ias_zoo.cli.console import training_progress
    from ias_zoo.data.sample import write_shots
    from ias_zoo.diffusion.fetch import TINY
    from ias_zoo.generation.plan import make_plan
    from ias_zoo.generation.run import run
    from ias_zoo.registry import registry

    folder = out / entry.method.name
    shots, weights = write_shots(out / "shots"), folder / "weights"
    if not weights.exists():
        folder.mkdir(parents=True, exist_ok=True)
        method = registry().load(entry.qualified_name, base=TINY, **entry.method.quick)
        name = entry.method.name
        with training_progress() as step:
            method.fit(
                shots,
                count=8,
                out=weights,
                resume=True,
                seed=seed,
                step=lambda stage, number, total, loss: step(f"{name}: {stage}", number, total, loss),
            )
    plan = make_plan(entry.qualified_name, shots, 2 * _EACH, seed=seed, weights=str(weights))
    with progress(entry.method.name, plan.n) as done:
        summary = run(plan, folder / "pairs", workers=2, resume=True, step=done)
    return summary.made + summary.skipped
