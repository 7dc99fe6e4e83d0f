"""All figures about the samples of a run: how real, how diverse, how well masked, how much copied.

What they cannot say is whether the samples help a detector; that is measured by training one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data import DataSet, Item
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError
from ias_zoo.evaluation.copies import memorisation, near_duplicates
from ias_zoo.evaluation.diversity import INSIDE, VARIANTS, background_lpips, cluster, ic_lpips
from ias_zoo.evaluation.extractors import Extractor, WeightFiles, extract, load_extractor
from ias_zoo.evaluation.fidelity import Figure, fid, figure, inception_score, kid, precision_recall
from ias_zoo.evaluation.gathered import Pictures, chosen, read_generated, read_real
from ias_zoo.evaluation.masks import NormalMemory, detector_fit, difference_figures, mask_statistics
from ias_zoo.evaluation.perceptual import Lpips, load_lpips
from ias_zoo.generation.plan import Plan

if TYPE_CHECKING:
    import torch

RESOLUTION, LIMIT = 256, 200
NORMALS, LEARNED = 500, 40
"""Normals that backgrounds are compared with, and those of them that the detector learns from, drawn at random."""

REFERENCE = 40
"""Real defects, drawn at random, that a figure is also computed for where that says what good samples can reach."""

AGAINST = ("held", "shots", "all")


@dataclass(frozen=True)
class _Setting:
    """What all figures of one measurement share."""

    generated: dict[str, Pictures]
    shots: dict[str, Pictures]
    real: dict[str, Pictures]
    held: dict[str, Pictures]
    normals: Pictures
    extractor: Extractor | None
    lpips: Lpips | None
    learned: list[int]
    memory: NormalMemory | None
    protocol: dict[str, Any]
    against: str
    seed: int


def measure(
    generated: Path,
    data: DataSet,
    *,
    shots: int | Sequence[str] | None = None,
    held: Sequence[str] | None = None,
    normals: Sequence[str] | None = None,
    against: str = "held",
    extractor: str | None = "inception-v3",
    lpips: str | None = "lpips-squeeze",
    detector: str | None = None,
    weights: WeightFiles | None = None,
    device: str = "cpu",
    resolution: int = RESOLUTION,
    limit: int | None = LIMIT,
    seed: int = 0,
    step: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Measure the samples of a generated folder against real pictures.

    Parameters
    ----------
    generated:
        A run's folder.
    data:
        The real pictures.
    shots:
        The training shots: their ids, or how many of each type, one picture a group. None: those that the run's plan
        names, else a third of the groups.
    held:
        The ids of the real defects held out; None is all that are no shots.
    normals:
        The ids of the normals; None is all of the training part.
    against:
        The real defects that fidelity is measured against: ``held``, ``shots`` or ``all``. Against the shots that a
        method was trained on, memorising them is rewarded.
    extractor:
        The network of FID, KID, precision, recall and Inception Score; None leaves these out.
    lpips:
        The network of all perceptual distances; None leaves these out.
    detector:
        The extractor of the detector's feature maps; None is the LPIPS network.
    weights:
        Local weight files (see :mod:`ias_zoo.evaluation.extractors`).
    resolution:
        Pictures are resized whole to this side; each defect by itself is cut out before.
    limit:
        At most so many samples of each type, drawn at random; None is all.
    step:
        Called with a line on what is measured next.

    Returns
    -------
    dict
        JSON-able: ``run``, ``data``, ``protocol``, ``notes``, ``defects`` (a type's figures), ``overall`` (the mean of
        each figure over the types, as published tables have it) and ``pooled`` (fidelity of all types together).

    Raises
    ------
    OptionError, DataError, RunError, WeightsError, MissingDependency
    """
    if against not in AGAINST:
        raise OptionError(f"against={against!r}: expected one of {', '.join(AGAINST)}")
    if resolution < 64 or (limit is not None and limit < 1):
        raise OptionError(f"resolution={resolution}, limit={limit}: expected at least 64 and 1")
    plan = Plan.read(generated)
    train = _shot_items(data, list(plan.shots) or None if shots is None else shots)
    known = {item.id for item in train}
    rest = [item for item in data.shots if item.id not in known] if held is None else [data.item(i) for i in held]
    both = sorted(known & {item.id for item in rest})
    if both:
        raise DataError(f"{both[0]} is among the shots and the held pictures ({len(both)} in all); it can be one only")
    leaked = sorted(set(plan.shots) & {item.id for item in rest})
    if leaked:
        raise DataError(f"{leaked[0]} is held out, but the run copied from it ({len(leaked)} such); give it as a shot")
    good = data.normals if normals is None else [data.item(i) for i in normals]
    if not good:
        raise DataError(f"{data.root}: no normals to compare with")
    judge = load_extractor(extractor, weights=weights, device=device) if extractor else None
    distance = load_lpips(lpips, weights=weights, device=device) if lpips else None
    maps: Extractor | None = load_extractor(detector, weights=weights, device=device) if detector else distance
    step("reading pictures")
    background = read_real(data, [good[i] for i in chosen(len(good), NORMALS, seed)], side=resolution, masks=False)
    samples, missing = read_generated(generated, side=resolution, limit=limit, seed=seed)
    learned = chosen(len(background), LEARNED, seed)
    names = sorted({item.defect for item in (*train, *rest) if item.defect})
    setting = _Setting(
        generated=samples,
        shots=_by_type(data, train, names, resolution),
        held=_by_type(data, rest, names, resolution),
        real=_by_type(data, _chosen_against(train, rest, against), names, resolution, masks=False),
        normals=background,
        extractor=judge,
        lpips=distance,
        learned=learned,
        memory=NormalMemory(maps, [background.images[i] for i in learned], seed=seed) if maps else None,
        protocol={"resolution": resolution, "resize": "whole picture; area shrinking, bilinear growing"},
        against=against,
        seed=seed,
    )
    found: dict[str, dict[str, Any]] = {}
    features: dict[str, tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]] = {}
    notes = [f"left out, as their picture or mask is not in the folder: {missing}"] if missing else []
    for defect, pictures in samples.items():
        kind = _kind(setting, defect)
        if kind is None:
            notes.append(f"{defect!r} is no defect type of the real pictures: compared with all types together")
        row = found[defect] = {"samples": len(pictures), "of": pictures.total}
        row["compared_with"] = kind or "all types"
        step(f"{defect}: fidelity")
        row["figures"] = _fidelity(setting, defect, features)
        step(f"{defect}: masks")
        row["figures"] |= _mask_figures(setting, defect)
        if setting.lpips is not None:
            step(f"{defect}: diversity")
            row["figures"] |= _diversity(setting, defect)
            step(f"{defect}: copies")
            row["figures"] |= _copies(setting, defect)
    return {
        "schema": 1,
        "run": {"folder": str(generated), "method": plan.method, "n": plan.n, "seed": plan.seed},
        "data": {
            "root": str(data.root),
            "shots": sorted(known),
            "held": sorted(item.id for item in rest),
            "normals": background.names,
            "against": against,
        },
        "protocol": {**setting.protocol, "limit": limit, "seed": seed},
        "extractor": judge.description if judge else None,
        "lpips": distance.description if distance else None,
        "detector": maps.description if maps else None,
        "notes": notes,
        "defects": found,
        "overall": _overall({defect: row["figures"] for defect, row in found.items()}),
        "pooled": _pooled(setting, features),
    }


