"""Write a run in MVTec AD's layout, shard by shard, whole or not at all.

::

    OUT/plan.json                            what decides the pictures
    OUT/train/good/...                       the normals
    OUT/test/<defect>/000042.png             H x W (grey normals) or H x W x 3
    OUT/ground_truth/<defect>/000042_mask.png
    OUT/label_map/<defect>/000042.tiff       float32, with soft labels only
    OUT/provenance/shard-00000.jsonl         a line an image: how it was made, and the hash of every file
    OUT/provenance/normals.json              the normals' hashes

A shard's files are written to a temporary folder and renamed, its provenance last: a shard with provenance is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ias_zoo.data import DataSet, Item
from ias_zoo.data.images import encode_png, resize_image, sha256, to_grey, write_whole
from ias_zoo.errors import DataError, RunError
from ias_zoo.generation.failures import Failure
from ias_zoo.generation.folder import PARTIAL, RESUME, disk_errors, written_normals
from ias_zoo.generation.plan import Plan, check_defect_name
from ias_zoo.generation.provenance import NORMALS, PROVENANCE, provenance_path, read_shard

if TYPE_CHECKING:
    from ias_zoo.generation.engine import Outcome


@dataclass
class ShardResult:
    """What a shard came to: how many images were made, why tries were refused, what failed, what is to be known."""

    made: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)


def missing_shards(folder: Path, plan: Plan) -> list[int]:
    """The shards still to do: those without provenance, and those in which an image failed."""
    return [
        shard
        for shard in range(plan.shards)
        if not (path := provenance_path(folder, shard)).exists() or any("error" in row for row in read_shard(path))
    ]


def write_shard(folder: Path, shard: int, outcomes: Iterable[Outcome], *, soft_labels: bool) -> ShardResult:
    """Write a shard's images, masks and provenance, then rename them into place, the provenance last.

    Raises
    ------
    RunError
        If the disk refuses; nothing half-written stays.
    """
    partial = folder / PARTIAL / f"shard-{shard:05d}-{os.getpid()}"
    result = ShardResult()
    with disk_errors(folder, RESUME):
        try:
            partial.mkdir(parents=True)
            lines, files = [], []
            for outcome in outcomes:
                line, written = _write_outcome(partial, outcome, result, soft_labels=soft_labels)
                lines.append(json.dumps(line, allow_nan=False))
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
    if outcome.normal is not None:
        result.notes |= {f"{outcome.normal.id}: {note}" for note in outcome.normal.notes}
    sample = outcome.sample
    if sample is None:
        result.failures.append(outcome.failure)
        return {"error": outcome.error, "kind": outcome.kind, "index": outcome.index}, []
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
    """Put the normals into ``train/good``, as the samples see them, and record their hashes.

    A file that every program shows alike (8 bits, grey or RGB, upright) is copied as it is. Anything else, and every
    picture of a run that resizes, is written as PNG: train and test pictures must differ by the defect alone. A
    normal that cannot be read is left out; the images that were to be made from it report it.

    Raises
    ------
    RunError
        If the disk refuses, or a normal or its region has changed since the run began.
    """
    good = folder / "train" / "good"
    known = written_normals(folder)
    record: dict[str, dict[str, str]] = {}
    with disk_errors(folder, RESUME):
        good.mkdir(parents=True, exist_ok=True)
        data = plan.open_data()
        for item, name in _names_in_good(data, plan):
            try:
                original = item.path.read_bytes()
                region = item.region.read_bytes() if item.region else b""
            except OSError:
                continue
            source = {"source": sha256(original), "region": sha256(region) if region else ""}
            written = _as_seen(data, item, plan, original)
            if written is None:
                continue
            name = name if written is original else f"{name}.png".replace(f"{item.path.suffix}.png", ".png")
            if name in known and {key: known[name].get(key) for key in source} != source:
                raise RunError(f"{item.id} has changed since this run began; restore it, or start a new run")
            record[name] = {"id": item.id, **source, "written": sha256(written)}
            if not (good / name).exists() or name not in known:
                write_whole(good / name, written)
        (folder / PROVENANCE).mkdir(exist_ok=True)
        write_whole(
            folder / PROVENANCE / NORMALS, (json.dumps({**known, **record}, indent=1, sort_keys=True) + "\n").encode()
        )


def _as_seen(data: DataSet, item: Item, plan: Plan, original: bytes) -> bytes | None:
    """The bytes for ``train/good``: the file's own where it is plain, else PNG; None where it cannot be read."""
    try:
        picture = data.read(item)
    except DataError:
        return None
    if plan.size is None and picture.plain:
        return original
    image = picture.image if plan.size is None else resize_image(picture.image, *plan.size)
    return encode_png(to_grey(image) if picture.grey else image)


def _names_in_good(data: DataSet, plan: Plan) -> Iterator[tuple[Item, str]]:
    """Each normal with a file name of its own: ``train/good/a.png`` is ``a.png``, where that is taken its whole id."""
    taken: set[str] = set()
    for item in data.normals:
        name = item.path.name
        if item.path.stem in taken:  # also a.jpg beside a.png: either may be written as a.png
            name = item.id.replace("/", "__") if "/" in item.id else name.replace(".", "_") + item.path.suffix
        taken.add(Path(name).stem)
        yield item, name
