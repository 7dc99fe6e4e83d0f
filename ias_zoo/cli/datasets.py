"""``check-data``: what a folder holds, what is odd, what can run on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ias_zoo.cli.catalogue import JsonFlag
from ias_zoo.cli.console import print_json, print_table, progress
from ias_zoo.cli.shots import GROUP

_SHOWN = 20
_WORDS = {"source": "a second normal", "normals": "pictures of good parts", "shots": "defective pictures"}


def check(
    folder: Annotated[Path, typer.Argument(help="A folder (MVTec or plain layout, or loose pictures) or a manifest.")],
    white: Annotated[
        int | None, typer.Option(help="The value that is white in 16-bit pictures (4095: 12 bits).")
    ] = None,
    group_by: Annotated[str | None, GROUP] = None,
    json: JsonFlag = False,
) -> None:
    """Read every picture and mask, say what is odd, and which methods can run.

    Exit code 1 if something needs a person.
    """
    from ias_zoo.data import open_data
    from ias_zoo.data.check import check_data
    from ias_zoo.registry import registry

    data = open_data(folder, white=white)
    with progress("reading", len(data.items)) as step:
        report = check_data(data, group_by=group_by, step=lambda: step(1))
    can, cannot = report.runnable(entry.method for entry in registry().entries())
    if json:
        print_json({**report.to_dict(), "can_run": can, "cannot_run": cannot})
    else:
        print(f"{folder}: layout {report.layout}")
        print_table(["part", "pictures"], [[name, str(count)] for name, count in report.counts.items()])
        print(f"{report.masks} masks, {report.regions} foreground masks")
        if report.groups:
            counted = ", ".join(f"{count} of {defect}" for defect, count in report.groups.items())
            print(f"groups: {counted} (by {report.grouped_by}); --shots counts groups")
        sizes = sorted(report.sizes.items(), key=lambda size: -size[1])
        listed = ", ".join(f"{count} of {size}" for size, count in sizes[:3])
        print(f"sizes: {listed}{f' and {len(sizes) - 3} more' if len(sizes) > 3 else ''}")
        print("files: " + ", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items())))
        print(f"can run: {', '.join(can) or 'nothing'}")
        for name, missing in cannot.items():
            print(f"cannot run: {name} (needs {', '.join(_WORDS.get(what, what) for what in missing)})")
        for problem in report.problems[:_SHOWN]:
            print(f"{'error' if problem.error else 'note'}: {problem}")
        if len(report.problems) > _SHOWN:
            print(f"... and {len(report.problems) - _SHOWN} more (--json lists all)")
        if not report.problems:
            print("nothing odd")
    if not report.usable:
        raise typer.Exit(1)
