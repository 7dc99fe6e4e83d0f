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

from ias_zoo import Drawn, Request
from ias_zoo.imaging.blending import canvas
from ias_zoo.imaging.photometric import apply_operations, draw_operations
from ias_zoo_handcrafted.textured import Textured, mixed, turned

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

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
PAPER_THRESHOLD = (0.3, 0.7)


class Draem(Textured):
    """DRAEM's anomaly generator."""

    options: DraemOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample; steps as in section 3.1 of the paper and the published data loader."""
        options, published = self.options, self.options.variant == "code"
        normal, region, drawn = self._turn_normal(request.need_normal(), request.region, rng)
        if rng.random() >= options.anomaly_probability:
            image, clean = canvas(normal)
            return Drawn(image=image, mask=clean, drawn={**drawn, "anomalous": False})

        mask, noise = self.noise_mask(request, normal, region, rng, 0.5 if published else PAPER_THRESHOLD)
        texture, origin = self.texture(normal, rng)
        operations = draw_operations(options.operations, rng, None if published else PAPER_OPERATIONS)
        # b, the weight of the normal in the mask
        b = rng.uniform(0.0, 0.8) if published else 1.0 - rng.uniform(0.1, 1.0)
        drawn |= {**noise, **origin, "operations": operations, "b": b}
        return mixed(normal, apply_operations(texture, operations), mask, b, drawn)

    def _turn_normal(
        self, normal: RGB, region: Mask | None, rng: np.random.Generator
    ) -> tuple[RGB, Mask | None, dict[str, Any]]:
        """Turn the normal, and the region with it, with the chance ``rotate_normal``."""
        if rng.random() >= self.options.rotate_normal:
            return normal, region, {}
        limit = 90.0 if self.options.variant == "code" else 45.0
        return turned(normal, region, rng.uniform(-limit, limit))
