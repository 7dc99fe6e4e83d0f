"""Grids of square cells over an image: split into equal random parts, and windows of cells around one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Cells = npt.NDArray[np.uint8]

__all__ = ["cell_counts", "enlarge", "partition", "window_start"]


def cell_counts(height: int, width: int, side: int) -> tuple[int, int]:
    """How many cells of ``side`` pixels cover an image, down and across; the last ones may stand out over its edge."""
    return -(-height // side), -(-width // side)


def partition(rows: int, columns: int, parts: int, rng: np.random.Generator) -> Cells:
    """Give each cell of a grid to one of ``parts`` parts at random, the parts' sizes differing by one cell at most.

    Returns
    -------
    rows x columns uint8, values 0..parts-1 (``parts`` at most 256).
    """
    count = rows * columns
    bounds = [count * part // parts for part in range(parts + 1)]
    # By the rank of a random number: a selection instead of a shuffle, so the time grows with the cells alone.
    keys = rng.random((rows, columns))
    inner = [bound for bound in bounds[1:-1] if bound < count]
    least = np.partition(keys, inner, axis=None)[inner] if inner else ()
    cells = np.zeros((rows, columns), np.uint8)
    for key in least:  # the smallest key of each part but the first
        cells += keys >= key
    return cells


def enlarge(cells: Cells, side: int, height: int, width: int) -> Cells:
    """Repeat each cell ``side`` times down and across and cut the result to the image: height x width uint8."""
    size = (cells.shape[1] * side, cells.shape[0] * side)
    return np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_NEAREST), np.uint8)[:height, :width]


def window_start(cell: int, length: int, count: int) -> int:
    """First cell of a window of ``length`` cells with ``cell`` in its middle, moved to lie within 0..count-1.

    For an even length the middle is the cell after it. ``length`` is at most ``count``.
    """
    return min(max(cell - length // 2, 0), count - length)
