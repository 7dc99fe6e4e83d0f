"""Real defects for methods that copy from them without learning: which ones a run uses, read and recorded.

A method that needs shots and trains nothing is handed one with each request. A run takes the few-shot split's training
part of its data set, or a list; the ids and hashes go into its plan, and each sample's recipe names its own shot.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ias_zoo.data import DataSet, open_data
from ias_zoo.data.dataset import Item
from ias_zoo.data.groups import Groups
from ias_zoo.data.images import resize_image, resize_mask, sha256
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError
from ias_zoo.method import Input, Method, Trains
from ias_zoo.synthesizer import copies_shots

if TYPE_CHECKING:
    from ias_zoo.training.shots import Shot, TrainingSet

ShotsLike: TypeAlias = "int | Mapping[str, int] | str | os.PathLike[str] | DataSet | TrainingSet | Sequence[Shot]"


def gather_shots(
    method: Method, shots: ShotsLike | None, data: DataSet | None, *, defects: Sequence[str] = ()
) -> tuple[Shot, ...]:
    """The shots for a method, from whatever was given; none for one that copies from none.

    Parameters
    ----------
    shots:
        A folder or data set (the few-shot split's training part is taken), a number or one for each type (so many
        groups of ``data``, a picture of each), the shots themselves, or None: the split of ``data``.
    data:
        The data set that the normals are from, if they are from one.
    defects:
        Which types; all by default.

    Raises
    ------
    OptionError
        If the method takes no shots, or ``shots`` is something else.
    DataError
        If there are none where the method needs some, or one cannot be used.
    """
    if isinstance(shots, str | os.PathLike):
        shots = open_data(shots)
    if isinstance(shots, DataSet):
        _refuse_where_none_are_taken(method)
        return read_shots(shots, choose_shots(method, None, shots, defects=defects))
    if shots is None or isinstance(shots, int | Mapping):
        if data is None:
            if shots is not None:
                _refuse_where_none_are_taken(method)
                raise DataError(f"shots={shots}: the normals are from no data set; give the shots, or their folder")
            return ()
        return read_shots(data, choose_shots(method, shots, data, defects=defects))
    _refuse_where_none_are_taken(method)
    held: Any = getattr(shots, "shots", shots)  # a TrainingSet holds them
    given = tuple(held)
    for shot in given:
        if not all(hasattr(shot, name) for name in ("id", "image", "mask", "defect", "digest")):
            raise OptionError(f"shots holds a {type(shot).__name__}; expected ias_zoo.training.shots.Shot objects")
        if not shot.mask.any():
            raise DataError(f"{shot.id}: its mask is empty; leave it out or mend it")
    return given


def choose_shots(
    method: Method,
    shots: int | Mapping[str, int] | Sequence[str] | None,
    data: DataSet,
    *,
    defects: Sequence[str] = (),
    group_by: str | None = None,
) -> tuple[Item, ...]:
    """Which pictures of a data set a run copies from, in order of their ids.

    Parameters
    ----------
    shots:
        So many of each type (one number, or one for each type), one picture a group, as
        :func:`ias_zoo.data.split.few_shot_split` chooses them; the ids themselves; or None: a third of the groups.
    group_by:
        A pattern that finds a picture's group in its id; see :meth:`ias_zoo.data.groups.Groups.of`.

    Raises
    ------
    OptionError
        If shots or groups are asked for and the method takes no shots; if ids are given and a pattern as well.
    DataError
        If an id is no shot with a mask, a type has too few groups, or a picture is in none.
    """
    if not copies_shots(method):
        if shots is not None or group_by is not None:
            _refuse_where_none_are_taken(method)
        return ()
    if isinstance(shots, bool | str):
        raise OptionError(f"shots={shots!r}: expected a number, or the ids of pictures")
    if shots is None or isinstance(shots, int | Mapping):
        if not data.defects:
            if shots is None and Input.SHOTS not in method.needs:
                return ()
            raise DataError(
                f"{method.name} copies from real defects, and {data.root} has none; expected test/<defect> with masks"
            )
        groups = Groups.of(data, group_by)
        chosen = few_shot_split(data, defects=defects or None, shots=shots, groups=groups).train
    else:
        if group_by is not None:
            raise OptionError("shots were given by their ids: leave group_by out")
        chosen = tuple(data.item(name) for name in dict.fromkeys(shots))
        for item in chosen:
            if item.defect is None or item.mask is None:
                raise DataError(f"{item.id}: no shot, it has no {'defect' if item.defect is None else 'mask'}")
        chosen = tuple(item for item in chosen if not defects or item.defect in defects)
    return tuple(sorted(chosen, key=lambda item: item.id))


def read_shots(data: DataSet, items: Iterable[Item], *, size: tuple[int, int] | None = None) -> tuple[Shot, ...]:
    """Decode shots with their masks; ``size`` (height, width) resizes them as the run's normals are.

    Raises
    ------
    DataError
        If a picture or mask cannot be used, or a mask is empty.
    """
    from ias_zoo.training.shots import Shot

    loaded = []
    for item in items:
        image = data.read(item).image
        mask = data.read_mask(item, image.shape)
        if mask is None or not mask.any():
            raise DataError(f"{item.id}: its mask is empty; leave it out or mend it")
        shot = Shot(item.id, image, mask, str(item.defect), _hash(item.path))
        if size is not None:
            shot = replace(shot, image=resize_image(image, *size), mask=resize_mask(mask, *size))
            if not shot.mask.any():
                raise DataError(f"{item.id}: its mask is empty after resizing to {size[0]}x{size[1]}; leave it out")
        for array in (shot.image, shot.mask):
            array.setflags(write=False)  # many samples share it
        loaded.append(shot)
    return tuple(loaded)


def shot_hashes(items: Iterable[Item]) -> dict[str, tuple[str, str]]:
    """Each shot's id with the sha256 of its picture's file and of its mask's.

    Raises
    ------
    DataError
        If a file cannot be read.
    """
    return {item.id: (_hash(item.path), "" if item.mask is None else _hash(item.mask)) for item in items}


def _hash(path: Path) -> str:
    try:
        return sha256(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _refuse_where_none_are_taken(method: Method) -> None:
    if copies_shots(method):
        return
    if method.trains is not Trains.NONE:
        raise OptionError(f"{method.name} learns from shots: give them to fit, not to generate")
    raise OptionError(f"{method.name} takes no shots")
