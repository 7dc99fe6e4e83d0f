"""Shots and test pictures of a data set, decoded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ias_zoo.data import DataSet, Item, open_data
from ias_zoo.data.cache import PictureCache
from ias_zoo.errors import DataError
from ias_zoo.evaluation.leaks import file_digest
from ias_zoo.generation.provenance import read_provenance

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo.training.shots import Shot

CACHE_BYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class TestItem:
    """A real picture held out: H x W x 3 uint8 RGB, H x W bool (empty for a normal), its type (None for a normal)."""

    __test__ = False  # no test case, whatever pytest makes of the name

    id: str
    image: RGB
    mask: Mask
    defect: str | None


class LazyPictures(Sequence[Any]):
    """Shots or test pictures of a data set, decoded when asked for and kept up to half a gigabyte.

    ``sources`` says of which shot's pixels a picture was made, where it was.
    """

    def __init__(
        self,
        data: DataSet,
        items: Sequence[Item],
        make: Callable[[DataSet, Item], Any],
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._data, self._items, self._make, self._sources = data, tuple(items), make, sources or {}
        self._cache: PictureCache[Any] = PictureCache(
            CACHE_BYTES, lambda picture: int(picture.image.nbytes + picture.mask.nbytes)
        )

    def __len__(self) -> int:
        return len(self._items)

    @property
    def defects(self) -> list[str]:
        """Each picture's defect type, "" for a normal."""
        return [item.defect or "" for item in self._items]

    @overload
    def __getitem__(self, number: int) -> Any: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Any]: ...
    def __getitem__(self, number: int | slice) -> Any:
        """Decode one, or take it from the cache; a slice decodes nothing."""
        if isinstance(number, slice):
            return LazyPictures(self._data, self._items[number], self._make, self._sources)
        item = self._items[number]
        return self._cache.get(item.id, lambda: self._make(self._data, item))

    def without(self, shots: Collection[str]) -> LazyPictures:
        """Those that were made of none of these shots."""
        kept = [item for item in self._items if self._sources.get(item.id) not in shots]
        return LazyPictures(self._data, kept, self._make, self._sources)


def read_shots(data: DataSet, items: Sequence[Item] | None = None) -> Sequence[Shot]:
    """Give the defective pictures of a data set (a generated folder, say) as shots, decoded when asked for.

    Asking for one raises :class:`ias_zoo.errors.DataError` if its picture or mask cannot be used, or its mask is empty.
    """
    chosen = data.shots if items is None else items
    return LazyPictures(data, chosen, _read_shot)


def read_samples(folder: Path) -> Sequence[Shot]:
    """Give the samples of a run as shots, as above; they know which real shot each was copied from."""
    sources = {}
    for line in read_provenance(folder):
        shot = ((line.get("recipe") or {}).get("request") or {}).get("shot")
        if shot:
            sources[line["image"]] = shot["id"]
    data = open_data(folder)
    return LazyPictures(data, data.shots, _read_shot, sources)


def not_made_of(shots: Collection[str], pictures: Sequence[Shot]) -> Sequence[Shot]:
    """Those that were not copied from these shots, as far as that is known."""
    return pictures.without(shots) if isinstance(pictures, LazyPictures) else pictures


def read_test(data: DataSet, items: Sequence[Item]) -> Sequence[TestItem]:
    """Give pictures held out for the test, decoded when asked for; an empty mask is an error as above."""
    return LazyPictures(data, items, _read_test)


def defects_of(pictures: Sequence[Shot]) -> list[str]:
    """Each shot's defect type; of pictures that are decoded when asked for, none is."""
    if isinstance(pictures, LazyPictures):
        return pictures.defects
    return [shot.defect for shot in pictures]


def numbers_by_defect(shots: Sequence[Shot]) -> dict[str, list[int]]:
    """The shots' numbers by defect type, types sorted."""
    kinds: dict[str, list[int]] = {}
    for number, name in enumerate(defects_of(shots)):
        kinds.setdefault(name, []).append(number)
    return {name: kinds[name] for name in sorted(kinds)}


def _read_shot(data: DataSet, item: Item) -> Shot:
    from ias_zoo.training.shots import Shot

    image = data.read(item).image
    return Shot(item.id, image, _needed_mask(data, item, image), str(item.defect), file_digest(item.path))


def _read_test(data: DataSet, item: Item) -> TestItem:
    image = data.read(item).image
    empty = np.zeros(image.shape[:2], np.bool_)
    return TestItem(item.id, image, empty if item.defect is None else _needed_mask(data, item, image), item.defect)


def _needed_mask(data: DataSet, item: Item, image: RGB) -> Mask:
    mask = data.read_mask(item, image.shape)
    if mask is None or not mask.any():
        raise DataError(f"{item.id}: its mask is {'missing' if mask is None else 'empty'}; leave it out or mend it")
    return mask
