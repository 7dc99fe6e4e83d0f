"""Procedural textures: pictures made of noise, cells, gratings and patterns, each determined by a random generator.

They stand in for a texture data set where there is none. What counts for that is variety of structure, scale and
colour rather than likeness to any one material. All of it is our design.

Each kind is a function ``(height, width, rng) -> H x W x 3 uint8 RGB`` for any size. Features are sized as shares of
the shorter side, so a texture looks alike at any resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Field = npt.NDArray[np.float32]
    Random = np.random.Generator

__all__ = ["KINDS", "cells", "clouds", "draw_texture", "fbm", "gabor", "grain", "marble", "pattern", "speckle"]


def draw_texture(height: int, width: int, rng: Random, kind: str | None = None) -> tuple[RGB, str]:
    """Make a texture of a kind, or of one drawn uniformly from :data:`KINDS`.

    Returns
    -------
    H x W x 3 uint8 RGB, and the kind's name.
    """
    if kind is None:
        kind = list(KINDS)[int(rng.integers(len(KINDS)))]
    return KINDS[kind](height, width, rng), kind


def fbm(height: int, width: int, rng: Random, scale: float, octaves: int = 5, gain: float = 0.5) -> Field:
    """Make fractal noise: random lattices, each twice as fine and ``gain`` times as strong, smoothly enlarged.

    Parameters
    ----------
    height, width:
        Size in pixels.
    rng:
        Draws the lattices.
    scale:
        Lattice spacing of the first octave as a share of the shorter side.
    octaves, gain:
        How many lattices (fewer where they reach the pixels), and the ratio of their strengths.

    Returns
    -------
    H x W float32, stretched to [0, 1] (all 0.5 where nothing varies).
    """
    spacing, strength = scale * min(height, width), 1.0
    field: Field | None = None
    for _ in range(octaves):
        rows, columns = (max(2, min(round(size / max(spacing, 1.0)) + 1, size + 1)) for size in (height, width))
        lattice = rng.random((rows, columns), dtype=np.float32)
        if field is not None:  # the coarser octaves, enlarged from lattice to lattice: full size is touched once
            lattice *= np.float32(strength)
            lattice += cv2.resize(field, (columns, rows), interpolation=cv2.INTER_CUBIC)
        field = lattice
        if spacing < 2.0:
            break
        spacing, strength = spacing / 2, strength * gain
    return _stretch(cv2.resize(np.asarray(field), (width, height), interpolation=cv2.INTER_CUBIC))


def clouds(height: int, width: int, rng: Random) -> RGB:
    """Fractal noise in each of three colour directions, from blotches to fine grain."""
    scale, gain = _log(rng, 0.03, 0.5), rng.uniform(0.4, 0.8)
    weights = rng.dirichlet((0.7, 0.7, 0.7), 3)  # rows: how R, G and B mix the three fields
    colours = _colours(rng, 2).astype(np.float64)
    fields = [fbm(height, width, rng, scale, gain=gain) for _ in range(3)]
    picture = np.empty((height, width, 3), dtype=np.uint8)
    for channel in range(3):
        low, high = colours[0, channel], colours[1, channel]
        mixed = np.full((height, width), low, dtype=np.float32)
        for field, weight in zip(fields, weights[channel], strict=True):
            mixed += field * np.float32(weight * (high - low))
        picture[..., channel] = np.clip(mixed, 0, 255)
    return picture


def marble(height: int, width: int, rng: Random) -> RGB:
    """Bent veins: a sine of the distance along one direction plus turbulence, coloured by a palette."""
    along, _ = _coordinates(height, width, rng)
    waves, bend = _log(rng, 1.0, 12.0), rng.uniform(0.3, 4.0)
    turbulence = fbm(height, width, rng, _log(rng, 0.1, 0.5))
    phase = along * np.float32(2 * np.pi * waves) + turbulence * np.float32(2 * np.pi * bend)
    return _paint(np.sin(phase) * np.float32(0.5) + np.float32(0.5), rng)


def cells(height: int, width: int, rng: Random) -> RGB:
    """Voronoi cells around random points: flat, shaded towards their rims, or as Worley noise through a palette."""
    count = max(1, round(_log(rng, 8, 1500)))
    seeds = np.ones((height, width), dtype=np.uint8)
    seeds[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    near = np.minimum(distance * np.float32(0.6 / max((height * width / count) ** 0.5, 1.0)), np.float32(1.0))
    if rng.random() < 0.4:
        return _paint(near, rng)
    palette = _colours(rng, int(rng.integers(2, 8)))
    colours = palette[rng.integers(len(palette), size=int(label.max()) + 1)].astype(np.float64)
    colours = np.clip(colours + rng.normal(0, rng.uniform(0, 30), (len(colours), 1)), 0, 255).astype(np.uint8)
    flat = colours[label]
    shade = np.float32(1.0) - near * np.float32(rng.uniform(0.0, 1.0))
    return _shade(flat, shade)


def grain(height: int, width: int, rng: Random) -> RGB:
    """Noise drawn out along one direction: brushed metal, wood, fibres."""
    across, ratio = _log(rng, 0.004, 0.04), _log(rng, 4.0, 60.0)
    side = int(np.ceil(np.hypot(height, width)))  # large enough to be turned
    unit = min(height, width)
    rows = int(np.clip(side / max(across * unit, 1.0), 2, side))
    columns = int(np.clip(side / max(across * unit * ratio, 1.0), 2, side))
    lattice = rng.random((rows, columns), dtype=np.float32)
    lattice += rng.random((rows, 1), dtype=np.float32) * np.float32(rng.uniform(0.0, 1.0))
    # One transform enlarges and turns: output pixel -> centred, turned back, then scaled to the lattice.
    angle = rng.uniform(0.0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.diag([columns / side, rows / side]) @ turn
    centre = np.array([columns / 2, rows / 2]) - matrix @ np.array([width / 2, height / 2])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    field = cv2.warpAffine(
        lattice, np.column_stack([matrix, centre]), (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    return _paint(_stretch(field), rng)


def gabor(height: int, width: int, rng: Random) -> RGB:
    """Waves of one length in a spread of directions, strong here and weak there."""
    count, waves = int(rng.integers(2, 6)), _log(rng, 4.0, 40.0)
    spread, heading = rng.uniform(0.05, np.pi / 2), rng.uniform(0.0, np.pi)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(min(height, width))
    x = np.arange(width, dtype=np.float32)[None, :] / np.float32(min(height, width))
    field = np.zeros((height, width), dtype=np.float32)
    for _ in range(count):
        angle, phase = heading + rng.uniform(-spread, spread), rng.uniform(0.0, 2 * np.pi)
        length = np.float32(2 * np.pi * waves * rng.uniform(0.8, 1.25))
        down, over = y * length * np.float32(np.sin(angle)), x * length * np.float32(np.cos(angle)) + np.float32(phase)
        # sin(a + b) from a column and a row: no sine at full size
        field += np.sin(down) * np.cos(over) + np.cos(down) * np.sin(over)
    envelope = fbm(height, width, rng, _log(rng, 0.1, 0.6), octaves=2)
    return _paint(_stretch(field * (envelope * np.float32(rng.uniform(0.0, 1.0)) + np.float32(0.2))), rng)


def pattern(height: int, width: int, rng: Random) -> RGB:
    """Stripes, checks, dots, weave or bricks, turned, sometimes bent, in two to four colours, a little dirty."""
    along, across = _coordinates(height, width, rng)
    if rng.random() < 0.3:
        bend = np.float32(rng.uniform(0.02, 0.12))
        along = along + fbm(height, width, rng, 0.3, octaves=2) * bend
        across = across + fbm(height, width, rng, 0.3, octaves=2) * bend
    repeats = np.float32(_log(rng, 4.0, 40.0))
    u, v = along * repeats, across * repeats * np.float32(_log(rng, 0.5, 2.0))
    cell_u, cell_v = np.floor(u), np.floor(v)
    in_u, in_v = u - cell_u, v - cell_v
    duty = np.float32(rng.uniform(0.2, 0.8))
    odd_u, odd_v = (cell_u.astype(np.int32) & 1).astype(np.bool_), (cell_v.astype(np.int32) & 1).astype(np.bool_)
    style = int(rng.integers(5))
    if style == 0:
        index = (in_u < duty).astype(np.uint8)
    elif style == 1:
        index = (odd_u ^ odd_v).astype(np.uint8) + 2 * odd_v.astype(np.uint8)
    elif style == 2:
        index = ((in_u - 0.5) ** 2 + (in_v - 0.5) ** 2 < 0.25 * duty).astype(np.uint8) * (1 + odd_u.astype(np.uint8))
    elif style == 3:
        over = odd_u ^ odd_v  # which of the two threads lies on top
        index = np.where(over, in_u < duty, (in_v < duty) * np.uint8(2)).astype(np.uint8)
    else:
        shifted = np.mod(u + np.float32(0.5) * odd_v, np.float32(1.0))
        index = ((shifted > 0.12) & (in_v > 0.2)).astype(np.uint8) * (1 + odd_v.astype(np.uint8))
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:4] = _colours(rng, 4)
    flat = _colour_map(index, table)
    dirt = np.float32(1.0) - fbm(height, width, rng, _log(rng, 0.02, 0.3)) * np.float32(rng.uniform(0.0, 0.5))
    return _shade(flat, dirt)


def speckle(height: int, width: int, rng: Random) -> RGB:
    """Salt and pepper at several scales: random squares of random colours on a base colour."""
    colours = _colours(rng, 4)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:4] = colours
    index = np.zeros((height, width), dtype=np.uint8)
    coarsest = _log(rng, 0.02, 0.2) * min(height, width)
    for layer in range(3):
        spacing = max(coarsest / 3**layer, 1.0)
        rows, columns = (max(1, round(size / spacing)) for size in (height, width))
        share = rng.uniform(0.02, 0.35)
        grid = (rng.random((rows, columns), dtype=np.float32) < share).astype(np.uint8)
        smooth = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_NEAREST
        enlarged = cv2.resize(grid * np.uint8(255), (width, height), interpolation=smooth)
        index[np.asarray(enlarged) > 127] = layer + 1
    return _colour_map(index, table)


KINDS: Mapping[str, Callable[[int, int, Random], RGB]] = {
    "clouds": clouds,
    "marble": marble,
    "cells": cells,
    "grain": grain,
    "gabor": gabor,
    "pattern": pattern,
    "speckle": speckle,
}
"""The kinds by name."""


def _log(rng: Random, low: float, high: float) -> float:
    """Draw log-uniformly."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _coordinates(height: int, width: int, rng: Random) -> tuple[Field, Field]:
    """Two perpendicular coordinates in units of the shorter side, at a random angle and origin."""
    angle = rng.uniform(0.0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    unit = np.float32(1 / min(height, width))
    y = np.arange(height, dtype=np.float32)[:, None] * unit + np.float32(rng.random())
    x = np.arange(width, dtype=np.float32)[None, :] * unit + np.float32(rng.random())
    return x * cos + y * sin, y * cos - x * sin


def _colours(rng: Random, count: int) -> RGB:
    """Draw ``count`` colours of one mood (vivid to nearly grey, one hue to all), well apart in brightness."""
    darkest, span = rng.uniform(0.0, 0.6), rng.uniform(0.35, 0.95)
    hsv = np.empty((1, count, 3), dtype=np.float32)
    hsv[0, :, 0] = (rng.random() + rng.normal(0.0, rng.uniform(0.02, 0.4), count)) % 1.0 * 360.0
    hsv[0, :, 1] = rng.random(count) ** rng.uniform(0.4, 2.5)
    hsv[0, :, 2] = np.minimum(darkest + span * rng.permutation(np.linspace(0.0, 1.0, count)), 1.0)
    return _rgb(np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] * np.float32(255)))


