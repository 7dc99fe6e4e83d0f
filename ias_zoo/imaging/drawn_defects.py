"""Defects drawn onto scenes: simple shapes with the look of what inspection looks for, and their words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import cv2
import numpy as np

from ias_zoo.imaging.procedural import fbm

Array = np.ndarray[Any, Any]
Random = np.random.Generator

CLEAR = 24
"""Levels of 255: where the largest difference is less, a defect cannot be made out."""

VISIBLE, SHARE = 8, 0.25
"""A pixel is defect if it differs by so many levels, and by this share of the largest difference."""


class Scene(Protocol):
    """What a defect is drawn on: square pictures.

    ``image`` is S x S x 3 float32 in [0, 1]; ``region`` S x S bool, the part, None for a surface that fills the
    picture; ``ground`` the picture without the part, for what breaks off, or None.
    """

    image: Array
    region: Array | None
    ground: Array | None


def visible_mask(normal: Array, defect: Array) -> Array | None:
    """Where a defect shows, H x W bool: by the difference of two pictures, H x W x 3 uint8. None if it hardly does."""
    difference = np.abs(normal.astype(np.int16) - defect).max(axis=2)
    if difference.max() < CLEAR:
        return None
    return np.asarray(difference >= max(VISIBLE, SHARE * difference.max()))


def scratch(scene: Scene, rng: Random) -> Array:
    """A thin, nearly straight line, brighter or darker than its surroundings."""
    size = len(scene.image)
    start, angle = _place(scene, rng), rng.uniform(0, 2 * np.pi)
    length, bend = rng.uniform(0.12, 0.7) * size, rng.normal(0, 0.4)
    steps = np.linspace(-0.5, 0.5, 24)
    path = start + length * np.stack(
        [np.cos(angle + bend * steps) * steps, np.sin(angle + bend * steps) * steps], axis=1
    )
    cover = _stroke(path, size, rng.uniform(0.7, 2.0)) * rng.uniform(0.4, 1.0)
    return _toward(scene.image, cover, rng.choice([0.02, 0.95]))


def crack(scene: Scene, rng: Random) -> Array:
    """A dark jagged line with branches."""
    size = len(scene.image)
    cover = np.zeros((size, size), dtype=np.float32)
    branches = [(_place(scene, rng), rng.uniform(0, 2 * np.pi), int(rng.integers(8, 28)))]
    for point, heading, count in branches:
        path = [point]
        for step in range(count):
            heading = heading + rng.normal(0, 0.5)
            path.append(path[-1] + rng.uniform(1.0, 4.0) * np.array([np.cos(heading), np.sin(heading)]))
            if len(branches) < 4 and rng.random() < 0.06:
                branches.append((path[-1], heading + rng.choice([-0.9, 0.9]), (count - step) // 2 + 2))
        cover = np.maximum(cover, _stroke(np.array(path), size, rng.uniform(0.7, 1.8)))
    return _toward(scene.image, cover * rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.08))


def hole(scene: Scene, rng: Random) -> Array:
    """A dark round pit, often with a bright rim on the side away from the lamp."""
    cover, distance = _blob(scene, rng, rng.uniform(0.012, 0.07), ragged=0.15)
    image = scene.image
    if rng.random() < 0.5:
        rim = np.exp(-(((distance - 1.15) / 0.25) ** 2)) * rng.uniform(0.1, 0.6)
        image = _toward(image, rim.astype(np.float32), 0.9)
    return _toward(image, cover * rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.1))


def stain(scene: Scene, rng: Random) -> Array:
    """A soft patch of another tint through which the surface shows."""
    size = len(scene.image)
    cover, _ = _blob(scene, rng, rng.uniform(0.06, 0.25), ragged=0.6)
    cover = cover * (0.6 + 0.4 * fbm(size, size, rng, 0.1)) * rng.uniform(0.3, 0.8)
    tint = 1 + rng.uniform(-0.7, 0.5) + rng.normal(0, 0.15, 3)
    return np.asarray(scene.image * (1 - cover[..., None]) + scene.image * np.clip(tint, 0.1, 2.0) * cover[..., None])


def dent(scene: Scene, rng: Random) -> Array:
    """A hollow: dark on one side and bright on the other."""
    size = len(scene.image)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    centre, radius, angle = _place(scene, rng), rng.uniform(0.03, 0.12) * size, rng.uniform(0, 2 * np.pi)
    over, down = (x - centre[0]) / radius, (y - centre[1]) / radius
    slope = (np.cos(angle) * over + np.sin(angle) * down) * np.exp(-(over**2 + down**2))
    return np.asarray(scene.image * (1 + rng.uniform(0.8, 1.8) * slope[..., None]))


def contamination(scene: Scene, rng: Random) -> Array:
    """Specks and a fibre of foreign stuff."""
    size, image = len(scene.image), scene.image
    colour = rng.random(3) * rng.choice([0.3, 1.0])
    for _ in range(int(rng.integers(2, 9))):
        cover, _ = _blob(scene, rng, rng.uniform(0.006, 0.025), ragged=0.4)
        image = _toward(image, cover, colour)
    if rng.random() < 0.4:
        turns = np.cumsum(rng.normal(0, 0.3, 30)) + rng.uniform(0, 2 * np.pi)
        path = _place(scene, rng) + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
        image = _toward(image, _stroke(path, size, 1.0), colour)
    return image


def broken_edge(scene: Scene, rng: Random) -> Array:
    """A chunk missing at the rim of a part, or at a side of the picture for a surface."""
    size = len(scene.image)
    if scene.region is not None and scene.ground is not None and scene.region.any():
        inner = cv2.erode(scene.region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        rows, columns = np.nonzero(scene.region & ~inner)
        pick = int(rng.integers(len(rows)))
        cover, _ = _blob(scene, rng, rng.uniform(0.03, 0.09), ragged=0.7, centre=np.array([columns[pick], rows[pick]]))
        return np.asarray(scene.image * (1 - cover[..., None]) + scene.ground * cover[..., None])
    centre = np.array([rng.uniform(0, size), rng.choice([0, size])])[:: rng.choice([-1, 1])]
    cover, _ = _blob(scene, rng, rng.uniform(0.08, 0.2), ragged=0.7, centre=centre)
    return _toward(scene.image, cover, rng.uniform(0.0, 0.15))


KINDS: Mapping[str, tuple[Callable[[Scene, Random], Array], tuple[str, ...]]] = {
    "scratch": (scratch, ("scratch",)),
    "crack": (crack, ("crack",)),
    "hole": (hole, ("hole", "hole", "blowhole", "pit")),
    "stain": (stain, ("stain", "stain", "discolored spot")),
    "dent": (dent, ("dent",)),
    "contamination": (contamination, ("contamination", "dirt")),
    "broken_edge": (broken_edge, ("broken edge", "break")),
}
"""The kinds by name: how each is drawn, and the words for it."""


def draw_defect(scene: Scene, rng: Random, kind: str | None = None) -> tuple[Array, str]:
    """Draw a defect of a kind, or of one drawn uniformly; gives the picture (the scene is left alone) and its word."""
    kind = kind or str(rng.choice(list(KINDS)))
    draw, words = KINDS[kind]
    image = np.clip(draw(scene, rng), 0, 1).astype(np.float32)
    if scene.region is not None and kind not in {"contamination", "broken_edge"}:
        image = np.where(scene.region[..., None], image, scene.image)  # only the part has it, not the ground
    return image, str(rng.choice(words))


def _place(scene: Scene, rng: Random) -> Array:
    """A point (x, y) on the part, or anywhere but at the very sides."""
    size = len(scene.image)
    if scene.region is not None and scene.region.any():
        rows, columns = np.nonzero(scene.region)
        pick = int(rng.integers(len(rows)))
        return np.array([columns[pick], rows[pick]], dtype=np.float64)
    return rng.uniform(0.08, 0.92, 2) * size


def _stroke(path: Array, size: int, width: float) -> Array:
    """The cover in [0, 1] of a line through points (x, y), drawn four times as large and reduced."""
    canvas = np.zeros((4 * size, 4 * size), dtype=np.uint8)
    points = np.rint(path * 4).astype(np.int32)[None]
    cv2.polylines(canvas, points, isClosed=False, color=255, thickness=max(1, round(4 * width)))
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _blob(scene: Scene, rng: Random, radius: float, ragged: float, centre: Array | None = None) -> tuple[Array, Array]:
    """A round shape with a ragged outline: its cover in [0, 1], and the distance from its centre in radii."""
    size = len(scene.image)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    middle = _place(scene, rng) if centre is None else centre
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.8)
    over, down = x - middle[0], y - middle[1]
    u, v = np.cos(turn) * over + np.sin(turn) * down, np.cos(turn) * down - np.sin(turn) * over
    distance = np.hypot(u / stretch, v) / max(radius * size, 0.8)
    distance = distance * (1 + ragged * (fbm(size, size, rng, max(radius, 0.05)) - 0.5) * 2)
    return np.clip((1 - distance) * max(radius * size, 1.0) + 0.5, 0, 1).astype(np.float32), distance


def _toward(image: Array, cover: Array, colour: Any) -> Array:
    return np.asarray(image * (1 - cover[..., None]) + np.asarray(colour, dtype=np.float32) * cover[..., None])
