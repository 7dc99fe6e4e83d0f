"""Which pictures show one part: several of them (other exposures, other views) show the same defect."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ias_zoo.data.dataset import DataSet
from ias_zoo.errors import DataError, OptionError

META = "meta.csv"
_COLUMNS = ("tile_group", "group")
_NAMES = ("file", "image")
_SHOWN = 5


@dataclass(frozen=True)
class Groups:
    """Which pictures belong together.

    ``how`` says where that is known from: ``meta.csv: <column>``, ``pattern: <regular expression>`` or ``file`` (each
    picture is a group by itself). ``names`` maps a picture's id to its group.
    """

    how: str
    names: Mapping[str, str]

    @classmethod
    def of(cls, data: DataSet, pattern: str | None = None) -> Groups:
        """Find the groups of a data set.

        Parameters
        ----------
        pattern:
            A regular expression that is searched for in each picture's id; the group is its first parenthesis that
            took part, or the whole match. Default: the column ``tile_group`` or ``group`` of ``meta.csv`` in the data
            set's folder, whose column ``file`` or ``image`` holds the ids; without that, each picture is a group.

        Raises
        ------
        OptionError
            If the pattern is no regular expression.
        DataError
            If a picture has no group: the pattern is not found in its id, or ``meta.csv`` does not list it.
        """
        if pattern is not None:
            return cls(f"pattern: {pattern}", _by_pattern(data, pattern))
        meta = data.root / META
        found = _by_meta(data, meta) if meta.is_file() else None
        if found is None:
            return cls("file", {item.id: item.id for item in data.items})
        return cls(f"{META}: {found[0]}", found[1])

    def __getitem__(self, item_id: str) -> str:
        try:
            return self.names[item_id]
        except KeyError:
            raise DataError(f"{item_id}: in no group ({self.how})") from None


def _by_pattern(data: DataSet, pattern: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise OptionError(f"--group-by {pattern!r}: no regular expression ({error})") from None
    names, missing = {}, []
    for item in data.items:
        match = compiled.search(item.id)
        name = None if match is None else next((part for part in match.groups() if part), match.group(0))
        if name:
            names[item.id] = name
        else:
            missing.append(item.id)
    if missing:
        raise DataError(f"--group-by {pattern!r} finds no group in {some_of(missing)}")
    return names


def _by_meta(data: DataSet, meta: Path) -> tuple[str, dict[str, str]] | None:
    """The column and the groups; None if the file has no such column: it is about something else."""
    try:
        rows = list(csv.DictReader(meta.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{meta}: cannot be read ({error})") from error
    header = rows[0].keys() if rows else ()
    column = next((name for name in _COLUMNS if name in header), None)
    if column is None:
        return None
    key = next((name for name in _NAMES if name in header), None)
    if key is None:
        raise DataError(
            f"{meta}: a column {column!r}, but none of the files: expected {' or '.join(map(repr, _NAMES))}"
        )
    listed = {str(row[key]).replace("\\", "/"): str(row[column] or "") for row in rows}
    missing = [item.id for item in data.items if not listed.get(item.id)]
    if missing:
        raise DataError(f"{meta}: no {column} for {some_of(missing)}; list every picture, or give --group-by a pattern")
    return column, {item.id: listed[item.id] for item in data.items}


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