def _paint(field: Field, rng: Random) -> RGB:
    """Colour a field in [0, 1] by a palette of two to five colours, smooth or with hard steps."""
    count = int(rng.integers(2, 6))
    stops = np.linspace(0.0, 255.0, count)
    levels = np.arange(256.0)
    if rng.random() < 0.2:
        steps = int(rng.integers(2, 9))
        levels = np.floor(levels / 256.0 * steps) * (255.0 / (steps - 1))
    colours = _colours(rng, count)
    table = np.stack([np.interp(levels, stops, colours[:, channel]) for channel in range(3)], axis=1)
    return _colour_map((field * np.float32(255)).astype(np.uint8), np.rint(table).astype(np.uint8))


def _colour_map(index: npt.NDArray[np.uint8], table: RGB) -> RGB:
    """Replace each index by its row of a 256 x 3 table."""
    return _rgb(cv2.applyColorMap(index, table[:, None, :]))


def _shade(image: RGB, shade: Field) -> RGB:
    """Darken each pixel to a share in [0, 1]."""
    levels = (shade * np.float32(255)).astype(np.uint8)
    return _rgb(cv2.multiply(image, cv2.merge([levels] * 3), scale=1 / 255))


def _stretch(field: Any) -> Field:
    """Map linearly to [0, 1]."""
    low, high = float(field.min()), float(field.max())
    if high <= low:
        return np.full(field.shape, 0.5, dtype=np.float32)
    stretched: Field = (field - np.float32(low)) * np.float32(1 / (high - low))
    return np.clip(stretched, 0.0, 1.0, out=stretched)


def _rgb(image: Any) -> RGB:
    """Give OpenCV's result the type that it has."""
    return np.asarray(image, dtype=np.uint8)
