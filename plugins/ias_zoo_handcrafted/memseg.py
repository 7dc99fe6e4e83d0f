"""MemSeg: a texture, or the image itself with its tiles shuffled, shows through the product where noise says so.

Yang, Wu, Liu, Feng: *MemSeg: A semi-supervised method for image surface defect detection using differences and
commonalities*, Engineering Applications of AI 2023, arXiv 2205.00908. There is no official code; what is called the
public code here is github.com/TooTouch/MemSeg (MIT), of which nothing is used. This is the anomaly generator; the
memory bank and the network are left out.

Paper and public code differ in the structural source, and ``variant`` chooses: the code changes the image by three of
DRAEM's ten operations and shuffles an 8 x 8 grid, the paper mirrors, turns and changes brightness, saturation and hue,
then shuffles a 4 x 8 grid (read here as 4 down and 8 across; its ranges are not known to us, ours: the code's).

Where this departs from both, because it is a generator and not a training loop:

- Every sample is anomalous (published: normal and synthetic alternate); an empty mask is drawn again, and with
  ``retry_empty=False`` it is at least not called anomalous.
- The image keeps its size. A side that the grid does not divide is continued by repeating its border; the public code
  stops with an error.
- The result is rounded to uint8, not truncated.
- For products without a published threshold the foreground is Otsu's. A region in the request takes its place, a mask
  in the request takes the place of the noise.
- Without a folder of textures (published: the Describable Textures Dataset) there are built-in ones.
- The opening and closing that the paper applies to the foreground is left out: its size is not known to us, and the
  public code has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo import Drawn, Request
from ias_zoo.imaging.foreground import Polarity, grabcut_foreground, otsu_foreground, threshold_foreground
from ias_zoo.imaging.photometric import apply_operations, draw_operations
from ias_zoo.imaging.tiles import permute_tiles
from ias_zoo_handcrafted.textured import Textured, mixed

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.memseg import MemSegOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

TILES = {"code": (8, 8), "paper": (4, 8)}
PAPER_OPERATIONS = ("turn", "brightness", "hue_saturation")

FOREGROUND: dict[str, tuple[float, Polarity]] = {
    "hazelnut": (50, "brighter"),
    "metal_nut": (40, "brighter"),
    "pill": (100, "brighter"),
    "toothbrush": (30, "brighter"),
    "capsule": (120, "darker"),
    "transistor": (90, "darker"),
    "bottle": (250, "darker"),
    "screw": (110, "darker"),
    "zipper": (100, "darker"),
}
"""The public code's grey threshold and the side on which the product is; its other categories have no foreground."""


class MemSeg(Textured):
    """MemSeg's anomaly generator."""

    options: MemSegOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample; steps as in section 3.2 of the paper.

        ``drawn["product"]`` is the foreground's share of the image: 1.0 also where a category's threshold found none.
        """
        normal, region = request.need_normal(), request.region
        if region is None and request.mask is None:
            region = self._foreground(normal)
        mask, noise = self.noise_mask(request, normal, region, rng)
        if rng.random() < self.options.structure_probability:
            source, origin = self._structure(normal, rng)
        else:
            source, origin = self.texture(normal, rng)
            origin["source"] = "texture"
        delta = rng.uniform(*self.options.opacity)  # the weight of the source in the mask
        product = 1.0 if region is None else region.mean()
        return mixed(normal, source, mask, 1.0 - delta, {"product": product, **noise, **origin, "delta": delta})

    def _foreground(self, normal: RGB) -> Mask | None:
        """Where the product is; None for everywhere, also where a category's threshold finds nothing."""
        if self.options.preset == "auto":
            return otsu_foreground(normal)
        if self.options.preset == "grabcut":
            return grabcut_foreground(normal)
        if self.options.preset not in FOREGROUND:
            return None
        found = threshold_foreground(normal, *FOREGROUND[self.options.preset])
        return found if found.any() else None

    def _structure(self, normal: RGB, rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
        """The image, changed by a few operations, with its tiles in random order."""
        paper = self.options.variant == "paper"
        mirrors = [axis for axis in (0, 1) if paper and rng.random() < 0.5]
        count = min(self.options.operations, len(PAPER_OPERATIONS)) if paper else self.options.operations
        operations = draw_operations(count, rng, PAPER_OPERATIONS if paper else None)
        rows, columns = self.options.tiles or TILES[self.options.variant]
        order = rng.permutation(rows * columns)
        changed = apply_operations(np.ascontiguousarray(np.flip(normal, tuple(mirrors))), operations)
        drawn = {"source": "structure", "mirrored_axes": mirrors, "operations": operations, "tiles": order}
        return permute_tiles(changed, rows, columns, order), drawn
