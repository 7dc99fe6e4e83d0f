"""A plan: everything that decides the pictures of a run, as one JSON file in the output folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Interval

import ias_zoo
from ias_zoo.data import DataSet, open_data
from ias_zoo.errors import NotFitted, OptionError, RunError
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.generation.shots import choose_shots, read_shots, shot_hashes
from ias_zoo.method import Produces, Trains
from ias_zoo.registry import registry

PLAN_FILE = "plan.json"
MOST, LARGEST = 10_000_000, 32_768
"""The most images of a run, and the largest side to resize to."""

Side = Annotated[int, Interval(ge=1, le=LARGEST)]
SHARD_SIZE = 50
"""Images a shard: small enough that a killed run loses seconds, large enough that its provenance is no clutter."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the pictures of a run. Two equal plans give equal bytes, under any runner.

    ``size`` is (height, width), or None for each normal's own. ``normals`` are ids below ``data``. ``shots``, for
    methods that copy from them, are ids below ``data`` with the sha256 of picture and mask: no detector that learns
    from this run may be tested on them.
    """

    method: str
    plugin_version: str
    options: dict[str, Any]
    weights: str | None
    revision: str | None
    base: str | None
    device: str
    dtype: str | None
    data: str
    white: int | None
    normals: tuple[str, ...]
    n: Annotated[int, Interval(ge=1, le=MOST)]
    seed: Annotated[int, Ge(0)]
    defects: tuple[str, ...]
    size: tuple[Side, Side] | None
    shard_size: Annotated[int, Ge(1)]
    soft_labels: bool
    zoo_version: str
    shots: dict[str, tuple[str, str]] = field(default_factory=dict)

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
            If the data set no longer has the normals and shots of the plan.
        """
        synthesizer = registry().load(
            self.method,
            self.weights,
            revision=self.revision,
            base=self.base,
            device=self.device,
            dtype=self.dtype,
            **self.options,
        )
        data = self.open_data()
        if gone := sorted(set(self.normals) - {item.id for item in data.normals}):
            raise RunError(
                f"{self.data} holds other normals than when the run was planned: {gone[0]} is gone "
                f"({len(gone)} of {len(self.normals)}); restore them, or start a new run"
            )
        normals = Normals(_with_normals(data, self.normals), size=self.size)
        items = [item for item in data.shots if item.id in self.shots]
        if shot_hashes(items) != self.shots:
            raise RunError(
                f"{self.data}: shots have changed or gone since the run was planned ({', '.join(self.shots)}); "
                "restore them, or start a new run"
            )
        shots = read_shots(data, items, size=self.size)
        maker = RequestMaker(synthesizer.method, normals, seed=self.seed, defects=self.defects, shots=shots)
        return synthesizer, maker

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
        from pydantic import TypeAdapter, ValidationError

        path = folder / PLAN_FILE
        try:
            return TypeAdapter(cls).validate_json(path.read_text(encoding="utf-8"), strict=True)
        except FileNotFoundError:
            raise RunError(f"{folder} is not a generated folder: it has no {PLAN_FILE}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise RunError(f"{path}: not a plan this version can read: {where}: {first['msg']}") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: not a plan this version can read ({error})") from error

    def differences(self, other: Plan) -> list[str]:
        """The names of the fields in which two plans differ."""
        return [item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)]


_WINDOWS = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}


