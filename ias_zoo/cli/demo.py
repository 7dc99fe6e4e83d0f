"""``demo``: everything that needs no training, on sample products made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ias_zoo.cli.console import progress
from ias_zoo.errors import PluginError, RunError

_EACH = 6
_SHOWN = 2
_MARKER = ".ias_zoo_demo"


def demo(
    out: Annotated[Path, typer.Option(help="Where to put it; run again, it goes on where it stopped.")] = Path(
        "ias_zoo_demo"
    ),
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
) -> None:
    """Make a small data set with every method that needs no training, and a contact sheet to look at."""
    from ias_zoo.data.images import encode_png, write_whole
    from ias_zoo.data.sample import write_sample
    from ias_zoo.generation.folder import disk_errors
    from ias_zoo.generation.plan import make_plan
    from ias_zoo.generation.run import run
    from ias_zoo.generation.seeds import seed_for
    from ias_zoo.method import Produces, Trains
    from ias_zoo.registry import State, registry
    from ias_zoo.report.contact_sheet import draw_sheet, rows_of_run

    entries = [
        entry
        for entry in registry().entries()
        if entry.state is State.READY and entry.method.trains is Trains.NONE and entry.method.produces is Produces.IMAGE
    ]
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
    with progress("generating", len(entries) * len(products) * _EACH) as step:
        for entry in entries:
            for product in products:
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
    sheet = out / "contact_sheet.png"
    with disk_errors(out):
        write_whole(sheet, encode_png(draw_sheet(rows, "ias-zoo demo: normal, synthetic defect, mask, overlay")))
    print(f"{made} images with masks: {len(entries)} methods, {len(products)} products; in {out}")
    print(f"look at {sheet}")
    print(f"then on your own good parts: ias-zoo generate {entries[0].method.name} --data FOLDER --out NEW_FOLDER")
