"""Where the product is: masks of the foreground, made without a model.

Each function gives H x W bool, True on the product. They need not agree: a fixed tone or threshold is what published
tables are stated in; :func:`otsu_foreground` is for products nobody has a table for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

Polarity = Literal["brighter", "darker"]

SMALLEST_COMPONENT = 0.01  # of the image
SMALLEST_FOREGROUND, LARGEST_FOREGROUND = 0.05, 0.95  # beyond these there is no telling product from background
BACKGROUND_OF_BORDER = 0.9  # of the border's pixels


def everywhere(image: RGB) -> Mask:
    """All True: the picture shows nothing but the product, as pictures of textures do."""
    return np.ones(image.shape[:2], np.bool_)


def tone_distance(image: RGB, backgrounds: Sequence[tuple[float, float]]) -> Mask:
    """Pixels whose mean over the channels is far from each background tone.

    Parameters
    ----------
    image:
        H x W x 3 uint8.
    backgrounds:
        Pairs (tone b, threshold t), grey levels of 0-255: |mean - b| > t has to hold for every pair.

    Notes
    -----
    A 7 x 7 median then removes the grain of the threshold. The rule is that of Schlueter et al., "Natural Synthetic
    Anomalies", ECCV 2022.
    """
    sums = np.arange(3 * 255 + 1)  # the mean of three bytes is a third of an integer: decide once for each
    far = np.ones(sums.size, np.bool_)
    for tone, threshold in backgrounds:
        far &= np.abs(sums - 3.0 * tone) > 3.0 * threshold
    return binary_median(far[channel_sum(image)], 7)


def threshold_foreground(image: RGB, threshold: float, polarity: Polarity = "brighter") -> Mask:
    """Pixels whose grey value (Rec. 601 luma, 0-255) is above, or below, a fixed threshold."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey > threshold if polarity == "brighter" else grey < threshold)


def otsu_foreground(image: RGB) -> Mask:
    """Find the product by Otsu's threshold (our design, for products without a table).

    Grey, Gaussian 5 x 5, Otsu; inverted when more than half of the border would be foreground; 7 x 7 median; holes
    filled; parts of less than 1 % of the image dropped. All True when the outcome covers less than 5 % or more than
    95 % of the image, or when the border is not of one kind (less than 90 % of it agrees), as textures' are not:
    then nothing separates product from background.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0)
    _, thresholded = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = np.asarray(thresholded).astype(np.bool_)
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    on_border = float(border.mean())
    if 1.0 - BACKGROUND_OF_BORDER < on_border < BACKGROUND_OF_BORDER:
        return everywhere(image)
    if on_border > 0.5:
        mask = ~mask
    mask = _large_parts(binary_median(mask, 7))
    if not SMALLEST_FOREGROUND <= mask.mean() <= LARGEST_FOREGROUND:
        return everywhere(image)
    return mask


def channel_sum(image: RGB) -> npt.NDArray[np.uint16]:
    """Sum over the three channels: H x W uint16 in 0..765."""
    result: npt.NDArray[np.uint16] = image[..., 0].astype(np.uint16)
    result += image[..., 1]
    result += image[..., 2]
    return result


def binary_median(mask: Mask, size: int) -> Mask:
    """Median filter of a mask with a size x size window (odd, at most 15), the border pixels repeated outwards.

    For two values the median is a majority vote, which a box filter counts several times faster.
    """
    votes = cv2.boxFilter(mask.view(np.uint8), -1, (size, size), normalize=False, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(votes > size * size // 2)


def _large_parts(mask: Mask) -> Mask:
    """Keep the parts (8-connected, holes filled) of at least 1 % of the mask's pixels."""
    outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # Pick's theorem: an outline through the centres of its pixels holds area + length / 2 + 1 of them.
    large = [line for line in outlines if cv2.contourArea(line) + len(line) / 2 + 1 >= SMALLEST_COMPONENT * mask.size]
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, large, -1, 1, cv2.FILLED)
    return filled.view(np.bool_)
