"""RIAD: a third of the cells of a grid is hidden, and a network is to fill them in from the other two thirds.

Zavrtanik, Kristan, Skocaj: *Reconstruction by Inpainting for Visual Anomaly Detection*, Pattern Recognition 112, 2021,
107706. There is no official code; this follows what the two widely used re-implementations agree on
(github.com/taikiinoue45/RIAD, github.com/plutoyuxie/Reconstruction-by-inpainting-for-visual-anomaly-detection). The
network is left out, and anything that fills a hole can take its place.

The cell's side k is drawn from 2, 4, 8, 16; the grid's cells are shared out at random to n = 3 parts of equal size;
image i hides part i. A sample is one of the n images, drawn at random; :meth:`Riad.parts` makes all of them. The
target is the normal itself.

Our design:

- k is drawn for each sample; the re-implementations draw it for each batch.
- A grid that does not divide the image is cut at its border (published: sides must be divisible by k).
- Hidden pixels are black, as published; one re-implementation sets them to 0 after normalising to a mean of one half,
  which is ``fill="grey"``.
- With a region, only its pixels are hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.grids import cell_counts, enlarge, partition
from ias_zoo.imaging.inpaint import compose, hide
from ias_zoo.imaging.similarity import msgms_map

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.imaging.inpaint import Fill, Inpainter
    from ias_zoo_handcrafted.options.masking import RiadOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Map = npt.NDArray[np.float32]

CELLS, PARTS = (2, 4, 8, 16), 3
SMOOTHING = 21  # pixels, of the score map


class Riad(ImageSynthesizer):
    """RIAD's masked images."""

    options: RiadOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Hide one part of the grid (paper, section 3.1)."""
        normal = request.need_normal()
        labels, side = self._share_out(normal, rng)
        if request.region is None:
            part = int(rng.integers(self.options.parts))
            mask = labels == part
        else:  # a part that holds nothing of a small region is no choice
            present = np.unique(labels[request.region])
            part = int(present[rng.integers(present.size)])
            mask = (labels == part) & request.region
        if not mask.any():  # an image of fewer cells than parts
            part = int(labels[0, 0])
            mask = labels == part
        drawn = {"cell": side, "part": part, "parts": self.options.parts, "target": "normal", "fill": self.options.fill}
        return Drawn(image=hide(normal, mask, self.options.fill), mask=mask, drawn=drawn)

    def parts(self, request: Request) -> list[tuple[RGB, Mask]]:
        """All n masked images of one normal with their masks; the masks share the image (or its region) out.

        The request's own sample is one of them.
        """
        normal = request.need_normal()
        labels, _ = self._share_out(normal, np.random.default_rng(request.seed))
        masks = [labels == part for part in range(self.options.parts)]
        if request.region is not None:
            masks = [mask & request.region for mask in masks]
        return [(hide(normal, mask, self.options.fill), mask) for mask in masks]

    def _share_out(self, normal: RGB, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], int]:
        side = int(self.options.cells[rng.integers(len(self.options.cells))])
        height, width = normal.shape[:2]
        return enlarge(partition(*cell_counts(height, width, side), self.options.parts, rng), side, height, width), side


def reconstruct(
    image: RGB, inpaint: Inpainter, side: int, rng: np.random.Generator, parts: int = PARTS, fill: Fill = "black"
) -> RGB:
    """Hide one part after the other, have each filled, and put the filled parts together.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    inpaint:
        Gets the image with one part hidden, and that part's mask.
    side, parts:
        Of a cell, in pixels; and how many parts.
    rng:
        Shares the cells out.
    fill:
        What hides them.

    Returns
    -------
    H x W x 3 uint8 RGB: every pixel was hidden when it was made.
    """
    height, width = image.shape[:2]
    labels = enlarge(partition(*cell_counts(height, width, side), parts, rng), side, height, width)
    result = image.copy()
    for part in range(parts):
        mask = labels == part
        result = compose(result, inpaint(hide(image, mask, fill), mask), mask)
    return result


def score_map(
    image: RGB, inpaint: Inpainter, rng: np.random.Generator, cells: Sequence[int] = CELLS, parts: int = PARTS
) -> Map:
    """RIAD's anomaly map: 1 - MSGMS of image and reconstruction, averaged over the cell sizes, smoothed.

    Returns
    -------
    H x W float32 in [0, 1]; the image's score is its maximum.
    """
    total = np.zeros(image.shape[:2], np.float32)
    for side in cells:
        total += 1 - msgms_map(image, reconstruct(image, inpaint, side, rng, parts))
    smooth = cv2.blur(total / np.float32(len(cells)), (SMOOTHING, SMOOTHING), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)
