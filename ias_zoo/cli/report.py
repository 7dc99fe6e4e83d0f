"""``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ias_zoo.cli.console import progress


def report(
    folder: Annotated[Path, typer.Argument(help="What `generate` or `compare` made.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file. Default: report.html in the folder.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many samples in the gallery.")] = 200,
) -> None:
    """Write one HTML file that shows a generated folder or a comparison; it needs a browser and no network."""
    from ias_zoo.report.page import STEPS, write_report

    with progress("drawing the report", STEPS) as step:
        written = write_report(folder, out, limit=limit, step=step)
    print(f"{written.stat().st_size / 2**20:.1f} MB; open {written}")
