"""Shapes of defects: masks cut out of pictures, turned, and placed in other pictures (our design)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

__all__ = ["Shape"]

PLACES = 20
"""Places that are tried; the one with most of the shape inside the region is taken."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A mask cut out of its picture, and the borders of the picture that it touches.

    ``mask`` is h x w bool; ``sides`` are top, bottom, left and right.
    """

    defect: str
    mask: Mask
    sides: tuple[bool, bool, bool, bool]

    @classmethod
    def cut(cls, defect: str, mask: Mask) -> Shape:
        """The bounding box of a mask, H x W bool, which is not empty."""
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        rows, columns = mask.shape
        sides = (y == 0, y + height == rows, x == 0, x + width == columns)
        return cls(defect, mask[y : y + height, x : x + width].copy(), sides)

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
