"""The columns of a manifest: which are known, and what to say about others.

An ignored column can hide defects: without ``defect`` every picture counts as a normal, and then no method and no
measure notices what is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from ias_zoo.data.dataset import Problem
from ias_zoo.errors import DataError

KNOWN = ("image", "defect", "label", "mask", "region", "split")
DEFECT = ("defect", "label")
_EXPECTED = f"the columns are {', '.join(KNOWN)}"
_SAME_MEANING = ("type", "kind")  # as whole names: file_type says nothing about defects
_HINTS = ("defect", "label", "class", "categor", "anomal", "fault")  # anywhere in a name: defect_type, class_id
_NEAR = 0.8  # difflib's ratio: "defects" and "lable" are near, "time" is not near "image"


def refuse_hidden_defects(where: str, columns: Collection[str]) -> None:
    """Refuse a row that names no defect column but one that looks like a misspelt or renamed one.

    Raises
    ------
    DataError
        Naming the column and those that are known.
    """
    if any(name in columns for name in DEFECT):
        return
    for name in columns:
        if name in KNOWN:
            continue
        near = _nearest(name)
        if near is None and (name in _SAME_MEANING or any(hint in name for hint in _HINTS)):
            near = "defect"
        if near is not None:
            raise DataError(
                f"{where}: no column 'defect', but an unknown column {name!r}; {_EXPECTED}. Rename it to {near!r}, or "
                f"add a column 'defect' (empty or 'good' for normals)"
            )


def unknown_columns(where: str, columns: Collection[str]) -> Iterator[Problem]:
    """What ``check-data`` says about columns that are not read: an error for one that looks misspelt, else a note."""
    for name in columns:
        if name not in KNOWN:
            near = _nearest(name)
            misspelt = near is not None and near not in columns
            advice = f"did you mean {near!r}? " if misspelt else ""
            yield Problem(where, f"unknown column {name!r} is ignored; {advice}{_EXPECTED}", misspelt)


def _nearest(name: str) -> str | None:
    return next(iter(difflib.get_close_matches(name, KNOWN, n=1, cutoff=_NEAR)), None)
