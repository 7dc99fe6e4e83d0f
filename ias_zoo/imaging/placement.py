"""Where patches come: anywhere, around a pixel of a region, or where enough of the box lies on it.

Placement within a region is our design: most published methods paste anywhere. "Draw a place until it fits, 200 times
at most" becomes "draw 200 places at once and take the first that fits": the same law without a loop, as each box is
judged in O(1) by a summed-area table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ias_zoo.imaging.patches import Box

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.integer]


PLACES = 200
"""How many places are tried at once."""


def place(limits: tuple[int, ...], size: tuple[int, ...], rng: np.random.Generator, region: Mask | None = None) -> Box:
    """Put a box into a picture.

    Parameters
    ----------
    limits, size:
        Height and width of the picture and of the box, which fits into it.
    region:
        H x W bool, not empty: the box's centre is one of its pixels, uniformly, and the box is then moved into the
        picture; it still covers that pixel. None: uniform over all positions.
    """
    if region is None:
        top, left = (int(rng.integers(limit - side + 1)) for limit, side in zip(limits[:2], size[:2], strict=True))
        return Box(top, left, size[0], size[1])
    y, x = random_pixel(region, rng)
    return Box(int(start(y, size[0], limits[0])), int(start(x, size[1], limits[1])), size[0], size[1])


def random_pixel(region: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """A pixel (y, x) of a region (H x W bool, not empty), uniformly."""
    pixels = np.flatnonzero(region)
    y, x = divmod(int(pixels[rng.integers(pixels.size)]), region.shape[1])
    return y, x


def start(middle: Ints | int, length: Ints | int, limit: int) -> Ints:
    """Along one axis: the first pixel of a box with ``middle`` in its middle, moved to lie within 0..limit-1."""
    return np.clip(middle - length // 2, 0, limit - length)


class BoxCounter:
    """Counts the True pixels of a mask inside boxes; ``total`` is their number, ``shape`` the mask's.

    Parameters
    ----------
    mask:
        H x W bool, of less than 2**31 pixels.
    """

    def __init__(self, mask: Mask) -> None:
        self._sums = np.asarray(cv2.integral(mask.view(np.uint8)), np.int32)  # (H + 1) x (W + 1)
        self.total = int(self._sums[-1, -1])
        self.shape = mask.shape

    def count(self, top: Ints, left: Ints, height: Ints | int, width: Ints | int) -> npt.NDArray[np.int64]:
        """Count inside boxes of ``height`` x ``width`` pixels whose first pixel is at (``top``, ``left``).

        Integer arrays whose shapes broadcast; every box lies inside the mask and may be empty. int64 of that shape.
        """
        bottom, right, sums = top + height, left + width, self._sums
        counts = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return np.asarray(counts, np.int64)


def place_covered(
    counter: BoxCounter, pixels: Ints, height: int, width: int, share: float, rng: np.random.Generator
) -> Box | None:
    """Put a box where at least ``share`` of it is on the counter's mask.

    200 places are drawn at once, the box's centre uniform over the mask's pixels and the box then moved into the image;
    the first that fits is taken.

    Parameters
    ----------
    counter:
        Of an H x W mask.
    pixels:
        Flat indices of the mask's True pixels.
    height, width:
        The box's size, at most the mask's.

    Returns
    -------
    None where none of the 200 fits.
    """
    rows, columns = counter.shape
    y, x = np.divmod(pixels[rng.integers(pixels.size, size=PLACES)], columns)
    top, left = start(y, height, rows), start(x, width, columns)
    chosen = first_true(counter.count(top, left, height, width) >= share * height * width)
    return None if chosen is None else Box(int(top[chosen]), int(left[chosen]), height, width)


def first_true(accepted: Mask) -> int | None:
    """Index of the first True of a one-dimensional array, or None."""
    index = int(np.argmax(accepted)) if accepted.size else 0
    return index if accepted.size and accepted[index] else None
