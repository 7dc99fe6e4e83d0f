"""What the commands share: printing, progress, JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any


def print_json(value: Any) -> None:
    """JSON to standard output."""
    print(json.dumps(value, indent=1))


def json_text(value: Any) -> str:
    """A value as it is typed after ``--set name=``: JSON, and texts without quotes."""
    return value if isinstance(value, str) else json.dumps(value)


def print_table(columns: list[str], rows: list[list[str]], *, title: str = "") -> None:
    """A table; wide when the output is no terminal, so that nothing is cut where a script reads it."""
    from rich.console import Console
    from rich.table import Table

    terminal = Console().is_terminal
    console = Console(width=None if terminal else 240, markup=False, highlight=False)  # "[float]" is no markup
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console.print(table)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error; gives ``step(count)``. Quiet when standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with _bar() as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextlib.contextmanager
def training_progress() -> Iterator[Callable[[str, int, int, float | None], None]]:
    """A bar for each stage of a long run, with its loss; gives ``step(stage, number, total, loss)``.

    A line for each stage, when it starts, where standard error is no terminal: a log shows how far a run has come.
    """
    if not sys.stderr.isatty():
        yield _stage_lines()
        return
    tasks: dict[str, Any] = {}
    with _bar() as bar:

        def step(stage: str, number: int, total: int, loss: float | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
                # More bars than the terminal has lines would hide the newest.
                for task in list(tasks.values())[: -max(bar.console.height - 2, 1)]:
                    bar.update(task, visible=False)
            shown = stage if loss is None else f"{stage}, loss {loss:.4f}"
            bar.update(tasks[stage], completed=number, description=shown)

        yield step


def _stage_lines() -> Callable[[str, int, int, float | None], None]:
    told: set[str] = set()

    def step(stage: str, number: int, total: int, loss: float | None) -> None:
        if stage not in told:
            told.add(stage)
            length = f", {total} steps" if total > 1 else ""
            print(f"{datetime.now():%H:%M:%S} {stage}{length}", file=sys.stderr, flush=True)

    return step


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
