"""Three small products to try things on, made on the spot: no download, no data set needed.

``plate``
    brushed metal, procedural, grey: a texture without an object.
``washer``
    a turned ring on a dark ground at random angles, procedural, colour, with foreground masks.
``brick``
    crops of scikit-image's brick photograph (CC0): a real texture.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo.data.images import encode_png, write_whole

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

SIZE = 256


def write_sample(folder: Path, *, count: int = 8) -> list[Path]:
    """Write ``count`` normals of each product in the plain layout; gives a folder a product. Same bytes every time."""
    folders = []
    for number, (name, make) in enumerate(_PRODUCTS.items()):
        rng = np.random.default_rng([2502, number])
        product = folder / name
        for index in range(count):
            picture, region = make(rng)
            path = product / "normal" / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, encode_png(picture))
            if region is not None:
                path = product / "foreground" / "normal" / f"{index:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, encode_png(region))
        folders.append(product)
    return folders


def write_shots(folder: Path, *, count: int = 8) -> Path:
    """Write the plate with drawn defects beside its normals: ``count`` scratches and as many holes, with masks."""
    product = folder / "plate_with_defects"
    rng = np.random.default_rng([2502, 90])
    for index in range(count):
        _save(product / "normal" / f"{index:02d}.png", plate(rng)[0])
        for name, draw in (("scratch", _scratch), ("hole", _hole)):
            picture, mask = draw(plate(rng)[0], rng)
            _save(product / "defect" / name / f"{index:02d}.png", picture)
            _save(product / "masks" / name / f"{index:02d}.png", mask)
    return product


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, encode_png(array))


def _scratch(surface: Any, rng: np.random.Generator) -> tuple[Any, Mask]:
    """A bright, slightly bent line of 2 to 4 pixels with a dark edge."""
    start, angle = rng.uniform(60, SIZE - 60, size=2), rng.uniform(0, 2 * np.pi)
    along = np.linspace(-0.5, 0.5, 24)[:, None] * rng.uniform(70, 130)
    bend = np.square(along / 60) * rng.uniform(-12, 12)
    points = start + along * [np.cos(angle), np.sin(angle)] + bend * [-np.sin(angle), np.cos(angle)]
    width = int(rng.integers(2, 5))
    layer = [np.zeros((SIZE, SIZE), np.uint8) for _ in range(2)]
    for canvas, extra in zip(layer, (0, 2), strict=True):
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 255, width + extra)
    edge, core = layer[1] > 0, layer[0] > 0
    picture = surface.astype(np.float32)
    picture[edge] -= 50
    picture[core] = 0.3 * picture[core] + 175
    return np.clip(picture, 0, 255).astype(np.uint8), edge


def _hole(surface: Any, rng: np.random.Generator) -> tuple[Any, Mask]:
    """A dark pit with a lit rim, 8 to 20 pixels wide."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    centre, axes = rng.uniform(40, SIZE - 40, size=2), rng.uniform(4, 10, size=2)
    radius = np.hypot((y - centre[0]) / axes[0], (x - centre[1]) / axes[1])
    picture = surface.astype(np.float32)
    picture = np.where(radius < 1.25, picture + 45 * (y > centre[0]) - 20, picture)
    picture = np.where(radius < 1, 28 + 12 * radius + rng.normal(0, 3, (SIZE, SIZE)), picture)
    return np.clip(picture, 0, 255).astype(np.uint8), np.asarray(radius < 1.25)


def plate(rng: np.random.Generator) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], None]:
    """A brushed metal plate: streaks along the rows under uneven light; H x W uint8."""
    streaks = sum(
        cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE), dtype=np.float32), (0, 0), sigmaX=length, sigmaY=0.6)
        * strength
        for length, strength in ((40, 60), (12, 22), (3, 5))
    )
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE - 0.5
    angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(8, 20)
    light = 150 + bend * (np.cos(angle) * x + np.sin(angle) * y) - 40 * (x**2 + y**2)
    return np.clip(light + streaks, 0, 255).astype(np.uint8), None


def washer(rng: np.random.Generator) -> tuple[RGB, Mask]:
    """A turned brass ring with a notch on a dark ground, and where it is; H x W x 3 uint8 and H x W bool."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    centre_y, centre_x = SIZE / 2 + rng.uniform(-10, 10, size=2)
    outer, inner = 92 + rng.uniform(-2, 2), 40 + rng.uniform(-1, 1)
    radius, angle = np.hypot(y - centre_y, x - centre_x), np.arctan2(y - centre_y, x - centre_x)
    turn = rng.uniform(-np.pi, np.pi)
    away = np.abs(np.angle(np.exp(1j * (angle - turn))))
    notch = (radius > outer - 14) & (away < 0.09)
    region = (radius < outer) & (radius > inner) & ~notch
    grooves = np.interp(radius, np.arange(160), cv2.GaussianBlur(rng.standard_normal((1, 160)), (5, 1), 1.0)[0])
    # Turned metal shines in two opposite fans, whose direction is the lamp's, not the part's.
    shine = np.cos(2 * (angle - 0.6)) ** 2
    edge = np.exp(-((radius - outer + 5) ** 2) / 18) + np.exp(-((radius - inner - 5) ** 2) / 18)
    grain = rng.standard_normal((SIZE, SIZE)) * 2.5
    metal = 112 + 55 * shine + 12 * grooves + 45 * edge + grain
    ground = 34 + 4 * cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE)), (0, 0), 2) + 0.5 * grain
    soft = cv2.GaussianBlur(region.astype(np.float32), (0, 0), 0.8)[:, :, None]
    brass, cloth = np.array([1.0, 0.86, 0.58]), np.array([0.95, 1.0, 1.1])
    picture = soft * (metal[:, :, None] * brass) + (1 - soft) * (ground[:, :, None] * cloth)
    return np.clip(picture, 0, 255).astype(np.uint8), region


def brick(rng: np.random.Generator) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], None]:
    """A crop of a photographed brick wall; H x W uint8."""
    from skimage import data

    wall = np.asarray(data.brick(), dtype=np.uint8)
    top, left = rng.integers(0, wall.shape[0] - SIZE, size=2)
    crop = wall[top : top + SIZE, left : left + SIZE]
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop), None


_PRODUCTS: dict[str, Callable[[np.random.Generator], tuple[Any, Any]]] = {
    "plate": plate,
    "washer": washer,
    "brick": brick,
}
