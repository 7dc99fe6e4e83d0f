"""Choosing boxes by what they hold.

"Draw a place until it fits, 200 times at most" becomes "draw 200 places at once and take the first that fits": the
same law without a loop, as each box is judged in O(1) by a summed-area table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.integer]


class BoxCounter:
    """Counts the True pixels of a mask inside boxes; ``total`` is their number.

    Parameters
    ----------
    mask:
        H x W bool, of less than 2**31 pixels.
    """

    def __init__(self, mask: Mask) -> None:
        self._sums = np.asarray(cv2.integral(mask.view(np.uint8)), np.int32)  # (H + 1) x (W + 1)
        self.total = int(self._sums[-1, -1])

    def count(self, top: Ints, left: Ints, height: Ints | int, width: Ints | int) -> npt.NDArray[np.int64]:
        """Count inside boxes of ``height`` x ``width`` pixels whose first pixel is at (``top``, ``left``).

        Integer arrays whose shapes broadcast; every box lies inside the mask and may be empty. int64 of that shape.
        """
        bottom, right, sums = top + height, left + width, self._sums
        counts = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return np.asarray(counts, np.int64)


def first_true(accepted: Mask) -> int | None:
    """Index of the first True of a one-dimensional array, or None."""
    index = int(np.argmax(accepted)) if accepted.size else 0
    return index if accepted.size and accepted[index] else None
