"""The output folder: made new, continued, or started over; and never anybody else's."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from ias_zoo.data.images import write_whole
from ias_zoo.errors import RunError
from ias_zoo.generation.plan import PLAN_FILE, Plan
from ias_zoo.generation.provenance import NORMALS, PROVENANCE, read_provenance

if TYPE_CHECKING:
    from ias_zoo.data import DataSet

PARTIAL, LOCK, SHEET, REPORT = ".partial", ".lock", "contact_sheet.png", "report.html"
RESUME = "; finished shards are kept, --resume continues the run"
_PARTS = ("train", "test", "ground_truth", "label_map", PROVENANCE, PARTIAL)
# What an unfinished shard may have put in place before it was killed.
_PICTURE = re.compile(r"(test/[^/]+/\d{6}\.png|ground_truth/[^/]+/\d{6}_mask\.png|label_map/[^/]+/\d{6}\.tiff)\Z")


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Make the folder if need be and hold it for this run.

    The operating system lets go of it when the process dies, however it dies.

    Raises
    ------
    RunError
        If another process is at work in it, or it cannot be made.
    """
    lock = filelock.FileLock(folder / LOCK)
    with disk_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; give a folder")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunError(f"{folder}: another process is writing here; wait for it, or give another folder") from None
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def prepare_folder(folder: Path, plan: Plan, *, resume: bool, force: bool) -> None:
    """Make the output folder ready: new, continued, or emptied of an earlier run.

    Raises
    ------
    RunError
        If it holds anything that no run made, or another run than the one to resume, or cannot be written. Nothing
        has been deleted then.
    """
    with disk_errors(folder):
        if any(path.name != LOCK for path in folder.iterdir()):
            _take_over(folder, plan, resume=resume, force=force)
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)  # what a killed run left behind
        if not (folder / PLAN_FILE).exists():
            write_whole(folder / PLAN_FILE, plan.to_json().encode())


def record_move(folder: Path, plan: Plan) -> None:
    """Write down where the pictures are now, if they have moved since the run began."""
    if plan.differences(Plan.read(folder)):
        with disk_errors(folder):
            write_whole(folder / PLAN_FILE, plan.to_json().encode())


def keep_apart(folder: Path, data: DataSet) -> None:
    """Refuse an output folder that holds the pictures it is made from, or lies among them.

    Raises
    ------
    RunError
    """
    out, root = folder.expanduser().resolve(), data.root.resolve()
    if root == out or out in root.parents:
        raise RunError(f"the pictures of {data.root} lie in {folder}; give another folder for the result")
    for part in {item.id.split("/")[0] for item in data.items if "/" in item.id}:
        read = (root / part).resolve()
        if out == read or read in out.parents:
            raise RunError(f"{folder} lies in {data.root / part}, where pictures are read from; give another folder")


def _take_over(folder: Path, plan: Plan, *, resume: bool, force: bool) -> None:
    try:
        earlier = Plan.read(folder)
    except RunError:
        raise RunError(f"{folder} is not empty and was not made by this command; give a new folder") from None
    linked = [name for name in _PARTS if (folder / name).is_symlink()]
    if linked:
        raise RunError(f"{folder / linked[0]} is a link; a run writes into folders of its own only")
    if resume and not force:
        different = plan.differences(earlier)
        if different and different != ["data"]:  # the pictures may have moved; copy_normals looks whether they changed
            raise RunError(f"{folder} holds another run, it differs in: {', '.join(different)}; give a new folder")
        return
    if not force:
        raise RunError(f"{folder} holds a run already; --resume continues it, --force starts it over")
    strange = strangers(folder, earlier)
    if strange:
        raise RunError(f"{folder} also holds what no run made: {', '.join(strange[:5])}; move it away first")
    for name in (PLAN_FILE, *_PARTS, SHEET, REPORT):  # the plan first: what is left behind is then no run
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def strangers(folder: Path, plan: Plan) -> list[str]:
    """Files and links in a run's folder that the run did not make."""
    known = {PLAN_FILE, SHEET, REPORT, LOCK, f"{PROVENANCE}/{NORMALS}"}
    known |= {f"train/good/{name}" for name in written_normals(folder)}
    known |= {f"{PROVENANCE}/shard-{shard:05d}.jsonl" for shard in range(plan.shards)}
    for line in read_provenance(folder):
        known |= {line[kind] for kind in line.get("sha256", {})}
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(f"{PARTIAL}/") or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not (name in known or _PICTURE.match(name)):
            found.append(name)
    return found


def written_normals(folder: Path) -> dict[str, dict[str, str]]:
    """File name in ``train/good`` to the hashes recorded for it; empty where nothing is recorded yet.

    Raises
    ------
    RunError
        If the record is damaged.
    """
    import json

    path = folder / PROVENANCE / NORMALS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict) or not all(isinstance(row, dict) and "written" in row for row in found.values()):
        raise RunError(f"{path}: expected an object of file names and hashes")
    return found


@contextlib.contextmanager
def disk_errors(folder: Path, advice: str = "") -> Iterator[None]:
    """Turn what the operating system says about a folder into one line for people."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{error.filename or folder}: {error.strerror or error}{advice}") from error
