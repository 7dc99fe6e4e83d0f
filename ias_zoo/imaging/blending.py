"""Pasting and blending a picture into another; pixels outside the mask, or of weight 0, stay as they are, bit for bit.

Poisson blending is in :mod:`ias_zoo.imaging.poisson`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ias_zoo.imaging.labels import bounding_box

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    from ias_zoo.imaging.patches import Box

    Weights = npt.NDArray[np.float32]

__all__ = ["alpha_paste", "canvas", "mix", "paste", "soft_edge"]

STRIP = 64  # lines


def canvas(normal: RGB) -> tuple[RGB, Mask]:
    """A copy of the normal to draw on, and an empty mask of its size."""
    return normal.copy(), np.zeros(normal.shape[:2], np.bool_)


def paste(image: RGB, mask: Mask, patch: RGB, box: Box, shape: Mask | None = None) -> None:
    """Put a patch into a picture in place, and add its pixels to the mask.

    Parameters
    ----------
    image, mask:
        H x W x 3 uint8 RGB and H x W bool; both are changed.
    patch:
        h x w x 3 uint8 RGB, of the box's size.
    box:
        Where it comes, inside the picture.
    shape:
        h x w bool: which of its pixels are pasted. None: all.
    """
    if shape is None:
        image[box.slices], mask[box.slices] = patch, True
    else:
        image[box.slices][shape] = patch[shape]
        mask[box.slices] |= shape


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
    box = bounding_box(mask)
    if box is None:
        return image
    target, below, above, inside = image[box], normal[box], texture[box], mask[box].view(np.uint8)
    blend = np.empty((min(STRIP, len(target)), *target.shape[1:]), np.uint8)
    for top in range(0, len(target), STRIP):  # in place, and a strip at a time: stays in the processor's cache
        strip = np.s_[top : top + STRIP]
        part = blend[: len(target[strip])]
        cv2.addWeighted(below[strip], b, above[strip], 1.0 - b, 0.0, dst=part)
        cv2.copyTo(part, inside[strip], target[strip])
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
