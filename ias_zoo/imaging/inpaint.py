"""One small interface for filling a hole: ``f(image, mask) -> image``; and the plain ways to hide pixels.

Methods of the inpainting group hide parts of a normal and have somebody fill them in again. Whoever fills (a trained
network, OpenCV, an oracle in a test) is an :class:`Inpainter`: any callable of that form. What it does outside the
mask does not count, :func:`compose` puts the picture's own pixels back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import cv2
import numpy as np

from ias_zoo.imaging.labels import bounding_box

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

__all__ = ["FILLS", "Fill", "Inpainter", "compose", "hide", "identity", "navier_stokes", "telea"]

Fill = Literal["black", "grey", "mean", "inpaint"]
"""What comes where pixels are hidden: 0, 128, the mean colour of what is still seen, or OpenCV's inpainting."""

FILLS: tuple[Fill, ...] = ("black", "grey", "mean", "inpaint")
RADIUS = 3
STRIP = 64  # lines
MIDDLE = 128


class Inpainter(Protocol):
    """Fills a hole: H x W x 3 uint8 RGB and H x W bool (True: hidden) to H x W x 3 uint8 RGB.

    It may return anything outside the mask, must change neither argument, and should not look under the mask: what is
    there is the answer, or a defect.
    """

    def __call__(self, image: RGB, mask: Mask, /) -> RGB:
        """Fill ``mask`` in ``image``."""
        ...


def telea(image: RGB, mask: Mask, /) -> RGB:
    """OpenCV's inpainting after Telea (2004), radius 3: the built-in inpainter. Exact outside the mask."""
    return _opencv(image, mask, cv2.INPAINT_TELEA)


def navier_stokes(image: RGB, mask: Mask, /) -> RGB:
    """OpenCV's inpainting after Bertalmio et al. (2001), radius 3. Exact outside the mask."""
    return _opencv(image, mask, cv2.INPAINT_NS)


def identity(image: RGB, mask: Mask, /) -> RGB:
    """Give the picture back: the inpainter that fills in what was there, for tests of what is around it."""
    return image.copy()


def compose(image: RGB, filled: RGB, mask: Mask) -> RGB:
    """``filled`` inside the mask, ``image`` outside it, bit for bit; a new array."""
    return np.asarray(cv2.copyTo(filled, mask.view(np.uint8), image.copy()), np.uint8)


def hide(image: RGB, mask: Mask, fill: Fill) -> RGB:
    """Hide the pixels of a mask.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    mask:
        H x W bool: what is hidden. No hidden pixel has an influence on the result.
    fill:
        What comes in its place, see :data:`Fill`. Where nothing is left to be seen, ``mean`` and ``inpaint`` are grey.

    Returns
    -------
    H x W x 3 uint8 RGB, a new array, equal to ``image`` outside the mask.
    """
    box = bounding_box(mask)
    if fill == "inpaint":
        return telea(image, mask)
    result = image.copy()
    if box is None:
        return result
    value = {"black": (0.0,) * 3, "grey": (float(MIDDLE),) * 3}.get(fill) or _mean_of_seen(image, mask)
    target, hidden = result[box], mask[box].view(np.uint8)
    block = np.empty_like(target[:STRIP])
    block[...] = np.tile(np.rint(value).astype(np.uint8), block.shape[1]).reshape(-1, 3)
    for top in range(0, len(target), STRIP):  # in place, and a strip at a time: stays in the processor's cache
        strip = target[top : top + STRIP]
        cv2.copyTo(block[: len(strip)], hidden[top : top + STRIP], strip)
    return result


def _mean_of_seen(image: RGB, mask: Mask) -> tuple[float, ...]:
    seen = (~mask).view(np.uint8)
    return tuple(cv2.mean(image, seen)[:3]) if seen.any() else (float(MIDDLE),) * 3


def _opencv(image: RGB, mask: Mask, how: int) -> RGB:
    """Inpaint around the mask only: a pixel's value depends on what is near the hole."""
    result = image.copy()
    box = bounding_box(mask, margin=RADIUS + 2)
    if box is None:
        return result
    if mask.all():
        result[...] = MIDDLE
        return result
    filled = cv2.inpaint(np.ascontiguousarray(image[box]), mask[box].view(np.uint8), RADIUS, how)
    result[box] = compose(result[box], np.asarray(filled, np.uint8), mask[box])
    return result
