"""Pictures of industrial surfaces and parts, drawn from a random generator, each with the words that describe it.

Every kind is a function ``(size, rng) -> Scene``. What counts is variety of structure, light and noise, so that the
model trained on them has seen what inspection pictures are made of: streaks, grain, joints, rims, threads, shadows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ias_zoo.imaging.procedural import draw_texture, fbm

Array = np.ndarray[Any, Any]
Random = np.random.Generator


@dataclass
class Scene:
    """A drawn picture."""

    image: Array
    """size x size x 3 float32 in [0, 1]."""
    words: str
    """What it shows, as in "brushed metal" or "screw on a light ground"."""
    region: Array | None = None
    """size x size bool: the part; None for a surface that fills the picture."""
    ground: Array | None = None
    """The picture without the part, for what breaks off; None for a surface."""


def brushed_metal(size: int, rng: Random) -> Scene:
    """Long streaks in one direction, a metal's tint."""
    streaks = _streaks(size, rng, rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(0.03), np.log(0.3))))
    return Scene(_tinted(rng.uniform(0.25, 0.8) * (1 + streaks), _metal(rng)), "brushed metal")


def ground_steel(size: int, rng: Random) -> Scene:
    """Grey steel with grinding marks near an axis, bright and dark bands, and often the dark sides of the piece."""
    angle = rng.integers(2) * np.pi / 2 + rng.normal(0, 0.05)
    light = rng.uniform(0.12, 0.7)
    field = light * (1 + _streaks(size, rng, angle, np.exp(rng.uniform(np.log(0.03), np.log(0.35)))))
    field = field * (1 + rng.uniform(0, 0.8) * (fbm(size, size, rng, rng.uniform(0.2, 0.7), octaves=2) - 0.5))
    field = field + rng.uniform(0, 0.03) * _noise(size, rng)
    if rng.random() < 0.6:  # the piece ends within the picture, with a bevel that catches the light
        y, x = _axes(size)
        for side in (x, 1 - x, y, 1 - y):
            if rng.random() < 0.55:
                edge = rng.uniform(0, 0.12) + 0.01 * (fbm(size, size, rng, 0.3) - 0.5) + rng.normal(0, 0.02) * y
                field = field * (1 + rng.uniform(-0.3, 0.6) * np.exp(-(((side - edge) / 0.02) ** 2)))
                field = np.where(side > edge, field, field * rng.uniform(0.1, 0.4))
    return Scene(_tinted(field, _near_grey(rng)), str(rng.choice(["ground steel", "machined steel", "metal tile"])))


def cast_surface(size: int, rng: Random) -> Scene:
    """Relief lit from one side, with grains and pores."""
    relief = fbm(size, size, rng, rng.uniform(0.02, 0.2), octaves=6, gain=rng.uniform(0.5, 0.9))
    field = rng.uniform(0.25, 0.75) + rng.uniform(0.2, 0.8) * _lit(relief, rng)
    field = field + rng.uniform(0, 0.04) * _noise(size, rng)
    return Scene(_tinted(field, _near_grey(rng)), str(rng.choice(["cast surface", "concrete", "stone", "rough metal"])))


def fabric(size: int, rng: Random) -> Scene:
    """Threads over and under each other, a little irregular."""
    u, v = _turned(size, rng, rng.choice([0.0, rng.uniform(0, np.pi)]))
    bend = rng.uniform(0, 0.03)
    u, v = u + bend * fbm(size, size, rng, 0.3), v + bend * fbm(size, size, rng, 0.3)
    count = rng.uniform(8, 36)
    over = np.sin(np.pi * count * u) * np.sin(np.pi * count * v) > 0
    warp, weft = np.abs(np.sin(np.pi * count * u)), np.abs(np.sin(np.pi * count * v))
    shade = np.where(over, warp, weft) ** rng.uniform(0.3, 1.2)
    first, second = _colour(rng), _colour(rng) if rng.random() < 0.5 else None
    second = first * rng.uniform(0.7, 1.2) if second is None else second
    image = np.where(over[..., None], first, second) * (rng.uniform(0.3, 0.7) + 0.5 * shade[..., None])
    image = image * (0.9 + 0.2 * fbm(size, size, rng, 0.02))[..., None]
    return Scene(image, str(rng.choice(["fabric", "woven carpet"])))


