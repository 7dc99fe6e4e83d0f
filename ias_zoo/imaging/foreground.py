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
Finder = Literal["otsu", "grabcut", "all"]
"""How the product is found in pictures that nobody has a table for."""

SMALLEST_COMPONENT = 0.01  # of the image
SMALLEST_FOREGROUND, LARGEST_FOREGROUND = 0.05, 0.95  # beyond these there is no telling product from background
BACKGROUND_OF_BORDER = 0.9  # of the border's pixels
GRABCUT_SIDE, GRABCUT_COMPONENTS, GRABCUT_STEPS = 256, 5, 5


def product(image: RGB, how: Finder, region: Mask | None = None) -> Mask | None:
    """Where a defect may be: the region that somebody gave, or else the product.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    how:
        ``otsu``, ``grabcut``, or ``all`` for everywhere.
    region:
        H x W bool; beats ``how``.

    Returns
    -------
    H x W bool, or None for everywhere.
    """
    if region is None and how != "all":
        region = otsu_foreground(image) if how == "otsu" else grabcut_foreground(image)
    return None if region is None or region.all() else region


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


def grabcut_foreground(image: RGB) -> Mask:
    """Find the product by GrabCut, started from Otsu's foreground (our design).

    Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004, as OpenCV has it. It looks at colours and edges, where Otsu
    looks at brightness alone, and leaves soft shadows (not those of one tone with a hard edge). Pictures above 256
    pixels a side are cut at that size and the outcome is enlarged. What Otsu finds on the picture's border stays what
    it is; all else is open. All True where Otsu finds nothing, or where the outcome covers less than 5 % or more than
    95 % of the image.

    Notes
    -----
    OpenCV begins with a clustering that draws from a global random state. Here both colour models begin with five equal
    shares of the pixels, sorted by brightness, so that the same picture gives the same mask.
    """
    found = otsu_foreground(image)
    if found.all():
        return found
    height, width = image.shape[:2]
    scale = min(1.0, GRABCUT_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    start = np.asarray(cv2.resize(found.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)).astype(np.bool_)
    if min(np.count_nonzero(start), np.count_nonzero(~start)) < GRABCUT_COMPONENTS:
        return found
    labels = np.where(start, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        labels[edge] = np.where(start[edge], cv2.GC_FGD, cv2.GC_BGD)
    models = _colour_model(small[~start]), _colour_model(small[start])
    whole = (0, 0, size[0], size[1])  # not looked at: the labels are given
    cv2.grabCut(small, labels, whole, models[0], models[1], GRABCUT_STEPS, cv2.GC_EVAL)
    cut = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).view(np.uint8)
    large = np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)).astype(np.bool_)
    mask = _large_parts(binary_median(large, 7))
    return mask if SMALLEST_FOREGROUND <= mask.mean() <= LARGEST_FOREGROUND else everywhere(image)


def _colour_model(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """OpenCV's mixture of five Gaussians: five weights, means (of 3) and covariances (3 x 3), 1 x 65 float64."""
    order = np.argsort(pixels.astype(np.int64).sum(axis=1), kind="stable")
    shares = np.array_split(pixels[order].astype(np.float64), GRABCUT_COMPONENTS)
    weights = [len(share) / len(pixels) for share in shares]
    means = [share.mean(axis=0) for share in shares]
    # A little variance of its own: a covariance must have an inverse.
    spreads = [np.cov(share.T, bias=True) + np.eye(3) for share in shares]
    return np.concatenate([weights, np.ravel(means), np.ravel(spreads)])[None]


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