def _shot_items(data: DataSet, shots: int | Sequence[str] | None) -> list[Item]:
    if shots is None or isinstance(shots, int):
        return list(few_shot_split(data, shots=shots).train)
    found = [data.item(name) for name in shots]
    for item in found:
        if item.defect is None or item.mask is None:
            raise DataError(f"{item.id} is no shot: expected a defective picture with a mask")
    if not found:
        raise DataError("no shots were given: figures are taken relative to them")
    return found


def _chosen_against(train: Sequence[Item], rest: Sequence[Item], against: str) -> list[Item]:
    return [*(train if against != "held" else ()), *(rest if against != "shots" else ())]


def _by_type(
    data: DataSet, items: Sequence[Item], names: Sequence[str], side: int, *, masks: bool = True
) -> dict[str, Pictures]:
    return {
        name: read_real(data, [item for item in items if item.defect == name], side=side, masks=masks) for name in names
    }


def _kind(setting: _Setting, defect: str) -> str | None:
    """The real type that a generated one is compared with; None is all of them."""
    return defect if defect in setting.shots else None


def _like(table: dict[str, Pictures], kind: str | None) -> Pictures:
    return table[kind] if kind is not None else Pictures.joined(list(table.values()))


def _reference(setting: _Setting, defect: str) -> Pictures:
    """Some real defects of the type, shots and held ones."""
    real = Pictures.joined([_like(table, _kind(setting, defect)) for table in (setting.shots, setting.held)])
    return real.some(chosen(len(real), REFERENCE, setting.seed))


def _fidelity(setting: _Setting, defect: str, features: dict[str, Any]) -> dict[str, Figure]:
    if setting.extractor is None:
        return {}
    real = _like(setting.real, _kind(setting, defect))
    made = extract(setting.extractor, setting.generated[defect].images)
    width = made.features.shape[1]
    other = extract(setting.extractor, real.images).features if len(real) else made.features.new_zeros((0, width))
    features[defect] = (made.features, made.logits, other)
    return _fidelity_figures(setting, made.features, made.logits, other)


def _fidelity_figures(setting: _Setting, made: Any, logits: Any, real: Any) -> dict[str, Figure]:
    assert setting.extractor is not None  # noqa: S101 - for the type checker
    protocol = {**setting.extractor.description, **setting.protocol, "against": setting.against}
    return {
        "fid": fid(made, real, protocol),
        "kid": kid(made, real, protocol, seed=setting.seed),
        **precision_recall(made, real, protocol),
        "inception_score": inception_score(
            logits, {**setting.extractor.description, **setting.protocol}, seed=setting.seed
        ),
    }


