"""Labels from what a synthesis changed: where, by how much, and how sure one may be that it shows.

The chain is that of Schlueter et al., "Natural Synthetic Anomalies", ECCV 2022, and its published code: the change
mask, its 5 x 5 median, the change's median over a disk, and a logistic curve on that. The mean over three bytes is a
third of an integer, so everything is computed on integer sums, exactly, and only where something changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ias_zoo.imaging.foreground import binary_median, channel_sum

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Map = npt.NDArray[np.float32]

DISK_RADIUS = 5
_BLOCK = 4096  # pixels; the 81 neighbours of a block stay in the processor's cache


def change_mask(before: RGB, after: RGB, where: Mask, tolerance: float = 1.0) -> Mask:
    """Where the pictures differ, without grain.

    Parameters
    ----------
    before, after:
        H x W x 3 uint8.
    where:
        H x W bool: only here are they compared.
    tolerance:
        Grey levels of 0-255: a pixel has changed if its mean absolute difference over the channels exceeds it.

    Returns
    -------
    H x W bool: the changed pixels after a 5 x 5 median, which may fill notches of ``where`` but never leaves its
    bounding box.
    """
    mask = np.zeros(where.shape, np.bool_)
    box = _around(where)
    if box is not None:
        changed = channel_sum(np.asarray(cv2.absdiff(before[box], after[box]), np.uint8)) > 3.0 * tolerance
        mask[box] = binary_median(changed & where[box], 5)
    return mask


def median_difference(before: RGB, after: RGB, mask: Mask, at: Mask | None = None) -> Map:
    """Median, over a disk of radius 5, of the masked mean absolute difference.

    Parameters
    ----------
    before, after:
        H x W x 3 uint8.
    mask:
        H x W bool: the difference counts as 0 elsewhere.
    at:
        H x W bool: where the median is wanted. None: wherever it can be other than 0.

    Returns
    -------
    H x W float32, grey levels of 0-255, 0 where it is not wanted. The border pixels are repeated outwards.
    """
    result = np.zeros(mask.shape, np.float32)
    box = _around(mask)
    if box is None:
        return result
    inside = mask[box]
    difference = channel_sum(np.asarray(cv2.absdiff(before[box], after[box]), np.uint8))
    difference *= inside
    wanted = _majority_in_disk(inside) if at is None else at[box]
    result[box][wanted] = disk_median(difference, wanted).astype(np.float32) / np.float32(3)
    return result


def logistic_label(difference: Map, mask: Mask, steepness: float, midpoint: float) -> Map:
    """1 / (1 + exp(-k (d - x0))) inside the mask, 0 outside.

    Parameters
    ----------
    difference:
        H x W float32 d, grey levels of 0-255.
    mask:
        H x W bool.
    steepness, midpoint:
        k in 1 / grey level, and x0 in grey levels, where the label is one half.

    Returns
    -------
    H x W float32 in [0, 1].
    """
    label = np.zeros(mask.shape, np.float32)
    exponent = -steepness * (difference[mask].astype(np.float64) - midpoint)
    label[mask] = 1.0 / (1.0 + np.exp(np.clip(exponent, -80.0, 80.0)))  # beyond, float32 holds 0 and 1
    return label


def disk_median(values: npt.NDArray[np.uint16], at: Mask, radius: int = DISK_RADIUS) -> npt.NDArray[np.uint16]:
    """Median over a disk at chosen pixels, exact, the border pixels repeated outwards.

    Parameters
    ----------
    values:
        H x W uint16.
    at:
        H x W bool: the pixels.
    radius:
        Of the disk y^2 + x^2 <= radius^2, at most 8 (then it has 197 pixels, and a byte can count them).

    Returns
    -------
    N uint16, in the order of ``values[at]``.

    Notes
    -----
    The median of an odd number of integers is the largest t that more than half of them reach. It is found bit by
    bit, for thousands of pixels at once: plain comparisons and sums, as fast on any processor.
    """
    if not 0 <= radius <= 8:
        raise ValueError(f"radius {radius}: expected 0 to 8")
    padded = cv2.copyMakeBorder(values, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    flat, width = np.asarray(padded).ravel(), padded.shape[1]
    dy, dx = np.nonzero(_disk(radius))
    offsets = (dy * width + dx)[:, None]  # from the window's top-left corner
    rows, columns = np.nonzero(at)
    corners = rows * width + columns
    medians = np.empty(corners.size, np.uint16)
    for start in range(0, corners.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        medians[block] = _medians(flat[corners[block] + offsets])
    return medians


def _medians(neighbours: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Medians of the columns of an n x N array, n odd and at most 255."""
    half = neighbours.shape[0] // 2
    median = np.zeros(neighbours.shape[1], np.uint16)
    for bit in reversed(range(int(neighbours.max()).bit_length())):
        trial = median | np.uint16(1 << bit)
        reached = np.sum(neighbours >= trial, axis=0, dtype=np.uint8)
        median = np.where(reached > half, trial, median)
    return median


def _majority_in_disk(mask: Mask) -> Mask:
    """Where more than half of the disk is in the mask: elsewhere the median of a masked quantity is 0."""
    disk = _disk(DISK_RADIUS).astype(np.float32)
    votes = cv2.filter2D(mask.view(np.uint8), cv2.CV_32F, disk, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(votes > disk.sum() / 2)


def _disk(radius: int) -> Mask:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(y * y + x * x <= radius * radius)


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, slice] | None:
    """Index of the smallest box around a mask (H x W bool), with a margin cut at the border; None if it is empty."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    if width == 0:
        return None
    rows = slice(max(y - margin, 0), min(y + height + margin, mask.shape[0]))
    return rows, slice(max(x - margin, 0), min(x + width + margin, mask.shape[1]))


def _around(mask: Mask) -> tuple[slice, slice] | None:
    """The mask's bounding box and one pixel more on each side, cut at the image's border; None if the mask is empty.

    A window centred outside the bounding box sees less than half of its pixels inside, so the medians are 0 there; and
    repeating the crop's edge outwards repeats zeros, as the whole image has them.
    """
    return bounding_box(mask, margin=1)
