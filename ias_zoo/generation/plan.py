"""A plan: everything that decides the pictures of a run, as one JSON file in the output folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ias_zoo
from ias_zoo.data import DataSet, open_data
from ias_zoo.errors import OptionError, RunError
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.registry import registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLAN_FILE = "plan.json"
SHARD_SIZE = 50
"""Images a shard: small enough that a killed run loses seconds, large enough that its provenance is no clutter."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the pictures of a run. Two equal plans give equal bytes, under any runner.

    ``size`` is (height, width), or None for each normal's own. ``normals`` are ids below ``data``.
    """

    method: str
    plugin_version: str
    options: dict[str, Any]
    data: str
    white: int | None
    normals: tuple[str, ...]
    n: int
    seed: int
    defects: tuple[str, ...]
    size: tuple[int, int] | None
    shard_size: int
    soft_labels: bool
    zoo_version: str

    @property
    def shards(self) -> int:
        """How many shards the run has."""
        return -(-self.n // self.shard_size)

    def indices(self, shard: int) -> range:
        """The image numbers of one shard."""
        return range(shard * self.shard_size, min(self.n, (shard + 1) * self.shard_size))

    def open_data(self) -> DataSet:
        """Open the data set again."""
        return open_data(self.data, white=self.white)

    def load(self) -> tuple[Any, RequestMaker]:
        """The synthesizer and the request maker of the run: what a worker needs.

        Raises
        ------
        RunError
            If the data set no longer has the normals of the plan.
        """
        synthesizer = registry().load(self.method, **self.options)
        normals = Normals(self.open_data(), size=self.size)
        if tuple(normals.ids) != self.normals:
            raise RunError(
                f"{self.data} holds other normals than when the run was planned "
                f"({len(normals)} now, {len(self.normals)} then); restore them, or start a new run"
            )
        return synthesizer, RequestMaker(synthesizer.method, normals, seed=self.seed, defects=self.defects)

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read the plan of a run's folder.

        Raises
        ------
        RunError
            If there is none, or it is not a plan of this version.
        """
        path = folder / PLAN_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            for name in ("normals", "defects"):
                values[name] = tuple(values[name])
            values["size"] = tuple(values["size"]) if values["size"] else None
            return cls(**values)
        except FileNotFoundError:
            raise RunError(f"{folder} is not a generated folder: it has no {PLAN_FILE}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: not a plan this version can read ({error})") from error

    def differences(self, other: Plan) -> list[str]:
        """The names of the fields in which two plans differ."""
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]


def make_plan(
    method: str,
    data: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    defects: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    white: int | None = None,
    soft_labels: bool = False,
    shard_size: int = SHARD_SIZE,
) -> Plan:
    """Check everything that can be checked before the first image, and write it down.

    Raises
    ------
    OptionError, UnknownMethod, DataError
        Whatever is wrong with the arguments.
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0), ("shard_size", shard_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise OptionError(f"{name}={value!r}: expected an integer >= {least}")
    if size is not None and min(size) < 1:
        raise OptionError(f"size={size!r}: expected at least 1x1")
    for defect in defects:
        check_defect_name(defect)
    entry = registry().find(method)
    synthesizer = registry().load(entry.qualified_name, **(options or {}))
    source = open_data(data, white=white)
    normals = Normals(source)
    RequestMaker(entry.method, normals, seed=seed)  # refuses too few normals
    return Plan(
        method=entry.qualified_name,
        plugin_version=entry.plugin.version,
        options=dict(synthesizer_options(synthesizer)),
        data=str(Path(data).expanduser().resolve()),
        white=white,
        normals=tuple(normals.ids),
        n=n,
        seed=seed,
        defects=tuple(defects),
        size=size,
        shard_size=shard_size,
        soft_labels=soft_labels,
        zoo_version=ias_zoo.__version__,
    )


def synthesizer_options(synthesizer: Any) -> dict[str, Any]:
    """Every option of a loaded method as JSON-able values."""
    from ias_zoo.options import options_to_json

    return options_to_json(synthesizer.options)


def check_defect_name(name: str) -> None:
    """A defect's name becomes a folder's: refuse what would leave the output folder or read as a normal.

    Raises
    ------
    OptionError
        Saying what a name may be.
    """
    from ias_zoo.data.reader import NORMAL_NAMES

    if not name or name in {".", ".."} or any(sign in name for sign in '/\\:*?"<>|\0') or name != name.strip():
        raise OptionError(f"defect name {name!r}: expected a word that can name a folder")
    if name.lower() in NORMAL_NAMES:
        raise OptionError(f"defect name {name!r} means a normal in every layout; choose another")
