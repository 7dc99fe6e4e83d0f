"""Write a run in MVTec AD's layout, shard by shard, whole or not at all.

::

    OUT/plan.json                            what decides the pictures
    OUT/train/good/...                       the normals, copied
    OUT/test/<defect>/000042.png             H x W (grey normals) or H x W x 3
    OUT/ground_truth/<defect>/000042_mask.png
    OUT/label_map/<defect>/000042.tiff       float32, with soft labels only
    OUT/provenance/shard-00000.jsonl         a line an image: how it was made, and the hash of every file

A shard's files are written to a temporary folder and renamed, its provenance last: a shard with provenance is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from ias_zoo.data import Item
from ias_zoo.data.images import encode_png, read_image, resize_image, sha256, to_grey, write_whole
from ias_zoo.errors import DataError, RunError
from ias_zoo.generation.plan import PLAN_FILE, Plan, check_defect_name

if TYPE_CHECKING:
    from ias_zoo.generation.engine import Outcome

PROVENANCE = "provenance"
PARTIAL = ".partial"
_OWN = ("train", "test", "ground_truth", "label_map", PROVENANCE, PARTIAL)
LOCK = ".lock"
_OWN_FILES = (PLAN_FILE, "contact_sheet.png")


@dataclass
class ShardResult:
    """What a shard came to: how many images were made, why tries were refused, what failed."""

    made: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def prepare_folder(folder: Path, plan: Plan, *, resume: bool, force: bool) -> None:
    """Make the output folder ready: new, continued, or emptied of an earlier run.

    Raises
    ------
    RunError
        If it holds something else, or another run than the one to resume, or cannot be written.
    """
    with disk_errors(folder):
        if any(path.name != LOCK for path in folder.iterdir()):
            _take_over(folder, plan, resume=resume, force=force)
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)  # what a killed run left behind
        if not (folder / PLAN_FILE).exists():
            write_whole(folder / PLAN_FILE, plan.to_json().encode())


def _take_over(folder: Path, plan: Plan, *, resume: bool, force: bool) -> None:
    if not (folder / PLAN_FILE).exists():
        raise RunError(f"{folder} is not empty and was not made by this command; give a new folder")
    if resume and not force:
        different = plan.differences(Plan.read(folder))
        if different:
            raise RunError(f"{folder} holds another run, it differs in: {', '.join(different)}; give a new folder")
        return
    if not force:
        raise RunError(f"{folder} holds a run already; --resume continues it, --force starts it over")
    for name in (PLAN_FILE, *_OWN, *_OWN_FILES):  # the plan first: what is left behind is then no run
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if left:
        raise RunError(f"{folder} also holds what no run made: {', '.join(left[:5])}; move it away")


def missing_shards(folder: Path, plan: Plan) -> list[int]:
    """The shards still to do: those without provenance, and those in which an image failed."""
    return [
        shard
        for shard in range(plan.shards)
        if not (path := provenance_path(folder, shard)).exists() or '\n{"error"' in f"\n{path.read_text('utf-8')}"
    ]


def provenance_path(folder: Path, shard: int) -> Path:
    """Where a shard's provenance is."""
    return folder / PROVENANCE / f"shard-{shard:05d}.jsonl"


def read_provenance(folder: Path) -> Iterator[dict[str, Any]]:
    """Every provenance line of a run, in order of the images.

    Raises
    ------
    RunError
        If a line is no JSON object.
    """
    for path in sorted((folder / PROVENANCE).glob("shard-*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise RunError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise RunError(f"{path}, line {number}: expected an object")
            yield row


def write_shard(folder: Path, shard: int, outcomes: Iterable[Outcome], *, soft_labels: bool) -> ShardResult:
    """Write a shard's images, masks and provenance, then rename them into place, the provenance last.

    Raises
    ------
    RunError
        If the disk refuses; nothing half-written stays.
    """
    partial = folder / PARTIAL / f"shard-{shard:05d}-{os.getpid()}"
    result = ShardResult()
    with disk_errors(folder):
        try:
            partial.mkdir(parents=True)
            lines, files = [], []
            for outcome in outcomes:
                line, written = _write_outcome(partial, outcome, result, soft_labels=soft_labels)
                lines.append(json.dumps(line))
                files += written
            for name in files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).replace(folder / name)
            target = provenance_path(folder, shard)
            target.parent.mkdir(exist_ok=True)
            write_whole(target, ("\n".join(lines) + "\n").encode())
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return result


def _write_outcome(
    partial: Path, outcome: Outcome, result: ShardResult, *, soft_labels: bool
) -> tuple[dict[str, Any], list[str]]:
    for reason in outcome.refusals:
        result.refusals[reason] = result.refusals.get(reason, 0) + 1
    sample = outcome.sample
    if sample is None:
        result.failures.append(f"image {outcome.index}: {outcome.error}")
        return {"error": outcome.error, "index": outcome.index}, []
    check_defect_name(sample.defect)
    result.made += 1
    stem = f"{outcome.index:06d}"
    grey = outcome.normal is not None and outcome.normal.grey
    files = {
        "image": (f"test/{sample.defect}/{stem}.png", encode_png(sample.image[:, :, 0] if grey else sample.image)),
        "mask": (f"ground_truth/{sample.defect}/{stem}_mask.png", encode_png(sample.mask)),
    }
    if soft_labels and sample.label_map is not None:
        files["label_map"] = (f"label_map/{sample.defect}/{stem}.tiff", _encode_tiff(sample.label_map))
    for name, data in files.values():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    line: dict[str, Any] = {kind: name for kind, (name, _) in files.items()}
    line["sha256"] = {kind: sha256(data) for kind, (_, data) in files.items()}
    line["defect"] = sample.defect
    line["recipe"] = sample.recipe
    return line, [name for name, _ in files.values()]


def _encode_tiff(label_map: Any) -> bytes:
    import cv2

    _, data = cv2.imencode(".tiff", label_map)
    return bytes(data.tobytes())


def copy_normals(folder: Path, plan: Plan) -> None:
    """Put the normals into ``train/good``: the same bytes, or PNG when the run resizes.

    A normal that cannot be read is left out; the images that were to be made from it report it.

    Raises
    ------
    RunError
        If the disk refuses.
    """
    good = folder / "train" / "good"
    with disk_errors(folder):
        good.mkdir(parents=True, exist_ok=True)
        for item, name in _names_in_good(plan):
            target = good / name
            if target.exists():
                continue
            try:
                picture = read_image(item.path, white=plan.white)
            except DataError:
                continue
            if plan.size is None:
                write_whole(target, item.path.read_bytes())
                continue
            image = resize_image(picture.image, *plan.size)
            write_whole(target, encode_png(to_grey(image) if picture.grey else image))


def _names_in_good(plan: Plan) -> Iterator[tuple[Item, str]]:
    """Each normal with a file name of its own: ``train/good/a.png`` is ``a.png``, where that is taken its whole id."""
    taken: set[str] = set()
    for item in plan.open_data().normals:
        name = item.path.name if plan.size is None else f"{item.path.stem}.png"
        if name in taken:
            name = item.id.replace("/", "__") + ("" if plan.size is None else ".png")
        taken.add(name)
        yield item, name


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Make the folder if need be and hold it for this run.

    The operating system lets go of it when the process dies, however it dies.

    Raises
    ------
    RunError
        If another process is at work in it.
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


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about a folder into one line for people."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise RunError(
            f"{where}: {error.strerror or error}; finished shards are kept, --resume continues the run"
        ) from error
