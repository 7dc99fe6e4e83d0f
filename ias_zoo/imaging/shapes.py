"""Outlines to fill: smooth or jagged blobs of closed Bezier curves, and clumps of noise cut out by them.

The two shapes of Lyu, Mo, Wong, "REB: Reducing Biases in Representation for Industrial Anomaly Detection",
Knowledge-Based Systems 2024. Each is a tight mask: h x w bool.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Points = npt.NDArray[np.float64]
    Levels = npt.NDArray[np.uint8]

__all__ = ["bezier_blob", "coarse_noise", "noise_clump", "smooth_outline"]

PULLS = (0.2, 0.3, 0.4)
CANVAS = 100  # control points have whole coordinates below this
SAMPLES = 12  # places on a segment, the last of which begins the next one
CLUMP_LEVELS, CLUMP_THRESHOLD = (77, 177), 138


def bezier_blob(height: int, width: int, rng: np.random.Generator, points: tuple[int, int] = (5, 6)) -> Mask:
    """Draw a blob that touches all four sides of its box.

    Control points with whole coordinates from 0..99, their number uniform over ``points``, sorted by angle about their
    mean, smoothed with a pull from 0.2, 0.3 or 0.4; each segment is straight with a chance of one half.
    """
    while True:
        count = int(rng.integers(points[0], points[1] + 1))
        vertices = rng.integers(CANVAS, size=(count, 2)).astype(np.float64)
        offset = vertices - vertices.mean(axis=0)
        vertices = vertices[np.argsort(np.arctan2(offset[:, 1], offset[:, 0]), kind="stable")]
        pull, straight = PULLS[int(rng.integers(len(PULLS)))], rng.random(count) < 0.5
        if len(np.unique(vertices, axis=0)) == count:  # two points in one place have no direction between them
            break
    outline = smooth_outline(vertices, pull, straight)
    outline -= outline.min(axis=0)
    reach = outline.max(axis=0)
    outline = outline / np.where(reach > 0, reach, 1.0) * [width - 1, height - 1]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [outline.astype(np.int32)], 1)
    return mask.view(np.bool_)


def smooth_outline(vertices: Points, pull: float, straight: npt.NDArray[np.bool_]) -> Points:
    """Sample a closed curve of cubic Beziers through the vertices.

    At a vertex v between two edges, s divides the line between their midpoints as the edges' lengths do; the midpoints,
    shifted by v - s so that v lies on their line and then pulled towards v by ``pull``, are the controls before and
    behind v. A larger pull makes sharper corners.

    Parameters
    ----------
    vertices:
        n x 2 float64 (x, y), no two neighbours equal.
    straight:
        n bool: whether the segment from vertex i to the next is a straight line.

    Returns
    -------
    Points x 2: 11 for each curved segment, 1 for each straight one.
    """
    following = np.roll(vertices, -1, axis=0)
    middle = (vertices + following) / 2.0
    length = np.linalg.norm(following - vertices, axis=1)[:, None]
    before_middle, before_length = np.roll(middle, 1, axis=0), np.roll(length, 1, axis=0)
    divide = before_middle + (middle - before_middle) * before_length / (before_length + length)
    shift = vertices - divide
    incoming = (before_middle + shift) + (divide - before_middle) * pull
    outgoing = (middle + shift) + (divide - middle) * pull
    t = np.linspace(0.0, 1.0, SAMPLES)[:-1, None, None]
    curve = (
        (1 - t) ** 3 * vertices
        + 3 * t * (1 - t) ** 2 * outgoing
        + 3 * t**2 * (1 - t) * np.roll(incoming, -1, axis=0)
        + t**3 * following
    )  # samples x segments x 2
    keep = np.ones(curve.shape[:2], np.bool_)
    keep[1:, straight] = False
    return np.asarray(curve.transpose(1, 0, 2)[keep.T])


def noise_clump(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Draw the specks of coarse noise inside a blob of 5 to 9 points.

    Noise cells are s = U(5, 7) pixels, stretched by a log-uniform factor from [1/2, 2] along the columns and by its
    inverse along the rows.
    """
    cell = rng.uniform(5.0, 7.0)
    stretch = math.exp(rng.uniform(-math.log(2.0), math.log(2.0)))
    noise = coarse_noise(height, width, height / cell * stretch, width / cell / stretch, CLUMP_LEVELS, 1, rng)
    return np.asarray(bezier_blob(height, width, rng, (5, 9)) & (noise[..., 0] > CLUMP_THRESHOLD))


def coarse_noise(
    height: int,
    width: int,
    rows: float,
    columns: float,
    levels: tuple[int, int],
    channels: int,
    rng: np.random.Generator,
) -> Levels:
    """Enlarge uniform whole levels from ``rows`` x ``columns`` (at least 1 each, truncated), bicubically.

    Parameters
    ----------
    levels:
        Least and greatest level, both included, 0-255.

    Returns
    -------
    height x width x channels uint8; the channels are independent.
    """
    size = max(1, int(rows)), max(1, int(columns))
    small = rng.integers(levels[0], levels[1] + 1, size=(*size, channels), dtype=np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8).reshape(height, width, channels)
