"""Irregular masks of free-form strokes and rectangles, as used to train networks that fill holes (our design)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]

__all__ = ["irregular_mask"]

RECTANGLE = (16, 64)  # pixels a side in an image of 256
STROKE_WIDTH, STROKE_STEP = (8, 24), (20, 60)  # pixels in an image of 256
STROKE_POINTS = (3, 8)
MOST_SHAPES = 400


def irregular_mask(within: Mask, share: float, rng: np.random.Generator) -> Mask:
    """Draw strokes and rectangles, half and half, until they cover a share of a region.

    Parameters
    ----------
    within:
        H x W bool, not empty: where the mask may be. Shapes start at its pixels and are cut at its border.
    share:
        Of the region's pixels, in (0, 1]: the mask covers this much, and at most one shape more.
    rng:
        Draws everything.

    Returns
    -------
    H x W bool, not empty. Sizes are 16 to 64 pixels for rectangles and 8 to 24 for the width of strokes, times
    min(H, W) / 256.
    """
    height, width = within.shape
    scale = min(height, width) / 256
    places = np.flatnonzero(within)
    wanted = max(1, round(share * places.size))
    canvas = np.zeros((height, width), np.uint8)
    allowed = within.view(np.uint8)
    for _ in range(MOST_SHAPES):
        y, x = divmod(int(places[rng.integers(places.size)]), width)
        if rng.random() < 0.5:
            h, w = (max(1, round(side * scale)) for side in rng.integers(RECTANGLE[0], RECTANGLE[1] + 1, size=2))
            cv2.rectangle(canvas, (x - w // 2, y - h // 2), (x - w // 2 + w - 1, y - h // 2 + h - 1), 1, cv2.FILLED)
        else:
            points = rng.integers(STROKE_POINTS[0], STROKE_POINTS[1] + 1)
            angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(-1.2, 1.2, points))
            steps = rng.uniform(*STROKE_STEP, points) * scale
            moves = np.cumsum(np.stack([steps * np.cos(angles), steps * np.sin(angles)], axis=1), axis=0)
            line = np.rint(np.vstack([np.zeros(2), moves]) + np.array([x, y])).astype(np.int32)
            cv2.polylines(canvas, [line], False, 1, max(1, round(rng.uniform(*STROKE_WIDTH) * scale)))
        cv2.bitwise_and(canvas, allowed, canvas)
        if cv2.countNonZero(canvas) >= wanted:
            break
    return canvas.view(np.bool_)
