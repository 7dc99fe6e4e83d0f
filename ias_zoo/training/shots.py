"""The shots of a training run: loaded once, cropped where defects are small, augmented with their masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo.data import DataSet
from ias_zoo.data.groups import Groups
from ias_zoo.data.images import resize_image
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError, RequestError
from ias_zoo.generation.requests import Normals

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

SMALL_CELLS = 4.0
"""A defect that would cover fewer latent cells than this after resizing the whole picture is lost on the model."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One real defect: H x W x 3 uint8 RGB, H x W bool, its type, and the hash of its file."""

    id: str
    image: RGB
    mask: Mask
    defect: str
    digest: str


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Shots and normals of one product.

    ``defects`` are sorted. ``groups`` is :attr:`ias_zoo.data.groups.Groups.how` where the shots are one picture of each
    group, and None where that is not known.
    """

    shots: tuple[Shot, ...]
    normals: Normals
    defects: tuple[str, ...]
    groups: str | None = None

    @property
    def files(self) -> dict[str, str]:
        """The shots' ids and hashes, for the record; evaluating on them is a leak. Without shots, the normals'."""
        if self.shots or self.normals.source is None:
            return {shot.id: shot.digest for shot in self.shots}
        return {item.id: hashlib.sha256(item.path.read_bytes()).hexdigest() for item in self.normals.source.normals}


def load_normals(data: DataSet) -> TrainingSet:
    """The training set of a base: a data set's normals, and no shots.

    Raises
    ------
    DataError
        If there are no normals.
    """
    return TrainingSet((), Normals(data), ())


def load_shots(
    data: DataSet,
    *,
    defects: Sequence[str] | None = None,
    shots: int | Mapping[str, int] | None = None,
    group_by: str | None = None,
) -> TrainingSet:
    """Read the training shots of a data set: one picture of each of the first groups of each type.

    They are those that a comparison with the same arguments trains on.

    Parameters
    ----------
    defects, shots:
        Which types, and how many shots of each, as :func:`ias_zoo.data.split.few_shot_split` takes them: by default
        all, and a third of the groups.
    group_by:
        A pattern that finds a picture's group in its id; see :meth:`ias_zoo.data.groups.Groups.of`.

    Raises
    ------
    DataError
        If there are no normals, too few groups, a picture is in no group, or a picture or mask cannot be used.
    OptionError
        If the pattern is no regular expression, or ``shots`` names a type that is not among ``defects``.
    """
    if not data.defects:
        raise DataError(f"{data.root}: no defective pictures to learn from; expected test/<defect> with masks")
    groups = Groups.of(data, group_by)
    split = few_shot_split(data, defects=defects, shots=shots, groups=groups)
    loaded = []
    for item in split.train:
        image = data.read(item).image
        mask = data.read_mask(item, image.shape)
        if mask is None or not mask.any():
            raise DataError(f"{item.id}: its mask is empty; leave it out or mend it")
        digest = hashlib.sha256(item.path.read_bytes()).hexdigest()
        loaded.append(Shot(item.id, image, mask, str(item.defect), digest))
    names = tuple(sorted({shot.defect for shot in loaded}))
    return TrainingSet(tuple(loaded), Normals(data), names, groups.how)


def choose_crop(shots: Sequence[Shot], resolution: int, cell: int, crop: str) -> int | None:
    """Decide the side of the square crops, in native pixels; None trains on whole pictures.

    Parameters
    ----------
    resolution:
        The side the model works at; ``cell`` pixels of it make a latent cell.
    crop:
        ``off``, a number of pixels, or ``auto``: crop when the median defect would cover fewer than 4 latent cells of
        the whole picture brought to the model's size. The crop is then ``resolution`` pixels, native scale, or the
        shortest side of the pictures where that is less; long defects are seen in parts.

    Raises
    ------
    OptionError
        For anything else.
    """
    if crop == "off":
        return None
    shortest = int(min(min(shot.mask.shape) for shot in shots))
    if crop != "auto":
        if not crop.isdigit() or int(crop) < cell:
            raise OptionError(f"crop={crop!r}: expected auto, off, or a number of pixels >= {cell}")
        return min(int(crop), shortest)
    cells = [shot.mask.sum() * (resolution / min(shot.mask.shape)) ** 2 / cell**2 for shot in shots]
    if np.median(cells) >= SMALL_CELLS:
        return None
    if all(min(shot.mask.shape) <= resolution for shot in shots):
        return None  # the whole picture is no larger than a crop at native scale
    return min(resolution, shortest)


@dataclass(frozen=True, eq=False)
class Triple:
    """A training example: shot, mask and partner normal under one augmentation, all S x S.

    ``image`` and ``normal`` are float32 3 x S x S in [-1, 1], ``mask`` float32 S x S in [0, 1] with soft edges.
    """

    image: np.ndarray[Any, np.dtype[np.float32]]
    mask: np.ndarray[Any, np.dtype[np.float32]]
    normal: np.ndarray[Any, np.dtype[np.float32]]


def augmented(
    shot: Shot, normal: RGB, resolution: int, crop: int | None, rng: np.random.Generator, *, turn: bool = True
) -> Triple:
    """Crop, turn, mirror and resize a shot, its mask and a normal, all by the same draw.

    Parameters
    ----------
    crop:
        Side of the crop in native pixels: around a random pixel of the defect, which lands anywhere in the middle
        half of the crop. None: the centre square of the whole picture, as the published methods do.
    turn:
        Rotation from {0, 90, 180, 270} and mirroring from {none, left-right, top-bottom}.
    """
    image: Any
    mask: Any
    partner: Any
    if crop is None:
        image, mask = _centre(shot.image, resolution), _centre_mask(shot.mask, resolution)
        partner = _centre(normal, resolution)
    else:
        top, left = _crop_corner(shot.mask, crop, rng)
        box = np.s_[top : top + crop, left : left + crop]
        image = resize_image(np.ascontiguousarray(shot.image[box]), resolution, resolution)
        mask = _soft(shot.mask[box], resolution)
        partner = resize_image(_same_place(normal, shot.mask.shape, top, left, crop), resolution, resolution)
    if turn:
        quarter, mirror = int(rng.integers(4)), int(rng.integers(3))
        image, mask, partner = (_turned(array, quarter, mirror) for array in (image, mask, partner))
    return Triple(_signed(image), np.ascontiguousarray(mask, dtype=np.float32), _signed(partner))


def centre_square(image: RGB, resolution: int, crop: int | None, rng: np.random.Generator) -> RGB:
    """A normal as the model sees it: its centre square resized, or a random crop at native scale."""
    if crop is None or min(image.shape[:2]) < crop:
        return _centre(image, resolution)
    top, left = (int(rng.integers(side - crop + 1)) for side in image.shape[:2])
    return resize_image(np.ascontiguousarray(image[top : top + crop, left : left + crop]), resolution, resolution)


@dataclass(frozen=True)
class Window:
    """The square of a picture that a model sees: its corner and side, in the picture's pixels."""

    top: int
    left: int
    side: int

    @property
    def box(self) -> tuple[slice, slice]:
        """For indexing H x W arrays."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)


def choose_window(shape: tuple[int, ...], crop: int | None, mask: Mask | None, rng: np.random.Generator) -> Window:
    """Choose where a model looks at a picture: as :func:`centre_square`, but so that a given mask is inside.

    The window grows past ``crop`` where the mask is larger, and moves away from the centre where the mask is.

    Parameters
    ----------
    shape:
        H, W of the picture.
    crop:
        Side of the crops that the model was trained on; None: the largest square there is.

    Raises
    ------
    RequestError
        If no square within the picture holds the mask.
    """
    height, width = shape[:2]
    largest = min(height, width)
    side = largest if crop is None else min(crop, largest)
    ranges = [(0, height), (0, width)]
    if mask is not None:
        ranges = [_extent(mask, axis) for axis in (1, 0)]
        needed = max(last - first for first, last in ranges)
        if needed > largest:
            spans = " x ".join(str(last - first) for first, last in ranges)
            raise RequestError(
                f"request.mask spans {spans} pixels, and the model sees squares: at most {largest} of this "
                f"{height} x {width} picture; give several smaller masks"
            )
        side = max(side, needed)
    corner = []
    for (first, last), length in zip(ranges, (height, width), strict=True):
        lowest, highest = (0, length - side) if mask is None else (max(0, last - side), min(first, length - side))
        if crop is None or side == largest:
            corner.append(min(max((length - side) // 2, lowest), highest))
        else:
            corner.append(int(rng.integers(lowest, highest + 1)))
    return Window(corner[0], corner[1], side)


def shot_window(shot: Shot, crop: int | None, rng: np.random.Generator) -> Window:
    """Where a model looks at a shot: a crop around a random pixel of the defect, or the largest square on it.

    The square is the centre one, moved as far as it takes to hold the whole defect, or its middle where it is larger.
    """
    shape = shot.mask.shape
    if crop is not None:
        return Window(*_crop_corner(shot.mask, crop, rng), crop)
    side = min(shape)
    corner = []
    for axis, length in ((1, shape[0]), (0, shape[1])):
        first, last = _extent(shot.mask, axis)
        lowest, highest = sorted((last - side, first))
        wanted = (length - side) // 2 if last - first <= side else (first + last - side) // 2
        corner.append(min(max(wanted, lowest, 0), highest, length - side))
    return Window(corner[0], corner[1], side)


def see(image: RGB, window: Window, resolution: int) -> RGB:
    """A window of a picture at the model's size."""
    return resize_image(np.ascontiguousarray(image[window.box]), resolution, resolution)