def _pooled(setting: _Setting, features: Mapping[str, Any]) -> dict[str, Figure]:
    """Fidelity of all types together; real pictures that several types are compared with count once."""
    import torch

    if setting.extractor is None or not features:
        return {}
    real: dict[str | None, Any] = {_kind(setting, defect): row[2] for defect, row in features.items()}
    rows = [real[None]] if None in real else list(real.values())
    logits = [row[1] for row in features.values()]
    return _fidelity_figures(
        setting,
        torch.cat([row[0] for row in features.values()]),
        torch.cat(logits) if all(part is not None for part in logits) else None,
        torch.cat(rows),
    )


def _mask_figures(setting: _Setting, defect: str) -> dict[str, Figure]:
    pictures = setting.generated[defect]
    found = mask_statistics(pictures.areas, {"size": "the sample's own"})
    reference = _like(setting.shots, _kind(setting, defect))
    found["mask_area"]["real"] = float(np.median(reference.areas)) if reference.areas else None
    found |= difference_figures(pictures.fits, {})
    if setting.memory is None:
        return found
    places = {setting.normals.names[i]: number for number, i in enumerate(setting.learned)}
    own = [places.get(name or "") for name in pictures.normal_ids]
    values = detector_fit(setting.memory, pictures.images, pictures.masks, own)
    real = _reference(setting, defect)
    ceiling = detector_fit(setting.memory, real.images, real.masks, [None] * len(real))
    found["mask_fit_detector_auroc"] = figure(
        float(np.mean(values)) if values else None,
        {
            **setting.memory.extractor.description,
            **setting.protocol,
            "what": "pixel AUROC of the mask by a nearest-neighbour detector made of normals",
            "normals": setting.memory.normals,
            "samples": len(values),
        },
        warning=None if values else "no mask marks a part of its picture",
        real=float(np.mean(ceiling)) if ceiling else None,
        real_pictures=len(ceiling),
    )
    return found


def _diversity(setting: _Setting, defect: str) -> dict[str, Figure]:
    lpips, pictures = setting.lpips, setting.generated[defect]
    assert lpips is not None  # noqa: S101 - for the type checker
    kind = _kind(setting, defect)
    shots, found = _like(setting.shots, kind), {}
    protocol = {**lpips.description, **setting.protocol}
    if len(shots):
        nearest = cluster(lpips.matrix(shots.images, pictures.images).T)
        whole = ic_lpips(lpips, pictures.images, nearest, len(shots), protocol, seed=setting.seed)
        cut = {
            **lpips.description,
            "resolution": INSIDE,
            "what": "the defects by themselves, clusters as for the whole",
        }
        part = ic_lpips(lpips, pictures.insides, nearest, len(shots), cut, seed=setting.seed)
        for name in VARIANTS:
            found[f"ic_lpips_{name}"], found[f"ic_lpips_inside_{name}"] = whole[name], part[name]
    away = background_lpips(lpips, pictures.images, pictures.masks, setting.normals.images)
    real = _reference(setting, defect)
    ceiling = background_lpips(lpips, real.images, real.masks, setting.normals.images)
    found["background_lpips"] = figure(
        float(np.mean(away)),
        {**protocol, "what": "mask blanked, to the nearest normal", "normals": len(setting.normals)},
        real=float(np.mean(ceiling)) if len(ceiling) else None,
        real_pictures=len(ceiling),
        worst=float(np.max(away)),
    )
    return found


def _copies(setting: _Setting, defect: str) -> dict[str, Figure]:
    lpips, pictures = setting.lpips, setting.generated[defect]
    assert lpips is not None  # noqa: S101 - for the type checker
    shots = _like(setting.shots, _kind(setting, defect))
    protocol = {**lpips.description, **setting.protocol}
    cut = {**lpips.description, "resolution": INSIDE, "what": "the defects by themselves"}
    found = {
        "copies_of_shots": memorisation(lpips, pictures.images, shots.images, protocol, names=pictures.names),
        "copied_defects": memorisation(lpips, pictures.insides, shots.insides, cut, names=pictures.names),
        "near_duplicates": near_duplicates(
            lpips, pictures.images, pictures.insides, pictures.masks, protocol, names=pictures.names
        ),
    }
    for name in ("copies_of_shots", "copied_defects"):
        for row in found[name].get("copies", ()):
            row["shot"] = shots.names[row["shot"]]
    return found


def _overall(rows: Mapping[str, Mapping[str, Figure]]) -> dict[str, Figure]:
    """The mean of each figure over the types that have it."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    found = {}
    for name in names:
        having = [row[name] for row in rows.values() if name in row]
        values = [one["value"] for one in having if one["value"] is not None]
        warned = sum(one["warning"] is not None for one in having)
        found[name] = figure(
            float(np.mean(values)) if values else None,
            {"what": "mean over defect types", "types": len(values), "of": len(rows)},
            warning=f"{warned} of {len(rows)} types have a warning" if warned else None,
        )
    return found