def make_plan(
    method: str,
    data: str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    revision: str | None = None,
    base: str | None = None,
    device: str = "auto",
    dtype: str | None = None,
    defects: Sequence[str] = (),
    shots: int | Mapping[str, int] | Sequence[str] | None = None,
    group_by: str | None = None,
    normals: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    white: int | None = None,
    soft_labels: bool = False,
    shard_size: int = SHARD_SIZE,
) -> Plan:
    """Check everything that can be checked before the first image, and write it down.

    Parameters
    ----------
    shots:
        For methods that copy from shots without learning: how many of each type (one number, or one for each type),
        one picture a group, or their ids below ``data``. By default a third of each type's groups.
    group_by:
        A pattern that finds a picture's group in its id; see :meth:`ias_zoo.data.groups.Groups.of`.
    normals:
        Their ids below ``data``; all of the training part by default.

    Raises
    ------
    OptionError, UnknownMethod, DataError
        Whatever is wrong with the arguments.
    """
    for name, value, least in (("n", n, 1), ("seed", seed, 0), ("shard_size", shard_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise OptionError(f"{name}={value!r}: expected an integer >= {least}")
    if n > MOST:
        raise OptionError(f"n={n}: at most {MOST} images a run")
    if size is not None and not (min(size) >= 1 and max(size) <= LARGEST):
        raise OptionError(f"size={size[0]}x{size[1]}: expected 1 to {LARGEST} pixels a side")
    for defect in defects:
        check_defect_name(defect)
    entry = registry().find(method)
    if entry.method.produces is not Produces.IMAGE:
        name = entry.method.name
        raise OptionError(
            f"{name} perturbs feature maps and makes no images; use ias_zoo.load({name!r}).perturb(...) in Python"
        )
    if entry.method.trains is not Trains.NONE and weights is None:
        name = entry.method.name
        raise NotFitted(
            f"{name} has to be fitted first: `ias-zoo fit {name} --data DIR --out WEIGHTS`, then --weights WEIGHTS"
        )
    synthesizer = registry().load(
        entry.qualified_name, weights, revision=revision, base=base, device=device, dtype=dtype, **(options or {})
    )
    known: tuple[str, ...] = getattr(synthesizer, "defects", ())  # those a trained method was fitted on
    for defect in defects:
        if known and defect not in known:
            raise OptionError(f"defect {defect!r}: these weights know {', '.join(known)}")
    source = open_data(data, white=white)
    chosen = Normals(source if normals is None else _with_normals(source, normals))
    items = choose_shots(entry.method, shots, source, defects=defects, group_by=group_by)
    kinds = tuple(sorted({str(item.defect) for item in items}))
    # Refuses too few normals, shots that cannot be read, and defects that no shot shows.
    RequestMaker(entry.method, chosen, seed=seed, defects=defects, shots=read_shots(source, items, size=size))
    return Plan(
        method=entry.qualified_name,
        plugin_version=entry.plugin.version,
        options=dict(synthesizer_options(synthesizer)),
        weights=_lasting(weights),
        revision=getattr(synthesizer, "weights_revision", None) or revision,
        base=_lasting(base),
        device=device,
        dtype=dtype,
        data=str(Path(data).expanduser().resolve()),
        white=white,
        normals=tuple(chosen.ids),
        n=n,
        seed=seed,
        defects=tuple(defects or known or kinds),
        size=size,
        shard_size=shard_size,
        soft_labels=soft_labels,
        zoo_version=ias_zoo.__version__,
        shots=shot_hashes(items),
    )


def _with_normals(data: DataSet, ids: Sequence[str]) -> DataSet:
    """The data set with no other normals than these."""
    kept = set(ids)
    if unknown := sorted(kept - {item.id for item in data.normals}):
        raise OptionError(f"{data.root}: no normal {unknown[0]!r} ({len(unknown)} unknown)")
    return replace(data, items=tuple(item for item in data.items if item.defect is not None or item.id in kept))


def _lasting(place: str | None) -> str | None:
    """A folder's absolute path, so that the plan means the same from anywhere; repositories stay as they are."""
    return str(Path(place).expanduser().resolve()) if place is not None and Path(place).expanduser().is_dir() else place


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

    plain = isinstance(name, str) and name.isprintable() and name == name.strip() and 0 < len(name.encode()) <= 100
    if not plain or name.startswith(".") or name.endswith(".") or any(sign in name for sign in '/\\:*?"<>|'):
        raise OptionError(f"defect name {name!r}: expected a word that can name a folder")
    if name.upper() in _WINDOWS:
        raise OptionError(f"defect name {name!r}: Windows keeps that name for itself; choose another")
    if name.lower() in NORMAL_NAMES:
        raise OptionError(f"defect name {name!r} means a normal in every layout; choose another")
