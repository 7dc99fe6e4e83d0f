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

import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.affine import turn_normal
from ias_zoo.imaging.blending import mix
from ias_zoo.imaging.noise import perlin_mask
from ias_zoo.imaging.textures import textures

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.synthesizer import Setup
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


class DeSTSeg(ImageSynthesizer):
    """DeSTSeg's anomaly generator."""

    options: DeSTSegOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.textures = textures(self.options.textures, self.options.cache_mb * 2**20)

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample; steps as in section 3.1 of the paper and the published data loader."""
        options = self.options
        assert request.normal is not None  # noqa: S101 - the base class has refused a request without one
        normal, region, drawn = self._turn_normal(request.normal, request.region, rng)
        mask, noise = perlin_mask(
            normal.shape[:2],
            rng,
            given=request.mask,
            region=region,
            max_cells=options.max_cells,
            retry_empty=options.retry_empty,
        )
        texture, source = self.textures.sample(normal.shape[0], normal.shape[1], rng)
        # b, the weight of the normal in the mask
        b = rng.uniform(0.0, 0.8) if options.variant == "code" else 1.0 - rng.uniform(0.15, 1.0)
        drawn |= {"anomalous": bool(mask.any()), **noise, "texture": source, "b": b}
        return Drawn(image=mix(normal, texture, mask, b), mask=mask, drawn=drawn)

    def _turn_normal(
        self, normal: RGB, region: Mask | None, rng: np.random.Generator
    ) -> tuple[RGB, Mask | None, dict[str, Any]]:
        """Turn the normal as its category is turned, and the region with it."""
        how = ROTATION[self.options.rotate_normal]
        if how == "off":
            return normal, region, {}
        quarters = 90 * int(rng.integers(4)) if how == "quarters" else 0
        degrees = quarters + rng.uniform(-SMALL_ANGLE, SMALL_ANGLE)
        turned = turn_normal(normal, region, degrees, fill=FILL)
        if turned is None:  # the region would leave the picture: this normal is not turned
            return normal, region, {}
        return *turned, {"normal_degrees": degrees}
