"""NSA's published steps, written straight on OpenCV and SciPy: what ``ias_zoo``'s ``nsa`` is measured against.

The texture row, or an object row by its background tones; ``cv2.seamlessClone`` for blending, a loop of up to 200
attempts for each place, full-size medians, and the published clipping of sizes. Our own writing after arXiv 2109.15222
and github.com/hmsch/natural-synthetic-anomalies (MIT).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import median_filter


def nsa_direct(
    normal: Any,
    source: Any,
    rng: np.random.Generator,
    label: str = "logistic",
    *,
    background: Sequence[tuple[float, float]] | None = None,
    patches: int = 4,
    bounds: tuple[float, float] = (0.03, 0.4),
    resize_bounds: tuple[float, float] = (0.5, 2.0),
    mixed: bool = True,
    min_object_share: float = 0.5,
    min_overlap_share: float = 0.25,
    steepness: float = 1 / 3,
    midpoint: float = 7.0,
) -> tuple[Any, Any]:
    """Make one NSA sample: the image (H x W x 3 uint8) and its label (H x W: logistic float, or binary bool)."""
    on_normal = on_source = None
    if background is not None:
        on_normal, on_source = _product(normal, background), _product(source, background)
    image, touched = normal.copy(), np.zeros(normal.shape[:2], np.uint8)
    for index in range(patches):
        if index > 0 and rng.random() < 0.5:
            continue
        cut = _cut(source, on_source, rng, bounds, resize_bounds, min_object_share)
        if cut is None:
            continue
        pixels, product = cut
        height, width = pixels.shape[:2]
        place = _place(normal.shape[:2], (height, width), product, on_normal, rng, min_object_share, min_overlap_share)
        if place is None:
            continue
        top, left = place
        patch_mask = np.ones((height, width), np.uint8)
        clone = np.full((height, width), 255, np.uint8)
        if product is not None and on_normal is not None:
            there = on_normal[top : top + height, left : left + width]
            patch_mask &= product | there
            clone = 255 * (patch_mask | ((1 - product) & (1 - there)))
        clone[[0, -1]] = 0
        clone[:, [0, -1]] = 0
        if np.count_nonzero(clone) < 50:
            continue
        mode = cv2.MIXED_CLONE if mixed else cv2.NORMAL_CLONE
        image = cv2.seamlessClone(pixels, image, clone, (left + width // 2, top + height // 2), mode)
        touched[top : top + height, left : left + width] |= patch_mask
    mask = _difference(normal, image, touched) > 1
    mask = cv2.medianBlur(mask.astype(np.uint8), 5)
    if label == "binary":
        return image, mask.astype(bool)
    y, x = np.ogrid[-5:6, -5:6]
    difference = median_filter(_difference(normal, image, mask), footprint=y * y + x * x <= 25, mode="nearest")
    return image, mask / (1 + np.exp(-steepness * (difference - midpoint)))


def _difference(before: Any, after: Any, mask: Any) -> Any:
    mask = mask[..., None]
    return np.mean(np.abs(1.0 * mask * before - 1.0 * mask * after), axis=-1)


def _product(image: Any, background: Sequence[tuple[float, float]]) -> Any:
    mask = np.ones(image.shape[:2], np.uint8)
    for tone, threshold in background:
        mask &= (np.abs(image.mean(axis=-1) - tone) > threshold).astype(np.uint8)
    return cv2.medianBlur(mask, 7)


def _cut(
    source: Any,
    on_source: Any,
    rng: np.random.Generator,
    bounds: tuple[float, float],
    resize_bounds: tuple[float, float],
    min_object_share: float,
) -> tuple[Any, Any] | None:
    sides = source.shape[:2]
    low, high = ([round(share * side) for side in sides] for share in bounds)
    half = [int(np.clip((0.03 + rng.gamma(2, 0.05)) * sides[i], low[i], high[i])) for i in (0, 1)]
    for _ in range(200):
        centre = [int(rng.integers(low[i], sides[i] - low[i])) for i in (0, 1)]
        window = tuple(slice(max(centre[i] - half[i], 0), min(centre[i] + half[i], sides[i])) for i in (0, 1))
        if on_source is None or on_source[window].mean() > min_object_share:
            break
    else:
        return None
    pixels = source[window]
    height, width = pixels.shape[:2]
    scale = float(np.clip(rng.normal(1, 0.5), *resize_bounds))
    new_width = int(np.clip(int(np.clip(scale * height, low[0], high[0]) / height * width), low[1], high[1]))
    new_height = int(np.clip(int(new_width / width * height), low[0], high[0]))
    product = None if on_source is None else cv2.resize(on_source[window], (new_width, new_height))
    return cv2.resize(pixels, (new_width, new_height)), product


def _place(
    sides: tuple[int, int],
    size: tuple[int, int],
    product: Any,
    on_normal: Any,
    rng: np.random.Generator,
    min_object_share: float,
    min_overlap_share: float,
) -> tuple[int, int] | None:
    height, width = size
    for _ in range(200):
        top = int(rng.integers(height // 2 + 1, sides[0] - height // 2 - 1)) - height // 2
        left = int(rng.integers(width // 2 + 1, sides[1] - width // 2 - 1)) - width // 2
        if product is None:
            return top, left
        meeting = np.sum(on_normal[top : top + height, left : left + width] & product)
        if product.mean() > min_object_share and meeting / np.sum(product) > min_overlap_share:
            return top, left
    return None
