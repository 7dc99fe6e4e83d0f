"""From the model's square back to a normal's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo.data.images import resize_image
from ias_zoo.training.shots import Window

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

Share = np.ndarray[Any, np.dtype[np.float32]]


def grown(cells: Mask, mask: Mask, cell: int) -> Share:
    """How much of a sample to take, S x S in 0..1: all in the painted cells (h x w) and on the mask, none far away."""
    painted = np.kron(cells, np.ones((cell, cell), dtype=np.bool_)) | mask
    reach = cell // 2
    grown = cv2.dilate(painted.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    soft = cv2.blur(grown.astype(np.float32), (2 * reach + 1, 2 * reach + 1))
    return np.asarray(np.where(mask, 1.0, soft), dtype=np.float32)


def inside(mask: Mask) -> Share:
    """The share that keeps a sample to its mask, S x S in 0..1: all on the mask, a third to two thirds a pixel off."""
    return np.asarray(np.where(mask, 1.0, cv2.blur(mask.astype(np.float32), (3, 3))), dtype=np.float32)


def mixed(normal: RGB, image: RGB, share: Share) -> RGB:
    """The share of the image, the rest of the normal."""
    alpha = share[:, :, None]
    sums = normal * (1 - alpha) + image * alpha
    return np.asarray(np.clip(np.rint(sums), 0, 255), dtype=np.uint8)


def put_back(normal: RGB, image: RGB, share: Share, window: Window) -> RGB:
    """A sample in its window of the normal, at the normal's size."""
    whole = np.array(normal)
    large_share = cv2.resize(share, (window.side, window.side), interpolation=cv2.INTER_LINEAR)
    large = resize_image(image, window.side, window.side)
    whole[window.box] = mixed(normal[window.box], large, np.asarray(large_share, dtype=np.float32))
    return whole


def spread_out(mask: Mask, window: Window, shape: tuple[int, ...]) -> Mask:
    """A mask of the model's size in the normal's frame; it does not become empty where the frame is coarser."""
    whole = np.zeros(shape[:2], dtype=np.bool_)
    side = (window.side, window.side)
    kept = cv2.resize(mask.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
    whole[window.box] = (
        kept if kept.any() else cv2.resize(mask.astype(np.float32), side, interpolation=cv2.INTER_AREA) > 0
    )
    return whole
