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
    """Counts the True pixels of a mask inside boxes.

    Parameters
    ----------
    mask:
        H x W bool, of less than 2**31 pixels.
    """

    def __init__(self, mask: Mask) -> None:
        self._sums = np.asarray(cv2.integral(mask.view(np.uint8)))  # (H + 1) x (W + 1) int32

    def count(self, y0: Ints, x0: Ints, y1: Ints, x1: Ints) -> npt.NDArray[np.int64]:
        """Count in rows ``y0 <= y < y1`` and columns ``x0 <= x < x1``.

        Arrays of any one shape (or integers), 0 <= y0 <= y1 <= H and 0 <= x0 <= x1 <= W; int64 of that shape.
        """
        sums = self._sums
        counts: npt.NDArray[np.int64] = np.asarray(
            sums[y1, x1].astype(np.int64) - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        )
        return counts


def first_true(accepted: Mask) -> int | None:
    """Index of the first True of a one-dimensional array, or None."""
    index = int(np.argmax(accepted)) if accepted.size else 0
    return index if accepted.size and accepted[index] else None
