"""Check a generated folder against its provenance, and make one image again from its recipe."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ias_zoo.data.images import encode_png, read_image, read_mask, sha256
from ias_zoo.errors import DataError, RunError
from ias_zoo.generation.engine import produce
from ias_zoo.generation.failures import Failure, failure_lines
from ias_zoo.generation.folder import strangers, written_normals
from ias_zoo.generation.plan import Plan
from ias_zoo.generation.provenance import provenance_path, read_provenance, read_shard, shard_files


@dataclass
class VerifyReport:
    """How many images are there, what is wrong with the folder, and which images the run could not make.

    ``problems`` has a line for each reason of the ``failures`` too.
    """

    images: int = 0
    problems: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def verify(folder: Path) -> VerifyReport:
    """Check that every shard is done, every file is there with the bytes it was written with, and none is a stray.

    Raises
    ------
    RunError
        If the folder is no run.
    """
    plan = Plan.read(folder)
    report = VerifyReport()
    report.problems += [
        f"{path.name}: not finished, images {plan.indices(shard)[0]} to {plan.indices(shard)[-1]} are not made yet; "
        f"run the same command with --resume"
        for shard in range(plan.shards)
        if not (path := provenance_path(folder, shard)).exists()
    ]
    seen: set[int] = set()
    for shard, path in shard_files(folder):
        wanted = set(plan.indices(shard)) if shard < plan.shards else set()
        for line in read_shard(path):
            index = line["index"] if "error" in line else line["recipe"]["run"]["index"]
            if index not in wanted or index in seen:
                report.problems.append(f"{path.name}: image {index} does not belong there")
                continue
            seen.add(index)
            if "error" in line:
                report.failures.append(Failure.read(line))
                continue
            report.images += 1
            for kind, digest in line["sha256"].items():
                report.problems += _check_file(folder, line[kind], digest)
            report.problems += _check_pair(folder, line)
        lost = sorted(wanted - seen)
        report.problems += [f"{path.name}: image {index} is missing" for index in lost]
    report.problems += failure_lines(report.failures)
    for name, row in written_normals(folder).items():
        report.problems += _check_file(folder, f"train/good/{name}", row["written"])
    report.problems += [f"{name}: not in the provenance" for name in strangers(folder, plan)]
    return report


def _check_file(folder: Path, name: str, digest: str) -> list[str]:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        return [f"{name}: {error.strerror}"]
    return [] if sha256(data) == digest else [f"{name}: changed since it was written"]


def _check_pair(folder: Path, line: dict[str, Any]) -> list[str]:
    try:
        image, mask = read_image(folder / line["image"]).image, read_mask(folder / line["mask"])
    except DataError:
        return []  # said already, file by file
    if image.shape[:2] != mask.shape:
        return [f"{line['image']}: image and mask differ in size"]
    return [] if mask.any() else [f"{line['mask']}: empty"]


@dataclass(frozen=True)
class Replay:
    """An image made again: its PNG bytes, and whether they equal those that were written."""

    image: bytes
    mask: bytes
    same: bool
    line: dict[str, Any]


def replay(folder: Path, image: str, *, data: str | os.PathLike[str] | None = None) -> Replay:
    """Make one image of a run again, from the plan and the normals.

    Parameters
    ----------
    image:
        The image's name below the folder, its file name, or its number.
    data:
        Where the pictures are now; by default where they were.

    Raises
    ------
    RunError
        If the folder is no run, the image is not in it, or its normals have changed since.
    """
    plan = Plan.read(folder)
    if data is not None:
        plan = replace(plan, data=str(Path(data).expanduser().resolve()))
    line = _find(folder, image)
    run = line["recipe"]["run"]
    synthesizer, maker = plan.load()
    asked = line["recipe"]["request"]
    _check_source(folder, plan, asked.get("source_id"), line["image"])
    normal_id = asked["normal_id"]
    if normal_id is not None and maker.normals is not None:
        normal = maker.normals.read(maker.normals.index(normal_id))
        if normal.digest != run.get("normal_pixels"):
            raise RunError(f"{normal_id} in {plan.data} has changed since {line['image']} was made from it")
    outcome = next(iter(produce(synthesizer, maker, [run["index"]])))
    if outcome.sample is None:
        raise RunError(f"{line['image']} could not be made again: {outcome.error}")
    grey = outcome.normal is not None and outcome.normal.grey
    made = encode_png(outcome.sample.image[:, :, 0] if grey else outcome.sample.image)
    mask = encode_png(outcome.sample.mask)
    same = sha256(made) == line["sha256"]["image"] and sha256(mask) == line["sha256"]["mask"]
    return Replay(made, mask, same, line)


def _check_source(folder: Path, plan: Plan, source_id: str | None, image: str) -> None:
    """Refuse a second normal that is not the one the image was made from."""
    recorded = {row.get("id"): row for row in written_normals(folder).values()}
    if source_id not in recorded:
        return
    for item in plan.open_data().normals:
        if item.id == source_id and sha256(item.path.read_bytes()) != recorded[source_id].get("source"):
            raise RunError(f"{source_id} in {plan.data} has changed since {image} was made from it")


def _find(folder: Path, image: str) -> dict[str, Any]:
    wanted, count = Path(image), 0
    for line in read_provenance(folder):
        if "error" in line:
            continue
        count += 1
        name = Path(line["image"])
        number = line["recipe"]["run"]["index"]
        if image in (str(number), name.stem) or (image.isdigit() and int(image) == number):
            return line
        if wanted.name == name.name and (len(wanted.parts) == 1 or image.endswith(line["image"])):
            return line
    raise RunError(f"{folder}: no image {image!r} among its {count}; give its number, or a name like 000042.png")
