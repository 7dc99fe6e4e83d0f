"""Cutting a picture into a grid of equal tiles and putting them back in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]

__all__ = ["permute_tiles"]


def permute_tiles(image: RGB, rows: int, columns: int, order: npt.NDArray[np.integer]) -> RGB:
    """Reorder the tiles of a picture; no tile is turned.

    A side that the grid does not divide is first continued, by repeating its border, to the next that it does; the
    result is cut to the picture's size again.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    rows, columns:
        The grid, tiles down and across.
    order:
        A permutation of rows * columns integers: place ``i`` (row by row) gets tile ``order[i]``.

    Returns
    -------
    H x W x 3 uint8 RGB, a new array.
    """
    height, width = image.shape[:2]
    tall, wide = -(-height // rows), -(-width // columns)
    extra = (0, rows * tall - height, 0, columns * wide - width)
    padded = cv2.copyMakeBorder(image, *extra, cv2.BORDER_REPLICATE) if any(extra) else image
    tiles = padded.reshape(rows, tall, columns, wide, 3)
    source_row, source_column = np.divmod(np.asarray(order).reshape(rows, columns), columns)
    # rows x columns x tall x wide x 3, then back to a picture
    moved = tiles[source_row, :, source_column].transpose(0, 2, 1, 3, 4).reshape(rows * tall, columns * wide, 3)
    return np.ascontiguousarray(moved[:height, :width], dtype=np.uint8)
