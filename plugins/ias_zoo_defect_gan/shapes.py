"""Where a sample's defect is asked for (ours): the masks of shots, turned and moved; and the square the model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.training.shots import Shot

    Mask = npt.NDArray[np.bool_]

PLACES = 20
"""Places that are tried; the one with most of the shape inside the region is taken."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A shot's mask cut out of its picture, in native pixels, and the borders of the picture that it touches.

    ``mask`` is h x w bool; ``sides`` are top, bottom, left and right.
    """

    defect: str
    mask: Mask
    sides: tuple[bool, bool, bool, bool]

    def turned(self, quarters: int, mirror: bool) -> Shape:
        """Turned counter-clockwise by quarters, then mirrored left-right."""
        mask, (top, bottom, left, right) = np.rot90(self.mask, quarters), self.sides
        for _ in range(quarters % 4):
            top, bottom, left, right = right, left, top, bottom
        if mirror:
            mask, left, right = mask[:, ::-1], right, left
        return Shape(self.defect, np.ascontiguousarray(mask), (top, bottom, left, right))

    def placed(self, size: tuple[int, int], region: Mask | None, rng: np.random.Generator) -> Mask:
        """The shape somewhere in a picture: at the border that it touched, else anywhere; never empty.

        Parameters
        ----------
        size:
            Height and width.
        region:
            H x W bool; the result lies in it. Each place tried puts some pixel of the shape onto one of the region.
        """
        rows, columns = np.nonzero(self.mask)
        allowed = None if region is None else np.flatnonzero(region)
        best, most = np.zeros(size, np.bool_), 0
        for number in range(2 * PLACES):
            pick = int(rng.integers(len(rows)))
            spot = int(rng.integers(size[0] * size[1])) if allowed is None else int(rng.choice(allowed))
            y, x = divmod(spot, size[1])
            bound = number < PLACES  # the border is given up where it keeps the shape out of the region
            top = self._along(y - rows[pick], self.mask.shape[0], size[0], self.sides[:2] if bound else ())
            left = self._along(x - columns[pick], self.mask.shape[1], size[1], self.sides[2:] if bound else ())
            inside = (rows + top >= 0) & (rows + top < size[0]) & (columns + left >= 0) & (columns + left < size[1])
            made = np.zeros(size, np.bool_)
            made[rows[inside] + top, columns[inside] + left] = True
            if region is not None:
                made &= region
            count = int(made.sum())
            if count > most:
                best, most = made, count
            if most == len(rows) or (number == PLACES - 1 and most):
                break
        return best

    @staticmethod
    def _along(place: int, length: int, limit: int, ends: Sequence[bool]) -> int:
        if ends and ends[0]:
            return 0
        if ends and ends[1]:
            return limit - length
        return int(min(max(place, 0), limit - length)) if ends and length <= limit else int(place)


def cut_shapes(shots: Sequence[Shot]) -> list[Shape]:
    """The shapes of shots, in their order."""
    shapes = []
    for shot in shots:
        x, y, width, height = cv2.boundingRect(shot.mask.view(np.uint8))
        rows, columns = shot.mask.shape
        sides = (y == 0, y + height == rows, x == 0, x + width == columns)
        shapes.append(Shape(shot.defect, shot.mask[y : y + height, x : x + width].copy(), sides))
    return shapes


def shapes_to_tensors(shapes: Sequence[Shape]) -> dict[str, torch.Tensor]:
    """As tensors, for a safetensors file: ``<number>/<defect>`` holds a mask of 0 and 1, ``<number>/`` its sides."""
    found: dict[str, torch.Tensor] = {}
    for number, shape in enumerate(shapes):
        found[f"{number}/{shape.defect}"] = torch.from_numpy(shape.mask.astype(np.uint8))
        found[f"{number}/"] = torch.tensor(shape.sides, dtype=torch.uint8)
    return found


def shapes_from_tensors(tensors: Mapping[str, torch.Tensor]) -> list[Shape]:
    """What :func:`shapes_to_tensors` wrote.

    Raises
    ------
    ValueError, KeyError
        If it is something else.
    """
    named = {int(number): defect for number, _, defect in (key.partition("/") for key in tensors) if defect}
    shapes = []
    for number in sorted(named):
        mask, sides = tensors[f"{number}/{named[number]}"], tensors[f"{number}/"].bool().tolist()
        if mask.ndim != 2 or len(sides) != 4 or not mask.any():
            raise ValueError(f"shape {number} is damaged")
        shapes.append(Shape(named[number], mask.bool().numpy(), tuple(sides)))
    return shapes


@dataclass(frozen=True)
class Square:
    """A square of a picture in native pixels; the model sees it resized to its own size."""

    top: int
    left: int
    side: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing H x W arrays."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)

    @classmethod
    def chosen(cls, size: tuple[int, int], wanted: Mask | None, crop: int | None, rng: np.random.Generator) -> Square:
        """The square for a sample.

        Parameters
        ----------
        wanted:
            Where the defect will be: the square covers it, grown where need be, as far as the picture allows.
        crop:
            Side of the crops that were trained on: the defect lands anywhere in the middle half, without one the
            square lies anywhere. None: whole pictures were; the square is the largest, nearest the centre.
        """
        side = min(*size) if crop is None else min(crop, *size)
        if wanted is None:
            corner = [(length - side) // 2 if crop is None else int(rng.integers(length - side + 1)) for length in size]
            return cls(corner[0], corner[1], side)
        x, y, width, height = cv2.boundingRect(wanted.view(np.uint8))
        side = min(max(side, width, height), *size)
        corner = []
        for start, extent, length in ((y, height, size[0]), (x, width, size[1])):
            middle = (length - side) / 2 if crop is None else start + extent / 2 - rng.uniform(0.25, 0.75) * side
            first = np.clip(middle, start + extent - side, start) if extent <= side else start + (extent - side) / 2
            corner.append(int(np.clip(round(float(first)), 0, length - side)))
        return cls(corner[0], corner[1], side)

    def faded(self, size: tuple[int, int], share: float) -> npt.NDArray[np.float32]:
        """Weights of the square's pixels, side x side: 1, falling linearly to nearly 0 at the square's border.

        Parameters
        ----------
        size:
            Height and width of the picture; where the square ends at the picture's border, nothing falls.
        share:
            Of the side, over which it falls; above 0.
        """
        weights = []
        for start, length in ((self.top, size[0]), (self.left, size[1])):
            steps = np.arange(1, self.side + 1, dtype=np.float32) / np.float32(share * self.side)
            line = np.ones(self.side, np.float32)
            if start > 0:
                line = np.minimum(line, steps)
            if start + self.side < length:
                line = np.minimum(line, steps[::-1])
            weights.append(line)
        return np.minimum.outer(*weights)


def resized(values: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float32]:
    """Float values H x W or H x W x C to another size: area means when shrinking, linear when growing."""
    source = np.ascontiguousarray(values, dtype=np.float32)
    if source.shape[:2] == (height, width):
        return source
    method = cv2.INTER_AREA if height <= source.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(source, (width, height), interpolation=method), dtype=np.float32)
