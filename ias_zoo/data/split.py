"""The field's few-shot split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ias_zoo.data.dataset import DataSet, Item
from ias_zoo.errors import DataError


@dataclass(frozen=True)
class FewShotSplit:
    """The shots to train on and those held for evaluation, each in order of defect and name."""

    train: tuple[Item, ...]
    held: tuple[Item, ...]


def few_shot_split(data: DataSet, *, defects: Sequence[str] | None = None, shots: int | None = None) -> FewShotSplit:
    """Take the first shots of each defect type, by sorted name, for training; hold the rest for evaluation.

    Parameters
    ----------
    data:
        Shots without a mask are left out of both sides.
    defects:
        Which types; all by default.
    shots:
        How many of each; by default the first third, floor(N / 3), as in the few-shot papers of the field.

    Raises
    ------
    DataError
        For an unknown type, a type with fewer shots than asked for, or one of which a third is less than one.
    """
    for name in defects or ():
        if name not in data.defects:
            raise DataError(f"{data.root}: no defect type {name!r}; found: {', '.join(data.defects) or 'none'}")
    if shots is not None and shots < 1:
        raise DataError(f"shots={shots}: expected at least 1")
    train: list[Item] = []
    held: list[Item] = []
    for name in defects or data.defects:
        usable = sorted((item for item in data.shots if item.defect == name and item.mask), key=lambda item: item.id)
        k = len(usable) // 3 if shots is None else shots
        if k < 1 or k > len(usable):
            wanted = "a third of them" if shots is None else str(shots)
            raise DataError(f"{data.root}: {name!r} has {len(usable)} shots with a mask; {wanted} cannot be taken")
        train += usable[:k]
        held += usable[k:]
    return FewShotSplit(tuple(train), tuple(held))
