"""From normals to requests: which normal, which source, which seed image ``i`` of a run gets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ias_zoo.data import DataSet, open_data
from ias_zoo.data.cache import PictureCache
from ias_zoo.data.dataset import Item
from ias_zoo.data.images import as_rgb, read_image, resize_image, resize_mask, sha256
from ias_zoo.errors import DataError, OptionError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.method import Input, Method
from ias_zoo.synthesizer import Request, copies_shots

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo.training.shots import Shot

NormalsLike: TypeAlias = "str | os.PathLike[str] | DataSet | Normals | Sequence[Any]"

CACHE_BYTES = 256 * 2**20
"""Bytes of decoded normals kept per process; the limit keeps a long run's memory flat."""


@dataclass(frozen=True, eq=False)
class Normal:
    """A decoded normal: RGB pixels, where the product is, whether the file was grey, and the hash of its pixels."""

    id: str
    image: RGB
    region: Mask | None
    grey: bool
    digest: str
    notes: tuple[str, ...] = ()


class Normals:
    """Normals by number, decoded on demand.

    Parameters
    ----------
    source:
        A folder, a data set, or a sequence of paths or arrays.
    size:
        Height and width to resize to; None keeps each picture's own.
    """

    def __init__(self, source: NormalsLike, *, size: tuple[int, int] | None = None) -> None:
        if isinstance(source, str | os.PathLike):
            source = open_data(source)
        if isinstance(source, np.ndarray) and source.ndim < 4:
            raise DataError(f"normals is one array of shape {source.shape}; give a list of pictures")
        self._source: DataSet | None = None
        self._entries: Sequence[Any]
        if isinstance(source, DataSet):
            self._source, self._entries = source, source.normals
            self.ids = [item.id for item in source.normals]
        elif isinstance(source, Normals):
            self._source, self._entries, self.ids = source._source, source._entries, source.ids
        else:
            self._entries = list(source)
            self.ids = [
                Path(entry).as_posix() if isinstance(entry, str | os.PathLike) else f"array-{number}"
                for number, entry in enumerate(self._entries)
            ]
        self._size = size
        self._cache = PictureCache(CACHE_BYTES, _weigh)
        if not self.ids:
            raise DataError(_no_normals(self._source))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def source(self) -> DataSet | None:
        """The data set they are from, if they are from one."""
        return self._source

    def index(self, normal_id: str) -> int:
        """The number of a normal.

        Raises
        ------
        DataError
            If there is none of that id.
        """
        try:
            return self.ids.index(normal_id)
        except ValueError:
            raise DataError(f"no normal {normal_id!r} among the {len(self)} given") from None

    def read(self, number: int) -> Normal:
        """Decode one normal, or take it from the cache.

        Raises
        ------
        DataError
            If the picture or its region cannot be used.
        """
        return self._cache.get(number, lambda: self._decode(number))

    def _decode(self, number: int) -> Normal:
        entry = self._entries[number]
        region: Mask | None = None
        notes: tuple[str, ...] = ()
        if isinstance(entry, Item) and self._source is not None:
            picture = self._source.read(entry)
            image, grey, notes = picture.image, picture.grey, picture.notes
            region = self._source.read_region(entry, image.shape)
        elif isinstance(entry, str | os.PathLike):
            picture = read_image(entry)
            image, grey = picture.image, picture.grey
        else:
            image, grey = as_rgb(entry, name=self.ids[number]), np.ndim(entry) == 2
        digest = sha256(image.tobytes())[:32]
        if self._size is not None:
            image = resize_image(image, *self._size)
            region = None if region is None else resize_mask(region, *self._size)
        if region is not None and not region.any():
            after = "" if self._size is None else f" after resizing to {self._size[0]}x{self._size[1]}"
            raise DataError(f"{self.ids[number]}: its region (foreground mask) is empty{after}")
        for array in (image, region):
            if array is not None:
                array.setflags(write=False)  # many samples share it
        return Normal(self.ids[number], image, region, grey, digest, notes)