def see_mask(mask: Mask, window: Window, resolution: int) -> Mask:
    """A window of a mask at the model's size: what is at least half covered; where nothing is, the fullest pixels."""
    soft = _soft(mask[window.box], resolution)
    found = soft >= min(0.5, float(soft.max()))
    return np.asarray(found & (soft > 0), dtype=np.bool_)


def _extent(mask: Mask, axis: int) -> tuple[int, int]:
    """The first and one past the last row (``axis`` 1) or column (0) that a mask touches."""
    found = np.flatnonzero(mask.any(axis=axis))
    return int(found[0]), int(found[-1]) + 1


def _crop_corner(mask: Mask, crop: int, rng: np.random.Generator) -> tuple[int, int]:
    pixels = np.flatnonzero(mask)
    y, x = divmod(int(pixels[rng.integers(pixels.size)]), mask.shape[1])
    corner = []
    for place, side in ((y, mask.shape[0]), (x, mask.shape[1])):
        within = int(rng.uniform(0.25, 0.75) * crop)
        corner.append(min(max(place - within, 0), side - crop))
    return corner[0], corner[1]


def _same_place(normal: RGB, shape: tuple[int, ...], top: int, left: int, crop: int) -> RGB:
    """The crop at the same relative place of a normal of any size, moved inside where it would not fit."""
    height, width = normal.shape[:2]
    side = min(crop, height, width)
    y = min(round(top / shape[0] * height), height - side)
    x = min(round(left / shape[1] * width), width - side)
    return np.ascontiguousarray(normal[y : y + side, x : x + side])


def _centre(image: RGB, resolution: int) -> RGB:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return resize_image(np.ascontiguousarray(image[top : top + side, left : left + side]), resolution, resolution)


def _centre_mask(mask: Mask, resolution: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    side = min(mask.shape)
    top, left = (mask.shape[0] - side) // 2, (mask.shape[1] - side) // 2
    return _soft(mask[top : top + side, left : left + side], resolution)


def _soft(mask: Mask, resolution: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Resize with grey edges: area averaging when shrinking."""
    shrinks = resolution <= min(mask.shape)
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    soft = cv2.resize(np.ascontiguousarray(mask, dtype=np.float32), (resolution, resolution), interpolation=method)
    return np.asarray(soft, dtype=np.float32)


def _turned(array: Any, quarter: int, mirror: int) -> Any:
    """Turn by quarters; mirror 1 is left-right, 2 top-bottom."""
    turned = np.rot90(array, quarter)
    return np.flip(turned, 2 - mirror) if mirror else turned


def _signed(image: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / 127.5 - 1.0
