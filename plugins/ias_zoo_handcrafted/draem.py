"""DRAEM: a texture picture shows through the image where thresholded Perlin noise says so.

Zavrtanik, Kristan, Skocaj: *DRAEM - A Discriminatively Trained Reconstruction Embedding for Surface Anomaly
Detection*, ICCV 2021, arXiv 2108.07610; published code: github.com/VitjanZ/DRAEM (MIT). This is its anomaly
generator; the networks trained on it are left out.

Paper and published code differ, and ``variant`` chooses:

================  =============================  ==========================================
what              code (the default)             paper
================  =============================  ==========================================
noise threshold   0.5                            random; its range is not given, ours: U(0.3, 0.7)
texture opacity   1 - 0.8 U(0, 1)                U(0.1, 1)
operations        three of ten                   three of seven (no gamma, inversion, turning)
turned normals    U(-90, 90) degrees             U(-45, 45) degrees
================  =============================  ==========================================

Where this departs from both, because it is a generator and not a training loop:

- Every sample is anomalous; ``anomaly_probability=0.5`` is the published training.
- Normals are not turned, so that every pixel outside the mask is the normal's own; ``rotate_normal=0.3`` is the
  published training.
- An empty mask is drawn again; ``retry_empty=False`` keeps it, as published.
- The image keeps its size (published: 256 x 256), the noise has no divisibility limit, colours are RGB throughout
  (the published code reads BGR but names RGB), and the result is rounded to uint8.
- With a region, noise outside it does not count (published: anywhere). A mask in the request replaces the noise.
- Without a folder of textures (published: the Describable Textures Dataset) there are built-in ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.noise import perlin, rotate
from ias_zoo.imaging.photometric import apply_operations, draw_operations, turn
from ias_zoo.imaging.textures import textures

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.synthesizer import Setup
    from ias_zoo_handcrafted.options.draem import DraemOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

PAPER_OPERATIONS = (
    "posterise",
    "sharpness",
    "solarise",
    "equalise",
    "brightness",
    "hue_saturation",
    "autocontrast",
)
NOISE_TRIES = 20
FALLBACK_SHARE = 0.05  # the mean area of the published masks


class Draem(ImageSynthesizer):
    """DRAEM's anomaly generator."""

    options: DraemOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.textures = textures(self.options.textures, self.options.cache_mb * 2**20)

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample; steps as in section 3.1 of the paper and the published data loader."""
        options = self.options
        assert request.normal is not None  # noqa: S101 - the base class has refused a request without one
        normal, region, drawn = self._turn_normal(request.normal, request.region, rng)

        if rng.random() >= options.anomaly_probability:
            clean = np.zeros(normal.shape[:2], dtype=np.bool_)
            return Drawn(image=normal.copy(), mask=clean, drawn={**drawn, "anomalous": False})

        if request.mask is None:
            mask, noise = self._draw_mask(normal.shape[:2], region, rng)
        else:
            mask, noise = request.mask.copy() if region is None else request.mask & region, {}
        names = None if options.variant == "code" else PAPER_OPERATIONS
        texture, source = self.textures.sample(normal.shape[0], normal.shape[1], rng)
        operations = draw_operations(options.operations, rng, names)
        # b, the weight of the normal in the mask
        b = rng.uniform(0.0, 0.8) if options.variant == "code" else 1.0 - rng.uniform(0.1, 1.0)
        image = mix(normal, apply_operations(texture, operations), mask, b)
        drawn |= {"anomalous": bool(mask.any()), **noise, "texture": source, "operations": operations, "b": b}
        return Drawn(image=image, mask=mask, drawn=drawn)

    def _turn_normal(
        self, normal: RGB, region: Mask | None, rng: np.random.Generator
    ) -> tuple[RGB, Mask | None, dict[str, Any]]:
        """Turn the normal, and the region with it, with the chance ``rotate_normal``."""
        if rng.random() >= self.options.rotate_normal:
            return normal, region, {}
        limit = 90.0 if self.options.variant == "code" else 45.0
        degrees = rng.uniform(-limit, limit)
        turned = None if region is None else rotate(region.astype(np.float32), degrees) > 0.5
        if turned is not None and not turned.any():  # the region would leave the picture: this normal is not turned
            return normal, region, {}
        return turn(normal, degrees), turned, {"normal_degrees": degrees}

    def _draw_mask(
        self, size: tuple[int, ...], region: Mask | None, rng: np.random.Generator
    ) -> tuple[Mask, dict[str, Any]]:
        """Threshold turned Perlin noise, within the region.

        With ``retry_empty`` the noise is drawn anew while nothing is left, up to ``NOISE_TRIES`` times. After that
        (which takes a very small region or image) the threshold is lowered on upright noise until ``FALLBACK_SHARE``
        of the region lies above it.
        """
        height, width = size
        code = self.options.variant == "code"
        largest = self.options.max_cells.bit_length()  # 2^0 ... 2^(largest - 1)
        for _ in range(NOISE_TRIES if self.options.retry_empty else 1):
            cells_y, cells_x = (2 ** int(exponent) for exponent in rng.integers(largest, size=2))
            degrees = rng.uniform(-90.0, 90.0)
            threshold = 0.5 if code else rng.uniform(0.3, 0.7)
            upright = perlin(height, width, cells_y, cells_x, rng)
            mask: Mask = rotate(upright, degrees) > np.float32(threshold)
            if region is not None:
                mask &= region
            drawn = {"cells": [cells_y, cells_x], "noise_degrees": degrees, "threshold": threshold}
            if mask.any() or not self.options.retry_empty:
                return mask, drawn
        inside = np.ones(size, dtype=np.bool_) if region is None else region
        values = np.sort(upright[inside])
        threshold = float(values[int((1.0 - FALLBACK_SHARE) * values.size)])
        return inside & (upright >= np.float32(threshold)), {**drawn, "noise_degrees": 0.0, "threshold": threshold}


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
