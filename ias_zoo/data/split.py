"""The field's few-shot split, by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ias_zoo.data.dataset import DataSet, Item
from ias_zoo.data.groups import Groups
from ias_zoo.errors import DataError, OptionError
from ias_zoo.generation.seeds import seed_for


@dataclass(frozen=True)
class FewShotSplit:
    """The shots to train on and those held for evaluation, each in order of defect and name; no group is in both."""

    train: tuple[Item, ...]
    held: tuple[Item, ...]


def few_shot_split(
    data: DataSet,
    *,
    defects: Sequence[str] | None = None,
    shots: int | Mapping[str, int] | None = None,
    groups: Groups | None = None,
    seed: int | None = None,
) -> FewShotSplit:
    """Take one picture of each of the first groups of each defect type for training; hold the other groups.

    Several pictures of one part say much the same, and one exposure's are of few parts: shots that differ are of
    different groups. Where nothing groups the pictures, each is a group, and these are the first shots by name.

    Parameters
    ----------
    data:
        Shots without a mask are left out of both sides.
    defects:
        Which types; all by default, or those that ``shots`` names.
    shots:
        How many of each type, or a number for each type; by default the first third of the type's groups,
        floor(N / 3), as in the few-shot papers of the field.
    groups:
        Those of :meth:`~ias_zoo.data.groups.Groups.of` by default.
    seed:
        None: groups in order of their first picture's id, and of a group the median picture in the same order (of an
        exposure series the middle one). A number: both drawn from it.

    Raises
    ------
    DataError
        For an unknown type, a type with fewer groups than asked for, or one of which a third is less than one; and
        what :meth:`~ias_zoo.data.groups.Groups.of` raises.
    OptionError
        For a number of shots of a type that is not among ``defects``.
    """
    counts = shots if isinstance(shots, Mapping) else {}
    names = sorted(set(defects or counts or data.defects))
    for name in (*names, *counts):
        if name not in data.defects:
            raise DataError(f"{data.root}: no defect type {name!r}; found: {', '.join(data.defects) or 'none'}")
        if name not in names:
            raise OptionError(f"shots of {name!r}, which is not among the defect types asked for: {', '.join(names)}")
    groups = groups or Groups.of(data)
    usable: dict[str, list[Item]] = {name: [] for name in names}
    for item in sorted(data.shots, key=lambda item: item.id):
        if item.defect in usable and item.mask is not None:
            usable[item.defect].append(item)
    train: list[Item] = []
    for name in names:
        wanted = counts.get(name) if isinstance(shots, Mapping) else shots
        train += _choose(data, name, usable[name], wanted, groups, seed)
    taken = {groups[item.id] for item in train}
    held = [item for name in names for item in usable[name] if groups[item.id] not in taken]
    return FewShotSplit(tuple(train), tuple(held))


def _choose(
    data: DataSet, defect: str, usable: Sequence[Item], wanted: int | None, groups: Groups, seed: int | None
) -> list[Item]:
    members: dict[str, list[Item]] = defaultdict(list)
    for item in usable:
        members[groups[item.id]].append(item)
    order = list(members)
    k = len(order) // 3 if wanted is None else wanted
    if k < 1 or k > len(order):
        asked = "a third of them" if wanted is None else str(wanted)
        if not order:
            remedy = "expected masks beside them (ground_truth/<defect>/, or as the manifest says)"
        else:
            remedy = f"give 1 to {len(order)} shots"
        raise DataError(
            f"{data.root}: {defect!r} has {len(order)} groups (by {groups.how}) with a mask; "
            f"{asked} cannot be taken; {remedy}"
        )
    if seed is None:
        chosen = [members[name][(len(members[name]) - 1) // 2] for name in order[:k]]
    else:
        rng = np.random.default_rng(seed_for(seed, "shots", defect))
        names = [order[int(place)] for place in rng.permutation(len(order))[:k]]
        chosen = [members[name][int(rng.integers(len(members[name])))] for name in names]
    return sorted(chosen, key=lambda item: item.id)
