"""I3AD: irregular holes filled by inpainting, and the iteration that finds defects by repairing them.

Nakanishi, Suzuki, Matsuo: *Iterative Image Inpainting with Structural Similarity Mask for Anomaly Detection*, 2020
(OpenReview b4ach0lGuYO); extended in the Journal of Information Processing 30, 2022, 495-504. There is no code, and
only the abstract's account could be followed: masks are built from an SSIM anomaly score, every pixel is either kept
or reconstructed by its score, and picture and mask are updated in turns.

Our design, therefore:

- The samples: an irregular mask (strokes and rectangles) over 10 to 50 % of the normal, filled by OpenCV's
  inpainting, a weak inpainter; with ``fill="black"`` they are the pairs on which an inpainter is trained. The target
  is the normal itself. The published method trains on holes and synthesises no defect. With a region, shares and
  holes are those of the region; a mask in the request takes the hole's place.
- :func:`repair`, the iteration of the test: its first mask (two checkerboards that see every pixel once), the
  threshold, the dilation by 3 pixels, and when it stops.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.inpaint import compose, hide
from ias_zoo.imaging.similarity import ssim_map
from ias_zoo.imaging.strokes import irregular_mask

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.imaging.inpaint import Inpainter
    from ias_zoo_handcrafted.options.masking import I3adOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Map = npt.NDArray[np.float32]

STEPS, DILATION, CHECKER = 10, 3, 16
SAME_MASK = 0.99  # intersection over union at which the iteration stands still


class I3ad(ImageSynthesizer):
    """I3AD's holes, filled."""

    options: I3adOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Hide an irregular part and fill it."""
        normal, region = request.need_normal(), request.region
        drawn: dict[str, Any] = {"target": "normal", "fill": self.options.fill}
        if request.mask is not None:
            mask = request.mask.copy() if region is None else request.mask & region
        else:
            drawn["share"] = rng.uniform(*self.options.coverage)
            within = np.ones(normal.shape[:2], np.bool_) if region is None else region
            mask = irregular_mask(within, drawn["share"], rng)
        return Drawn(image=hide(normal, mask, self.options.fill), mask=mask, drawn=drawn)


class Repair(NamedTuple):
    """What :func:`repair` found.

    Attributes
    ----------
    image:
        H x W x 3 uint8 RGB: the picture with what was found odd filled in; elsewhere bit for bit the picture.
    mask:
        H x W bool: what was found odd.
    score:
        H x W float32, 1 - SSIM of picture and repaired picture.
    areas:
        The mask's pixels after each step, the first mask's before them.
    """

    image: RGB
    mask: Mask
    score: Map
    areas: tuple[int, ...]


def repair(image: RGB, inpaint: Inpainter, threshold: float, *, steps: int = STEPS, dilation: int = DILATION) -> Repair:
    """Reconstruct, mask what differs, fill that in, and again, until the mask stands still.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    inpaint:
        Fills holes; it gets the last picture with black holes, and the mask of them.
    threshold:
        tau: pixels with 1 - SSIM above it are odd. :func:`calibrate` finds it on normals.
    steps:
        T: at most this many.
    dilation:
        Pixels by which the mask is widened.
    """
    seen = _reconstructed(image, inpaint)
    score = 1 - ssim_map(image, seen)
    mask, repaired = _odd(score, threshold, dilation), image.copy()
    areas = [int(mask.sum())]
    for _ in range(steps):
        if not mask.any():
            break
        filled = inpaint(hide(repaired, mask, "black"), mask)
        repaired = compose(image, filled, mask)
        score = 1 - ssim_map(image, repaired)
        following = _odd(score, threshold, dilation)
        areas.append(int(following.sum()))
        if not following.any():  # what was masked comes back as it was: nothing is odd
            mask, repaired = following, image.copy()
            break
        if (mask & following).sum() > SAME_MASK * (mask | following).sum():
            break
        mask = following
    return Repair(compose(image, repaired, mask), mask, score, tuple(areas))


def calibrate(normals: Iterable[RGB], inpaint: Inpainter, percentile: float = 99.0) -> float:
    """The threshold above which ``100 - percentile`` percent of the pixels of held-out normals lie.

    Raises
    ------
    ValueError
        If there are no normals.
    """
    scores = [1 - ssim_map(normal, _reconstructed(normal, inpaint)) for normal in normals]
    if not scores:
        raise ValueError("no normals were given: the threshold is a percentile of their scores")
    return float(np.percentile(np.concatenate([score.ravel() for score in scores]), percentile))


def _reconstructed(image: RGB, inpaint: Inpainter) -> RGB:
    """Every pixel filled in once, by two passes of a checkerboard of 16 x 16 pixels."""
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    board = (y // CHECKER + x // CHECKER) % 2 == 0
    result = image.copy()
    for mask in (board, ~board):
        result = compose(result, inpaint(hide(image, mask, "black"), mask), mask)
    return result


def _odd(score: Map, threshold: float, dilation: int) -> Mask:
    above = (score > threshold).astype(np.uint8)
    side = 2 * dilation + 1
    return np.asarray(cv2.dilate(above, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), np.bool_)
