"""Rectangular patches: how large, and turned by an angle.

The size laws are the ones the self-contained methods publish: a share of the image's area with a random aspect ratio,
or an absolute range. Sizes are always brought to at least one pixel and at most the image, so that any image works.
Where a patch comes is the business of :mod:`ias_zoo.imaging.placement`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

__all__ = [
    "Box",
    "RotatedRectangle",
    "aspect_log_uniform",
    "aspect_two_branch",
    "rotated_rectangle",
    "size_by_area",
    "size_uniform",
]


class Box(NamedTuple):
    """An axis-aligned rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an H x W (x C) array."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def aspect_two_branch(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw width / height: a fair coin between U(low, 1) and U(1, high).

    Half the mass lies below 1, uniform within each branch. ``low <= 1 <= high``.
    """
    return float(rng.uniform(low, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, high))


def aspect_log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw width / height log-uniformly from [low, high]."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def size_by_area(height: int, width: int, area: float, aspect: float) -> tuple[int, int]:
    """Height and width of a box that covers ``area`` (a share) of an image and is ``aspect`` times as wide as high.

    Rounded to whole pixels and clamped to 1..height and 1..width; a clamped box covers less than ``area``.
    """
    pixels = area * height * width
    return _clamp(math.sqrt(pixels / aspect), height), _clamp(math.sqrt(pixels * aspect), width)


def size_uniform(low: float, high: float, scale: float, limit: int, rng: np.random.Generator) -> int:
    """Draw U(low, high) pixels times ``scale``, rounded and clamped to 1..limit."""
    return _clamp(rng.uniform(low, high) * scale, limit)


@dataclass(frozen=True, eq=False)
class RotatedRectangle:
    """A rectangle turned by an angle, on the smallest canvas that holds its pixels.

    Attributes
    ----------
    mask:
        h x w bool: the pixels whose centre lies in the turned rectangle. Its first and last row and column all hold
        a True.
    rows, columns:
        h x w intp: for each pixel of the mask, the pixel of the upright rectangle that it shows (nearest
        neighbour). Outside the mask the values are valid indices without meaning.
    """

    mask: Mask
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]


def rotated_rectangle(height: int, width: int, degrees: float) -> RotatedRectangle:
    """Turn an upright ``height`` x ``width`` rectangle counter-clockwise, expanding the canvas so nothing is cut."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # The tolerance keeps a rotation by 0 or 90 degrees from growing by a pixel through rounding.
    canvas_height = math.ceil(height * abs(cos) + width * abs(sin) - 1e-9)
    canvas_width = math.ceil(width * abs(cos) + height * abs(sin) - 1e-9)
    # A side and its canvas are both odd or both even, so that a line one pixel wide runs through pixel centres.
    canvas_height += (canvas_height - height) % 2
    canvas_width += (canvas_width - width) % 2
    y = (np.arange(canvas_height) + 0.5 - canvas_height / 2)[:, None]
    x = (np.arange(canvas_width) + 0.5 - canvas_width / 2)[None, :]
    # Each canvas pixel is turned back into the upright rectangle (rows point down).
    row = np.floor(y * cos + x * sin + height / 2 + 1e-9).astype(np.intp)
    column = np.floor(x * cos - y * sin + width / 2 + 1e-9).astype(np.intp)
    mask = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    keep = np.ix_(mask.any(axis=1), mask.any(axis=0))  # drops the empty lines at the rim
    return RotatedRectangle(mask[keep], row[keep].clip(0, height - 1), column[keep].clip(0, width - 1))


def _clamp(size: float, limit: int) -> int:
    return min(max(int(size + 0.5), 1), limit)