def tiles(size: int, rng: Random) -> Scene:
    """Rectangles with joints, in rows that may be shifted."""
    u, v = _turned(size, rng, rng.choice([0.0, 0.0, rng.uniform(0, np.pi)]))
    rows, ratio = rng.uniform(1.5, 7), rng.choice([1.0, 1.0, 0.5, 2.0])
    v = v * rows
    u = u * rows * ratio + (np.floor(v) % 2) * rng.choice([0.0, 0.5])
    joint = rng.uniform(0.02, 0.08)
    inside = np.minimum(np.minimum(u % 1, 1 - u % 1) / ratio, np.minimum(v % 1, 1 - v % 1))
    table = 1 + rng.uniform(0, 0.12) * rng.standard_normal((64, 64))
    lot = table[np.floor(u).astype(int) % 64, np.floor(v).astype(int) % 64]
    face = (lot * (0.9 + rng.uniform(0, 0.3) * fbm(size, size, rng, rng.uniform(0.02, 0.3))))[..., None] * _colour(rng)
    blend = np.clip((inside - joint) / 0.02, 0, 1)[..., None]
    return Scene(blend * face + (1 - blend) * rng.uniform(0.1, 0.8), "tiles")


def circuit_board(size: int, rng: Random) -> Scene:
    """Traces, pads and chips on a lacquered board."""
    base = np.array(((0.05, 0.35, 0.2), (0.05, 0.2, 0.45), (0.35, 0.08, 0.08), (0.1, 0.1, 0.1))[rng.integers(4)])
    image = np.tile((base * rng.uniform(0.6, 1.3)).astype(np.float32), (size, size, 1))
    trace = tuple((base * 1.2 + rng.uniform(0.03, 0.25)).tolist())
    steps = ((1, 0), (0, 1), (1, 1), (1, -1))
    for _ in range(int(rng.integers(6, 30))):
        point, width = rng.integers(0, size, 2), int(rng.integers(1, max(2, size // 40)))
        for _ in range(int(rng.integers(1, 5))):
            step = np.array(steps[rng.integers(4)]) * int(rng.integers(-size // 3, size // 3))
            cv2.line(image, point.tolist(), (point + step).tolist(), trace, width, cv2.LINE_AA)
            point = point + step
        cv2.circle(image, point.tolist(), width * 2, (0.75, 0.65, 0.35), -1, cv2.LINE_AA)
        cv2.circle(image, point.tolist(), width, (0.05, 0.05, 0.05), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        (x, y), (w, h) = rng.integers(0, size, 2).tolist(), rng.integers(size // 16, size // 3, 2).tolist()
        for leg in range(0, w, max(4, size // 32)):
            cv2.rectangle(image, (x + leg, y - size // 40), (x + leg + size // 64, y + h + size // 40), (0.8,) * 3, -1)
        cv2.rectangle(image, (x, y), (x + w, y + h), (rng.uniform(0.05, 0.2),) * 3, -1)
    return Scene(image, "circuit board")


def leather(size: int, rng: Random) -> Scene:
    """Small bumps with dark creases between them."""
    count = int(rng.integers(150, 2500))
    seeds = np.ones((size, size), dtype=np.uint8)
    seeds[rng.integers(size, size=count), rng.integers(size, size=count)] = 0
    bumps = cv2.distanceTransform(seeds, cv2.DIST_L2, 5) / (size / count**0.5)
    field = 1 - rng.uniform(0.2, 0.7) * bumps + rng.uniform(0, 0.5) * _lit(cv2.GaussianBlur(bumps, (0, 0), 1.2), rng)
    return Scene(_tinted(field, _colour(rng)), "leather")


def wood(size: int, rng: Random) -> Scene:
    """Growth rings cut lengthwise, bent, with fine pores."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    u, v = _turned(size, rng, angle)
    bent = v + rng.uniform(0.02, 0.3) * fbm(size, size, rng, rng.uniform(0.3, 0.8), octaves=2) + 0.05 * u
    rings = np.sin(2 * np.pi * rng.uniform(4, 25) * bent) * 0.5 + 0.5
    pores = _streaks(size, rng, -angle, rng.uniform(0.05, 0.2))
    tint = np.array([1.0, rng.uniform(0.6, 0.8), rng.uniform(0.3, 0.55)])
    return Scene(_tinted(rng.uniform(0.3, 0.9) - rng.uniform(0.05, 0.3) * rings + pores, tint), "wood")


def plastic(size: int, rng: Random) -> Scene:
    """A plain coloured surface with a faint grain and perhaps a lamp's reflection."""
    field = 1 + rng.uniform(0, 0.15) * (fbm(size, size, rng, rng.uniform(0.01, 0.05)) - 0.5)
    y, x = _axes(size)
    lamp = np.exp(-((y - rng.uniform()) ** 2 + (x - rng.uniform()) ** 2) / rng.uniform(0.01, 0.3))
    image = _tinted(field, _colour(rng)) + rng.choice([0.0, rng.uniform(0, 0.4)]) * lamp[..., None]
    return Scene(image, str(rng.choice(["plastic surface", "painted surface", "glass"])))


def pattern(size: int, rng: Random) -> Scene:
    """One of the zoo's procedural textures."""
    return Scene(draw_texture(size, size, rng)[0] / np.float32(255), "patterned surface")


def round_part(size: int, rng: Random) -> Scene:
    """A turned part seen from above: disc, washer, nut or gear."""
    kind = str(rng.choice(["round part", "washer", "nut", "gear"]))
    y, x = _axes(size)
    y, x = y - 0.5 + rng.normal(0, 0.04), x - 0.5 + rng.normal(0, 0.04)
    radius, angle = np.hypot(y, x), np.arctan2(y, x) + rng.uniform(0, 2 * np.pi)
    outer, hole = rng.uniform(0.22, 0.47), 0.0
    rim = np.full_like(radius, outer)
    if kind == "nut":
        rim = rim * np.cos(np.pi / 6) / np.cos((angle % (np.pi / 3)) - np.pi / 6)
    elif kind == "gear":
        rim = rim * (1 + rng.uniform(0.04, 0.1) * np.clip(3 * np.cos(angle * int(rng.integers(8, 24))), -1, 1))
    if kind != "round part" or rng.random() < 0.4:
        hole = outer * rng.uniform(0.15, 0.65)
    cover = np.clip((rim - radius) * size / 1.5 + 0.5, 0, 1) * np.clip((radius - hole) * size / 1.5 + 0.5, 0, 1)
    grooves = np.interp(radius * 200, np.arange(160), cv2.GaussianBlur(rng.standard_normal((1, 160)), (5, 1), 1.0)[0])
    shine = np.cos(rng.integers(1, 3) * (angle + rng.uniform(0, np.pi))) ** 2
    edges = np.exp(-(((rim - radius - 0.02) / 0.012) ** 2)) + np.exp(-(((radius - hole - 0.02) / 0.012) ** 2))
    metal = rng.uniform(0.2, 0.65) + rng.uniform(0, 0.3) * shine + rng.uniform(0, 0.06) * grooves
    metal = metal + rng.uniform(-0.15, 0.3) * edges
    for _ in range(int(rng.integers(0, 3))):  # steps in the turned face
        metal = metal * (1 + rng.uniform(-0.3, 0.3) * (radius < rng.uniform(hole, outer)))
    return _on_ground(_tinted(metal, _metal(rng)), cover, kind, size, rng)


def long_part(size: int, rng: Random) -> Scene:
    """A screw, rod, threaded rod or pin at any angle, lit from the side."""
    kind = str(rng.choice(["screw", "screw", "threaded rod", "rod", "pin"]))
    turn, (y, x) = rng.uniform(0, 2 * np.pi), _axes(size)
    y, x = y - 0.5 + rng.normal(0, 0.03), x - 0.5 + rng.normal(0, 0.03)
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    half = rng.uniform(0.3, 0.48) if kind != "threaded rod" else rng.uniform(0.3, 0.9)
    width = half * rng.uniform(0.08, 0.16)
    along = u / half  # -1 at the head, 1 at the tip
    pitch, lean = rng.uniform(0.06, 0.16), 0.5
    threaded = {"screw": along > rng.uniform(-0.6, 0.1), "threaded rod": along > -2}.get(kind, along > 2)
    phase = along / pitch + lean * v / width / 2
    ridge = np.abs(2 * (phase % 1) - 1) * threaded
    wide = width * (1 + rng.uniform(0.2, 0.7) * ridge - rng.uniform(0.05, 0.2) * threaded)
    if kind in {"screw", "pin"}:
        if kind == "screw" or rng.random() < 0.5:
            head, cone = rng.uniform(0.1, 0.3), rng.choice([0.0, 1.0])
            span = np.clip((along + 1) / head, 0, 1)
            wide = np.where(along < -1 + head, width * rng.uniform(1.6, 2.4) * (1 - 0.5 * cone * span), wide)
            wide = np.maximum(wide, width)
        taper = rng.uniform(0.05, 0.25)
        wide = wide * np.clip((1 - along) / taper, 0, 1)
    cover = np.clip((wide - np.abs(v)) * size / 1.5 + 0.5, 0, 1) * np.clip((half - np.abs(u)) * size / 1.5 + 0.5, 0, 1)
    across = np.clip(v / np.maximum(wide, 1e-4), -1, 1)
    lamp = rng.uniform(-0.7, 0.7)
    metal = rng.uniform(0.1, 0.35) + rng.uniform(0.1, 0.4) * np.sqrt(1 - across**2)
    metal = metal + rng.uniform(0, 0.5) * np.exp(-(((across - lamp) / 0.25) ** 2))
    metal = metal + rng.uniform(0.1, 0.4) * (ridge - 0.5) * threaded * np.sign(lamp - across + 0.01)
    return _on_ground(_tinted(metal, _metal(rng)), cover, kind, size, rng)


KINDS: Mapping[str, Callable[[int, Random], Scene]] = {
    "brushed_metal": brushed_metal,
    "ground_steel": ground_steel,
    "cast_surface": cast_surface,
    "fabric": fabric,
    "tiles": tiles,
    "circuit_board": circuit_board,
    "leather": leather,
    "wood": wood,
    "plastic": plastic,
    "pattern": pattern,
    "round_part": round_part,
    "long_part": long_part,
}
"""The kinds by name."""

WEIGHTS = {"ground_steel": 2.5, "long_part": 2.5, "round_part": 1.5, "brushed_metal": 1.5}
"""How often a kind is drawn, 1 where it is not named."""


def draw_scene(size: int, rng: Random, kind: str | None = None) -> Scene:
    """Draw a scene at twice the size and reduce it, so that lines are smooth; light it unevenly.

    Parameters
    ----------
    size:
        Height and width in pixels.
    rng:
        Draws everything.
    kind:
        A name of :data:`KINDS`; by default one drawn by :data:`WEIGHTS`.
    """
    if kind is None:
        weights = np.array([WEIGHTS.get(name, 1.0) for name in KINDS])
        kind = str(rng.choice(list(KINDS), p=weights / weights.sum()))
    scene = KINDS[kind](2 * size, rng)
    light = _uneven(2 * size, rng)[..., None]
    scene.image = _reduced(scene.image * light, size)
    if scene.ground is not None:
        scene.ground = _reduced(scene.ground * light, size)
    if scene.region is not None:
        scene.region = _reduced(scene.region, size) > 0.5
    return scene


def _reduced(field: Array, size: int) -> Array:
    smaller = cv2.resize(np.clip(field, 0, 1).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller)


def _on_ground(part: Array, cover: Array, kind: str, size: int, rng: Random) -> Scene:
    """Lay a part on a plain ground with a soft shadow."""
    level = rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.65, 0.95)])
    plain = level + rng.uniform(0, 0.06) * (fbm(size, size, rng, rng.uniform(0.01, 0.3)) - 0.5)
    ground = _tinted(plain, _near_grey(rng))
    shift = np.float32([[1, 0, rng.normal(0, 0.02) * size], [0, 1, rng.normal(0, 0.02) * size]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(cover.astype(np.float32), shift, (size, size)), (0, 0), 0.03 * size)
    shaded = ground * (1 - rng.uniform(0.1, 0.6) * shadow)[..., None]
    image = cover[..., None] * part + (1 - cover[..., None]) * shaded
    words = f"{kind} on a {'dark' if level < 0.4 else 'light'} ground"
    return Scene(image, words, cover.astype(np.float32), ground)


def _streaks(size: int, rng: Random, angle: float, strength: float) -> Array:
    """Noise drawn out in one direction at three lengths, of the given standard deviation."""
    side, total = int(size * 1.5), 0.0
    for length, share in ((0.4, 1.0), (0.08, 0.5), (0.015, 0.25)):
        noise = rng.standard_normal((side, side), dtype=np.float32)
        wide = cv2.GaussianBlur(noise, (0, 0), sigmaX=length * size, sigmaY=rng.uniform(0.5, 1.6) * size / 128)
        total = total + share * wide / wide.std()
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), np.degrees(angle), 1.0)
    turned = cv2.warpAffine(np.asarray(total), turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    start = (side - size) // 2
    return np.asarray(turned[start : start + size, start : start + size]) * strength / 1.15


def _noise(size: int, rng: Random) -> Array:
    return rng.standard_normal((size, size), dtype=np.float32)


def _lit(relief: Array, rng: Random) -> Array:
    """The slope of a relief along a random direction, of standard deviation 0.25."""
    angle = rng.uniform(0, 2 * np.pi)
    down, over = np.gradient(relief)
    slope = np.cos(angle) * over + np.sin(angle) * down
    return np.asarray(0.25 * slope / (slope.std() + 1e-6))


def _axes(size: int) -> tuple[Array, Array]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    return y, x


def _turned(size: int, rng: Random, angle: float) -> tuple[Array, Array]:
    y, x = _axes(size)
    u = np.cos(angle) * x + np.sin(angle) * y + rng.uniform(1, 2)
    return u, np.cos(angle) * y - np.sin(angle) * x + rng.uniform(1, 2)


def _uneven(size: int, rng: Random) -> Array:
    """Light that falls off towards one side and the corners."""
    y, x = _axes(size)
    angle, slope, corner = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5), rng.uniform(0, 0.6)
    y, x = y - 0.5, x - 0.5
    return 1 + slope * (np.cos(angle) * x + np.sin(angle) * y) - corner * (x**2 + y**2)


def _tinted(field: Array, tint: Array) -> Array:
    return np.asarray(field)[..., None] * tint


def _metal(rng: Random) -> Array:
    """The tint of steel, brass or copper."""
    tints = ((0.95, 1.0, 1.05), (1.0, 0.85, 0.5), (1.0, 0.7, 0.55), (1.0, 1.0, 1.0))
    return np.array(tints[rng.choice(4, p=[0.4, 0.15, 0.1, 0.35])])


def _near_grey(rng: Random) -> Array:
    return np.clip(1 + rng.normal(0, 0.025, 3), 0.8, 1.15)


def _colour(rng: Random) -> Array:
    """Any colour: dull ones more often than vivid ones."""
    grey, vivid = rng.uniform(0.1, 0.95), rng.beta(1, 2.5)
    return (1 - vivid) * grey + vivid * rng.random(3)
