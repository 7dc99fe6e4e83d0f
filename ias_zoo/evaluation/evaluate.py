"""Everything about one generated folder: its figures, and what it is worth to a detector."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ias_zoo.data import open_data
from ias_zoo.data.groups import Groups
from ias_zoo.errors import OptionError
from ias_zoo.evaluation.downstream import gain, summarise
from ias_zoo.evaluation.leaks import GroupSplit, refuse_leaks, split_by_group
from ias_zoo.evaluation.pictures import read_samples, read_shots, read_test
from ias_zoo.evaluation.protocols import find_protocol
from ias_zoo.evaluation.quality import measure
from ias_zoo.generation.plan import Plan
from ias_zoo.generation.provenance import PROVENANCE, read_provenance
from ias_zoo.generation.requests import Normals
from ias_zoo.training.devices import pick_device


def evaluate(
    folder: Path,
    data: Path,
    *,
    shots: int | Mapping[str, int] | None = None,
    protocol: str = "quick",
    seeds: int | None = None,
    group_by: str | None = None,
    per_group: int | None = None,
    encoder: Path | None = None,
    measures: Mapping[str, Any] | None = None,
    device: str = "auto",
    white: int | None = None,
    step: Callable[[str, int, int, float | None], None] = lambda stage, number, steps, loss: None,
) -> dict[str, Any]:
    """Measure a generated folder and train detectors with and without it.

    Good pictures that the samples were made on are left out of the test: a detector has seen them in training.

    Parameters
    ----------
    folder, data:
        A run's folder, and real pictures.
    shots:
        As of :func:`ias_zoo.evaluation.leaks.split_by_group`; None: those that the samples come from, where the run
        knows them and they are all in ``data``.
    protocol, encoder:
        A preset's name, and a file of weights for its encoder.
    seeds:
        0 trains no detector.
    measures:
        Networks for :func:`ias_zoo.evaluation.quality.measure`; without any only masks are measured.

    Returns
    -------
    dict
        ``split``, ``quality``, ``seen`` (the good pictures left out of the test), and ``downstream`` (``runs`` seed by
        seed, ``summary``) or None.

    Raises
    ------
    OptionError, DataError, RunError
        DataError also names pictures that the samples were made from and that the test would use.
    """
    preset = find_protocol(protocol, encoder)
    count = preset.seeds if seeds is None else seeds
    if count < 0:
        raise OptionError(f"seeds={seeds}: expected 0 or more")
    source = open_data(data, white=white)
    groups = Groups.of(source, group_by)
    known = seen_by(folder)
    chosen = sorted(known) if shots is None and known and known.keys() <= {item.id for item in source.shots} else None
    split = split_by_group(source, shots, groups=groups, per_group=per_group, chosen=chosen)
    refuse_leaks(known, split.test, groups)
    split, seen = _without_backgrounds(split, folder)
    quality = measure(
        folder,
        source,
        shots=[item.id for item in split.shots],
        held=[item.id for item in split.test if item.defect is not None],
        normals=[item.id for item in split.normals],
        device=str(pick_device(device)),
        step=lambda what: step(f"measuring, {what}", 0, 1, None),
        **({"extractor": None, "lpips": None} | dict(measures or {})),
    )
    result: dict[str, Any] = {"split": split.to_json(), "seen": seen, "quality": quality, "downstream": None}
    if count:
        real, test = read_shots(source, split.shots), read_test(source, split.test)
        normals, made = Normals(split.training_data()), read_samples(folder)
        runs: list[dict[str, Any]] = []
        for seed in range(count):  # how the samples are used is decided with the first seed
            use = runs[0]["arms"]["both"]["use"] if runs else None
            runs.append(gain(real, normals, test, made, preset, seed, use=use, device=device, step=step))
        result["downstream"] = {"runs": runs, "summary": summarise(runs)}
    return result


def _without_backgrounds(split: GroupSplit, folder: Path) -> tuple[GroupSplit, list[str]]:
    """Leave out of the test the good pictures that a run's samples were made on, and name them."""
    used = {((line.get("recipe") or {}).get("request") or {}).get("normal_id") for line in read_provenance(folder)}
    seen = [item for item in split.test if item.defect is None and item.id in used]
    kept = tuple(item for item in split.test if item.defect is not None or item.id not in used)
    return replace(split, test=kept, left_out=(*split.left_out, *seen)), [item.id for item in seen]


def seen_by(folder: Path) -> dict[str, str]:
    """The real defects that a run's samples come from: ids and SHA-256 of their files.

    Those that the plan copied from, and those that the weights of its samples were trained on.
    """
    seen = {name: hashes[0] for name, hashes in Plan.read(folder).shots.items()}
    for path in sorted((folder / PROVENANCE).glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                weights = (json.loads(line).get("recipe") or {}).get("weights")
                if weights:
                    seen |= weights["training_files"]
                    break  # one run, one set of weights
    return seen
