"""What a comparison keeps, and whether it may be used again: nothing of other pictures, options or versions is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ias_zoo.data.images import write_whole
from ias_zoo.errors import OptionError, RunError
from ias_zoo.evaluation.leaks import file_digest
from ias_zoo.report.results import COMPARE_FILE, RESULT_FILE, read_json

SETTINGS = "settings.json"
"""What all of a method's folder was made with."""


def write_settings(out: Path, common: dict[str, Any], methods: list[str], seeds: list[int]) -> None:
    """Write compare.json, or add to the one that is there; refuses what cannot stand in one table."""
    path = out / COMPARE_FILE
    if path.exists():
        before = read_json(path)
        other = [name for name, value in common.items() if before.get(name) != json.loads(json.dumps(value))]
        if other == ["split"] and _places(before["split"]) == _places(common["split"]):
            raise RunError(f"{out}: pictures or masks in {common['data']} have changed since; give a new --out")
        if other:
            raise RunError(f"{out} holds a comparison with another {', '.join(other)}; give a new --out")
        methods = list(dict.fromkeys([*before["methods"], *methods]))
        seeds = sorted({*before["seeds"], *seeds})
    settings = {**common, "seeds": seeds, "methods": methods}
    write_whole(path, (json.dumps(settings, indent=1) + "\n").encode())


def _places(split: Mapping[str, Any]) -> Any:
    """Which picture is on which side, whatever is in it."""
    return [split.get("groups"), sorted(split.get("shots", ())), split.get("normals"), split.get("test")]


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Refuse a method's folder that was made with anything else: its weights and samples would pass as these."""
    path, wanted = folder / SETTINGS, json.loads(json.dumps(identity))
    if path.is_file():
        before = read_json(path)
        other = [name for name, value in wanted.items() if before.get(name) != value]
        if "options" in other and isinstance(before.get("options"), dict):
            now, then = wanted["options"], before["options"]
            changed = [key for key in now if now[key] != then.get(key)]
            other = [f"options ({', '.join(changed)})" if name == "options" else name for name in other]
        if other:
            raise RunError(f"{folder} was made with another {', '.join(other)}; give a new --out, or delete {folder}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(wanted, indent=1) + "\n").encode())


def finished(folder: Path) -> dict[str, Any] | None:
    """A result that is there; it is of these pictures and options, or its folder had been refused."""
    path = folder / RESULT_FILE
    return read_json(path) if path.is_file() else None


def measures_record(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Which networks measure the samples; a weights file by what is in it."""
    found = {name: value for name, value in measures.items() if value is not None}
    if files := found.pop("weights", None):
        for name, path in files.items():
            if not Path(path).is_file():
                raise OptionError(f"--weights {name}={path}: no such file")
        found["weights"] = {name: file_digest(Path(path)) for name, path in files.items()}
    return found if set(found) - {"weights"} else {}


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write the result of an experiment, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RESULT_FILE, (json.dumps(result, indent=1) + "\n").encode())


def digest(value: Any) -> str:
    """A hash of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
