"""What DRAEM, DeSTSeg and MemSeg share: a texture picture shows through the normal where Perlin noise says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ias_zoo import Drawn, ImageSynthesizer
from ias_zoo.imaging.affine import turn_normal
from ias_zoo.imaging.blending import mix
from ias_zoo.imaging.noise import perlin_mask
from ias_zoo.imaging.textures import textures

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ias_zoo import Request
    from ias_zoo.synthesizer import Setup

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]


class Textured(ImageSynthesizer):
    """A method with the options ``textures``, ``cache_mb``, ``max_cells`` and ``retry_empty``."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.textures = textures(self.options.textures, self.options.cache_mb * 2**20)

    def noise_mask(
        self,
        request: Request,
        normal: RGB,
        region: Mask | None,
        rng: np.random.Generator,
        threshold: float | tuple[float, float] = 0.5,
    ) -> tuple[Mask, dict[str, Any]]:
        """The request's mask, or thresholded noise within the region; and what was drawn for it."""
        mask, drawn = perlin_mask(
            normal.shape[:2],
            rng,
            given=request.mask,
            region=region,
            max_cells=self.options.max_cells,
            threshold=threshold,
            retry_empty=self.options.retry_empty,
        )
        return mask, {"anomalous": bool(mask.any()), **drawn}

    def texture(self, normal: RGB, rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
        """A texture picture of the normal's size, and where it is from."""
        picture, source = self.textures.sample(normal.shape[0], normal.shape[1], rng)
        return picture, {"texture": source}


def mixed(normal: RGB, source: RGB, mask: Mask, b: float, drawn: dict[str, Any]) -> Drawn:
    """The sample: ``b`` of the normal and the rest of the source inside the mask."""
    return Drawn(image=mix(normal, source, mask, b), mask=mask, drawn=drawn)


def turned(
    normal: RGB, region: Mask | None, degrees: float, fill: int = 0
) -> tuple[RGB, Mask | None, dict[str, float]]:
    """The normal turned, and the region with it; as they are where the region would leave the picture.

    Returns
    -------
    Both, and ``normal_degrees`` if they were turned.
    """
    found = turn_normal(normal, region, degrees, fill=fill)
    return (normal, region, {}) if found is None else (*found, {"normal_degrees": degrees})
