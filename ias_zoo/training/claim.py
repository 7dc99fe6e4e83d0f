"""The folder of checkpoints beside the weights: which training it belongs to, and that one process works in it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ias_zoo.data.images import write_whole
from ias_zoo.errors import OptionError
from ias_zoo.generation.folder import only_run_in

RUN = "run.json"


def checkpoints_beside(target: Path) -> Path:
    """Where the checkpoints of the weights ``target`` are kept until it is written."""
    return target.with_name(f".{target.name}.training")


@contextlib.contextmanager
def claimed(target: Path, run: Mapping[str, Any], *, resume: bool) -> Iterator[None]:
    """Hold a target and its folder of checkpoints for one training; ``run`` says what is trained.

    A folder without a checkpoint is free: the training that was there was refused, or stopped before there was
    anything to go on from.

    Raises
    ------
    OptionError
        If there is something at ``target``, or checkpoints that are not to be resumed or are of another training.
    RunError
        If another process is at work there.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OptionError(f"{target} exists; give a new folder for the weights")
    folder = checkpoints_beside(target)
    try:
        with only_run_in(folder):
            _take(folder, json.dumps(run, sort_keys=True), resume=resume)
            try:
                yield
            finally:
                if not _has_checkpoint(folder):
                    (folder / RUN).unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # not empty: checkpoints, or previews that may show why it was stopped
            folder.rmdir()


def remove(target: Path) -> None:
    """Delete the checkpoints of weights that are written."""
    shutil.rmtree(checkpoints_beside(target), ignore_errors=True)


def _take(folder: Path, run: str, *, resume: bool) -> None:
    path = folder / RUN
    if _has_checkpoint(folder):
        if not resume:
            raise OptionError(f"{folder} holds an unfinished training; --resume goes on with it, or delete it")
        if path.exists() and path.read_text(encoding="utf-8") != run:
            raise OptionError(
                f"{folder} holds another training (options, shots, seed or base differ); delete it to start anew"
            )
    else:
        for stage in folder.iterdir():
            if stage.is_dir():  # an earlier training's previews
                shutil.rmtree(stage, ignore_errors=True)
    write_whole(path, run.encode())


def _has_checkpoint(folder: Path) -> bool:
    return any(folder.glob("*/step-*"))
