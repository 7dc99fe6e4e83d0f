"""DeSTSeg: a texture picture, as it is, shows through the image where thresholded Perlin noise says so.

Zhang, Li, Li, Huang, Shan, Chen: *DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly Detection*, CVPR
2023, arXiv 2211.11317; published code: github.com/apple/ml-destseg (Apple's sample-code licence; nothing of it is used
here). This is its anomaly generator; the networks are left out.

The generator is DRAEM's with three differences, all kept: the texture is not augmented; every sample is anomalous; and
the normal is turned by category, never by up to 90 degrees. The paper's text has another range of opacities than the
code; ``variant`` chooses.

Where this departs from the published code, because it is a generator and not a training loop:

- Normals are not turned, so that every pixel outside the mask is the normal's own; ``rotate_normal`` turns them, in the
  way of a category if it is named. The corners become grey (114), as published.
- An empty mask is drawn again; ``retry_empty=False`` keeps it, as published.
- The image keeps its size (published: 256 x 256). The noise is evaluated per pixel; the code resizes tiled gradients,
  which blurs the lattice where the size is not divisible.
- With a region, noise outside it does not count (published: anywhere). A mask in the request replaces the noise.
- Without a folder of textures (published: the Describable Textures Dataset) there are built-in ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ias_zoo import Drawn, Request
from ias_zoo_handcrafted.textured import Textured, mixed, turned

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.destseg import DeSTSegOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

SMALL_ANGLE = 5.0
FILL = 114
_FIXED = ("capsule", "metal_nut", "pill", "toothbrush", "transistor")
_SMALL = ("wood", "zipper", "cable")
_QUARTERS = ("bottle", "grid", "hazelnut", "leather", "tile", "carpet", "screw")
ROTATION = {"small": "small", "quarters": "quarters", "off": "off"}
ROTATION |= dict.fromkeys(_FIXED, "off") | dict.fromkeys(_SMALL, "small") | dict.fromkeys(_QUARTERS, "quarters")
"""How the published code turns the normals of each category of MVTec AD."""


class DeSTSeg(Textured):
    """DeSTSeg's anomaly generator."""

    options: DeSTSegOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample; steps as in section 3.1 of the paper and the published data loader."""
        normal, region, drawn = self._turn_normal(request.need_normal(), request.region, rng)
        mask, noise = self.noise_mask(request, normal, region, rng)
        texture, origin = self.texture(normal, rng)
        # b, the weight of the normal in the mask
        b = rng.uniform(0.0, 0.8) if self.options.variant == "code" else 1.0 - rng.uniform(0.15, 1.0)
        return mixed(normal, texture, mask, b, {**drawn, **noise, **origin, "b": b})

    def _turn_normal(
        self, normal: RGB, region: Mask | None, rng: np.random.Generator
    ) -> tuple[RGB, Mask | None, dict[str, Any]]:
        """Turn the normal as its category is turned, and the region with it."""
        how = ROTATION[self.options.rotate_normal]
        if how == "off":
            return normal, region, {}
        quarters = 90 * int(rng.integers(4)) if how == "quarters" else 0
        return turned(normal, region, quarters + rng.uniform(-SMALL_ANGLE, SMALL_ANGLE), FILL)
