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

import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.affine import turn_normal
from ias_zoo.imaging.blending import mix
from ias_zoo.imaging.noise import perlin_mask
from ias_zoo.imaging.photometric import apply_operations, draw_operations
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

        mask, noise = perlin_mask(
            normal.shape[:2],
            rng,
            given=request.mask,
            region=region,
            max_cells=options.max_cells,
            threshold=0.5 if options.variant == "code" else (0.3, 0.7),
            retry_empty=options.retry_empty,
        )
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
        turned = turn_normal(normal, region, degrees)
        if turned is None:  # the region would leave the picture: this normal is not turned
            return normal, region, {}
        return *turned, {"normal_degrees": degrees}
