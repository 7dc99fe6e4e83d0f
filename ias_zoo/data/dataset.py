"""A data set: the pictures of a user's folder, what they show, and the masks that go with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ias_zoo.data.images import Picture, read_image, read_mask
from ias_zoo.errors import DataError

if TYPE_CHECKING:
    from ias_zoo.synthesizer import Mask


@dataclass(frozen=True)
class Item:
    """One picture.

    Attributes
    ----------
    id:
        Its path below the data set's root, with forward slashes: the same on every machine.
    defect:
        The defect type, or None for a normal.
    mask:
        Where the defect is, for shots.
    region:
        Where the product is (from a ``foreground/`` folder beside the images), if known.
    split:
        ``train`` or ``test``, as the folder says.
    """

    id: str
    path: Path
    defect: str | None
    split: str
    mask: Path | None = None
    region: Path | None = None


@dataclass(frozen=True)
class Problem:
    """Something odd about the folder. An ``error`` makes a picture or a mask unusable, a ``note`` does not."""

    where: str
    what: str
    error: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class DataSet:
    """What :func:`ias_zoo.open_data` found. Nothing is decoded until asked for."""

    root: Path
    layout: str
    items: tuple[Item, ...]
    problems: tuple[Problem, ...] = ()
    white: int | None = None
    _by_id: dict[str, Item] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {item.id: item for item in self.items})

    @property
    def normals(self) -> tuple[Item, ...]:
        """The defect-free pictures to work with: those of the training part, in order of their ids."""
        return tuple(item for item in self.items if item.defect is None and item.split == "train")

    @property
    def shots(self) -> tuple[Item, ...]:
        """The defective pictures, with or without a mask."""
        return tuple(item for item in self.items if item.defect is not None)

    @property
    def defects(self) -> tuple[str, ...]:
        """The names of the defect types, sorted."""
        return tuple(sorted({item.defect for item in self.shots if item.defect is not None}))

    def counts(self) -> dict[str, int]:
        """How many pictures of each kind, as ``split/defect`` or ``split/good``."""
        found = Counter(f"{item.split}/{item.defect or 'good'}" for item in self.items)
        return dict(sorted(found.items()))

    def item(self, item_id: str) -> Item:
        """Find one picture by its id.

        Raises
        ------
        DataError
            If there is none.
        """
        try:
            return self._by_id[item_id]
        except KeyError:
            raise DataError(f"{self.root}: no picture {item_id!r}") from None

    def read(self, item: Item) -> Picture:
        """Decode an item's picture."""
        return read_image(item.path, white=self.white)

    def read_region(self, item: Item, shape: Sequence[int]) -> Mask | None:
        """Decode where the product is; None where the folder does not say.

        Raises
        ------
        DataError
            If the region has another size than its picture.
        """
        return None if item.region is None else read_fitting_mask(item.region, shape)

    def read_mask(self, item: Item, shape: Sequence[int]) -> Mask | None:
        """Decode a shot's mask; None where it has none.

        Raises
        ------
        DataError
            If the mask has another size than its picture.
        """
        return None if item.mask is None else read_fitting_mask(item.mask, shape)


def read_fitting_mask(path: Path, shape: Sequence[int]) -> Mask:
    """Read a mask that must have the given height and width."""
    mask = read_mask(path)
    if mask.shape != tuple(shape[:2]):
        raise DataError(f"{path}: {mask.shape[0]}x{mask.shape[1]} pixels, its picture has {shape[0]}x{shape[1]}")
    return mask