class RequestMaker:
    """The requests of one run. Request ``i`` depends on the run's seed and ``i`` alone, whoever asks, in any order.

    Normals are taken in random order, each once before any comes again; so are the shots of a defect type, for
    methods that copy from shots. The source is any other normal. Defect types take turns: those given, or those of
    the shots.
    """

    def __init__(
        self,
        method: Method,
        normals: Normals | None,
        *,
        seed: int,
        defects: Sequence[str] = (),
        prompt: str | None = None,
        shots: Sequence[Shot] = (),
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise OptionError(f"seed={seed!r}: expected an integer >= 0")
        if normals is None and Input.NORMALS in method.needs:
            raise DataError(f"{method.name} needs normals: give a folder, paths or arrays")
        if normals is not None and Input.SOURCE in method.needs and len(normals) < 2:
            raise DataError(f"{method.name} takes content from a second normal: give at least 2 normals, not 1")
        if not shots and Input.SHOTS in method.needs and copies_shots(method):
            raise DataError(f"{method.name} copies from real defects: give shots with masks")
        self.method = method
        self.normals = normals
        self.seed = int(seed)
        self._shots: dict[str, list[Shot]] = {}
        for shot in shots:
            self._shots.setdefault(shot.defect, []).append(shot)
        self.defects = tuple(defects or sorted(self._shots))
        for name in self.defects if self._shots else ():
            if name not in self._shots:
                raise DataError(f"no shot of {name!r} was given; those given show {', '.join(sorted(self._shots))}")
        self.prompt = prompt
        self._round = -1
        self._order: Any = None

    def make(self, index: int, attempt: int = 0) -> tuple[Request, Normal | None]:
        """Make request ``index``; a higher ``attempt`` gives the next seed of the same request."""
        seed = seed_for(self.seed, index, attempt)
        defect = self.defects[index % len(self.defects)] if self.defects else None
        if self.normals is None:
            return Request(seed=seed, shot=self._shot(index), defect=defect, prompt=self.prompt), None
        number = self._normal_number(index)
        normal = self.normals.read(number)
        source = self._source(index, number)
        request = Request(
            seed=seed,
            normal=normal.image,
            normal_id=normal.id,
            source=source.image if source else None,
            source_id=source.id if source else None,
            source_region=source.region if source and self.method.uses(Input.REGION) else None,
            shot=self._shot(index),
            region=normal.region if self.method.uses(Input.REGION) else None,
            defect=defect,
            prompt=self.prompt,
        )
        return request, normal

    def _normal_number(self, index: int) -> int:
        assert self.normals is not None  # noqa: S101 - for the type checker
        turn, place = divmod(index, len(self.normals))
        if turn != self._round:
            self._order = np.random.default_rng(seed_for(self.seed, "order", turn)).permutation(len(self.normals))
            self._round = turn
        return int(self._order[place])

    def _source(self, index: int, number: int) -> Normal | None:
        assert self.normals is not None  # noqa: S101 - for the type checker
        if not self.method.uses(Input.SOURCE) or len(self.normals) < 2:
            return None
        rng = np.random.default_rng(seed_for(self.seed, index, "source"))
        other = int(rng.integers(len(self.normals) - 1))
        return self.normals.read(other + (other >= number))

    def _shot(self, index: int) -> Shot | None:
        if not self._shots:
            return None
        place, kind = divmod(index, len(self.defects))
        defect = self.defects[kind]
        turn, place = divmod(place, len(self._shots[defect]))
        order = np.random.default_rng(seed_for(self.seed, "shots", defect, turn)).permutation(len(self._shots[defect]))
        return self._shots[defect][int(order[place])]


def _no_normals(source: DataSet | None) -> str:
    if source is None:
        return "no normals were given; expected at least one picture of a good part"
    first = f"; {len(source.problems)} problems, the first: {source.problems[0]}" if source.problems else ""
    return f"{source.root} (layout {source.layout}): no normals; expected pictures of good parts for training{first}"


def _weigh(normal: Normal) -> int:
    return normal.image.nbytes + (0 if normal.region is None else normal.region.nbytes)
