"""Gradient noise after Perlin (*Improving Noise*, SIGGRAPH 2002), one octave, for any image size; masks made of it.

The usual array implementations tile gradients to full size and therefore need an image that is divisible by the
number of cells. Here the noise is evaluated for each pixel from its own cell, which has no such limit and gives the
same values where they are defined. Speed comes from separability: a pixel's value is linear in the gradients of its
four lattice points, so the column direction is resolved on the few lattice rows first, and full-size arrays are
touched in the row direction alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Field = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

__all__ = ["perlin", "perlin_from_angles", "perlin_mask", "rotate"]

_BLOCK = 32768  # pixels
MASK_TRIES = 20
FALLBACK_SHARE = 0.05  # the mean area of the masks that the texture-mixing methods publish


def perlin(height: int, width: int, cells_y: int, cells_x: int, rng: np.random.Generator) -> Field:
    """Draw Perlin noise.

    Parameters
    ----------
    height, width:
        Size of the field in pixels, each at least 1.
    cells_y, cells_x:
        Number of lattice cells down and across, each at least 1: more cells, smaller blobs.
    rng:
        Draws (cells_y + 1) x (cells_x + 1) gradient angles from U(0, 2 pi).

    Returns
    -------
    height x width float32 in [-1, 1], zero at the lattice points; not periodic.
    """
    return perlin_from_angles(height, width, rng.uniform(0.0, 2.0 * np.pi, (cells_y + 1, cells_x + 1)))


def perlin_from_angles(height: int, width: int, angles: npt.NDArray[np.float64]) -> Field:
    """Evaluate Perlin noise for given gradients.

    Parameters
    ----------
    height, width:
        Size of the field in pixels.
    angles:
        (cells_y + 1) x (cells_x + 1) float64 in radians. A lattice point's unit gradient is (cos, sin) of its
        angle; the first component belongs to the rows.

    Returns
    -------
    height x width float32 in [-1, 1].

    Notes
    -----
    Pixel (i, j) lies at y = i * cells_y / height and x = j * cells_x / width, so pixel (0, 0) is a lattice point.
    With (p, q) its cell and (u, v) its place in it, corner (r, s) contributes g[p+r, q+s] . (u-r, v-s), weighted by
    the fade 6t^5 - 15t^4 + 10t^3 in both directions; the sum is scaled by sqrt(2).
    """
    cells_y, cells_x = angles.shape[0] - 1, angles.shape[1] - 1
    gradient_y, gradient_x = np.cos(angles) * np.sqrt(2.0), np.sin(angles) * np.sqrt(2.0)
    q, v, fade_x = _cells(width, cells_x)
    p, u, fade_y = _cells(height, cells_y)
    # Across, on lattice rows only: slope (what is multiplied by u - r) and offset, each (cells_y + 1) x width.
    left, right = 1.0 - fade_x, fade_x
    slope = (left * gradient_y[:, q] + right * gradient_y[:, q + 1]).astype(np.float32)
    offset = (left * v * gradient_x[:, q] + right * (v - 1.0) * gradient_x[:, q + 1]).astype(np.float32)
    # Down, at full size: whole rows are copied, then weighted by their own two numbers. A block of rows at a time
    # stays in the processor's cache.
    top, bottom = 1.0 - fade_y, fade_y
    weights = np.stack([top * u, bottom * (u - 1.0), top, bottom]).astype(np.float32)[..., None]
    field = np.empty((height, width), dtype=np.float32)
    step = max(1, _BLOCK // width)
    # Where the rows of a cell fill a block, its lattice rows need no copies: a block is then rows of one cell.
    tall = height // cells_y >= step
    starts = np.unique(np.concatenate([np.arange(0, height, step), np.searchsorted(p, np.arange(cells_y))]))
    for start, end in pairwise([*(starts if tall else range(0, height, step)), height]):
        rows = slice(start, end)
        block, cell = field[rows], p[start : start + 1] if tall else p[rows]
        np.multiply(slope[cell], weights[0, rows], out=block)
        for values, weight in zip((slope[cell + 1], offset[cell], offset[cell + 1]), weights[1:, rows], strict=True):
            block += values * weight
        np.clip(block, -1.0, 1.0, out=block)  # float32 may round just past the bound
    return field


def rotate(field: Field, degrees: float) -> Field:
    """Turn a field counter-clockwise about its centre: bilinear, zeros where nothing was, same size."""
    import cv2

    height, width = field.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(cv2.warpAffine(field, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.float32)


def perlin_mask(
    size: tuple[int, ...],
    rng: np.random.Generator,
    *,
    given: Mask | None = None,
    region: Mask | None = None,
    max_cells: int = 32,
    threshold: float | tuple[float, float] = 0.5,
    retry_empty: bool = True,
) -> tuple[Mask, dict[str, Any]]:
    """Threshold turned Perlin noise, as the texture-mixing methods draw their masks.

    The noise has 2^i x 2^j cells, i and j independent and uniform up to ``max_cells``, and is turned by U(-90, 90)
    degrees with zeros in the corners.

    Parameters
    ----------
    size:
        Height and width.
    given:
        H x W bool: the mask to take instead of noise (a copy, within the region); nothing is drawn then.
    region:
        H x W bool: noise outside it does not count. None: anywhere.
    max_cells:
        The most cells along an axis, a power of two.
    threshold:
        What the noise must exceed; a pair is a range to draw it from.
    retry_empty:
        Draw anew while nothing is left, up to 20 times. After that (which takes a very small region or image) the
        threshold is lowered on upright noise until 5 % of the region lies above it.

    Returns
    -------
    H x W bool, and the drawn ``cells``, ``noise_degrees`` and ``threshold`` (none for a given mask).
    """
    if given is not None:
        return (given.copy() if region is None else given & region), {}
    height, width = size
    exponents = max_cells.bit_length()  # 2^0 ... 2^(exponents - 1)
    for _ in range(MASK_TRIES if retry_empty else 1):
        cells_y, cells_x = (2 ** int(exponent) for exponent in rng.integers(exponents, size=2))
        degrees = rng.uniform(-90.0, 90.0)
        level = rng.uniform(*threshold) if isinstance(threshold, tuple) else threshold
        upright = perlin(height, width, cells_y, cells_x, rng)
        mask: Mask = rotate(upright, degrees) > np.float32(level)
        if region is not None:
            mask &= region
        drawn = {"cells": [cells_y, cells_x], "noise_degrees": degrees, "threshold": level}
        if mask.any() or not retry_empty:
            return mask, drawn
    inside = np.ones(size, dtype=np.bool_) if region is None else region
    values = np.sort(upright[inside])
    level = float(values[int((1.0 - FALLBACK_SHARE) * values.size)])
    return inside & (upright >= np.float32(level)), {**drawn, "noise_degrees": 0.0, "threshold": level}


def _cells(size: int, cells: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For each pixel along one axis: its cell, its place in the cell in [0, 1), and the fade of that place."""
    cell, remainder = np.divmod(np.arange(size) * cells, size)  # whole numbers: no rounding at cell borders
    t = remainder / size
    return cell, t, t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
