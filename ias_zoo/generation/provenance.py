"""The record of a run: one JSON line an image, a file a shard; read back with every field checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ias_zoo.errors import RunError

PROVENANCE = "provenance"
NORMALS = "normals.json"
_SHARD = re.compile(r"shard-(\d{5,})\.jsonl\Z")
_FILES = ("image", "mask", "label_map")


def provenance_path(folder: Path, shard: int) -> Path:
    """Where a shard's lines are."""
    return folder / PROVENANCE / f"shard-{shard:05d}.jsonl"


def shard_files(folder: Path) -> list[tuple[int, Path]]:
    """The shards that have lines, with their numbers, in order."""
    place = folder / PROVENANCE
    found = [(_SHARD.match(path.name), path) for path in (place.iterdir() if place.is_dir() else ())]
    return sorted((int(match[1]), path) for match, path in found if match is not None)


def read_provenance(folder: Path) -> Iterator[dict[str, Any]]:
    """Every line of a run, in order of the images.

    Raises
    ------
    RunError
        Naming file and line, if one is not what this version writes.
    """
    for _, path in shard_files(folder):
        yield from read_shard(path)


def read_shard(path: Path) -> list[dict[str, Any]]:
    """The lines of one shard.

    Raises
    ------
    RunError
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RunError(f"{path}, line {number}: not JSON ({error})") from error
        wrong = _wrong(row)
        if wrong:
            raise RunError(f"{path}, line {number}: {wrong}; it was changed, or written by another version")
        rows.append(row)
    return rows


def _wrong(row: Any) -> str:
    """What is wrong with a line, or nothing."""
    if not isinstance(row, dict):
        return "expected an object"
    if "error" in row:
        return "" if isinstance(row["error"], str) and isinstance(row.get("index"), int) else "a broken error line"
    digests, recipe = row.get("sha256"), row.get("recipe")
    if not isinstance(digests, dict) or not {"image", "mask"} <= set(digests) <= set(_FILES):
        return "no 'sha256' of image and mask"
    for kind, digest in digests.items():
        if not isinstance(digest, str) or not is_inside(row.get(kind)):
            return f"{kind!r} is no file below the folder"
    run = recipe.get("run") if isinstance(recipe, dict) else None
    if not isinstance(run, dict) or not isinstance(run.get("index"), int):
        return "no 'recipe' with its 'run'"
    assert isinstance(recipe, dict)  # noqa: S101 - it has a run
    if not isinstance(recipe.get("request"), dict) or not isinstance(recipe.get("plugin"), dict):
        return "no 'request' or 'plugin' in the recipe"
    return "" if isinstance(row.get("defect"), str) else "no 'defect'"


def is_inside(name: Any) -> bool:
    """Whether a name is a relative path that stays below its folder."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
