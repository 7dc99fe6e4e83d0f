"""Blending a picture into another by weights; pixels of weight 0 stay as they are, bit for bit.

Poisson blending is in :mod:`ias_zoo.imaging.poisson`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Weights = npt.NDArray[np.float32]

__all__ = ["alpha_paste", "mix", "soft_edge"]


def mix(normal: RGB, texture: RGB, mask: Mask, b: float) -> RGB:
    """Blend ``b`` of the normal with 1 - ``b`` of the texture inside the mask; elsewhere the normal, bit for bit.

    Parameters
    ----------
    normal, texture:
        H x W x 3 uint8 RGB.
    mask:
        H x W bool.
    b:
        The normal's weight, in [0, 1].

    Returns
    -------
    H x W x 3 uint8 RGB, rounded to the nearest level.
    """
    image = normal.copy()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size:
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        blend = cv2.addWeighted(normal[box], b, texture[box], 1.0 - b, 0.0)
        image[box] = cv2.copyTo(blend, mask[box].view(np.uint8), image[box].copy())
    return image


def alpha_paste(image: RGB, patch: npt.NDArray[np.floating] | RGB, alpha: Weights, top: int, left: int) -> None:
    """Blend a patch into a picture in place: alpha * patch + (1 - alpha) * picture, rounded and clipped to 0..255.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB; changed where ``alpha`` is above 0, and nowhere else.
    patch:
        h x w x 3, levels of 0-255 (float values may lie outside).
    alpha:
        h x w float32 in [0, 1].
    top, left:
        Where the patch's first pixel comes; the patch lies inside the picture.
    """
    box = np.s_[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    below = image[box]
    weight = alpha[..., None]
    blend = below + weight * (patch.astype(np.float32) - below)
    below[...] = np.where(weight > 0, np.clip(np.rint(blend), 0, 255), below).astype(np.uint8)


def soft_edge(mask: Mask, width: float) -> Weights:
    """Weights that rise from 0 to 1 in a ramp ``width`` pixels wide, one half on the mask's edge.

    Every pixel of the mask gets at least 0.5 and every other less, so ``alpha >= 0.5`` gives the mask back. Width 0 is
    a hard edge. A stroke narrower than the ramp does not reach 1: one pixel in a ramp of two gets 0.75.

    Parameters
    ----------
    mask:
        h x w bool. What lies beyond its border counts as outside where a border pixel is outside, so leave a rim.
    width:
        Pixels, >= 0.

    Returns
    -------
    h x w float32 in [0, 1].
    """
    if width <= 0:
        return mask.astype(np.float32)
    inside = mask.view(np.uint8)
    # Distances between pixel centres; the edge lies half a pixel before the nearest pixel of the other kind.
    within = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 5), np.float32)
    beyond = np.asarray(cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5), np.float32)
    signed = np.where(mask, within - 0.5, 0.5 - beyond)
    return np.asarray(np.clip(0.5 + signed / width, 0.0, 1.0), np.float32)
