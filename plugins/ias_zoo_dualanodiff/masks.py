"""From the anomaly on grey to its mask; and where the product is, for background compensation."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from ias_zoo.errors import OptionError, WeightsError
from ias_zoo.imaging.foreground import otsu_foreground

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo_dualanodiff.options import DualAnoDiffOptions

LEAST_CONTRAST = 0.06
"""Of 1: an anomaly that is nowhere farther from mid-grey, after smoothing, is none. The embedded base turns plain grey
into 0.02."""
MOST_CONTRAST = 0.2  # a threshold above this would cut parts off strong anomalies
GREY_DRIFT = 0.15  # how far from the middle a picture's own grey may lie
CLOSED_GAP = 1 / 15  # of the side: what a grey defect shows is often its outline; 9 pixels at 128 x 128
SMALLEST_PART = 1 / 3000  # of the picture: 5 pixels at 128 x 128


class MaskReader(Protocol):
    """Reads the mask off an anomaly on grey."""

    def __call__(self, anomaly: RGB) -> Mask:
        """H x W x 3 uint8 to H x W bool."""
        ...


def mask_reader(options: DualAnoDiffOptions) -> MaskReader:
    """The reader that the options ask for.

    Raises
    ------
    OptionError
        For a U2-Net without its weights.
    """
    if options.masks == "distance":
        return lambda anomaly: by_distance(anomaly, options.mask_threshold)
    network = _network(options, "masks")
    return lambda anomaly: by_saliency(anomaly, network(anomaly), options.mask_threshold or 0.5)


def foreground(image: RGB, options: DualAnoDiffOptions) -> npt.NDArray[np.uint8]:
    """Where the product is, H x W of 0 to 255.

    Raises
    ------
    OptionError
        For a U2-Net without its weights.
    """
    if options.foreground == "otsu":
        return np.where(otsu_foreground(image), 255, 0).astype(np.uint8)
    return np.asarray(np.round(stretched(_network(options, "foreground")(image)) * 255), dtype=np.uint8)


def grey_of(anomaly: RGB) -> npt.NDArray[np.float32]:
    """The picture's own grey: of each channel the commonest level near the middle, 0 to 1; 3 float32.

    Samplers do not hit mid-grey: after few training steps the whole picture is lighter or darker by several percent.
    """
    near = np.abs(np.arange(256) / 255.0 - 0.5) <= GREY_DRIFT
    found = []
    for channel in np.moveaxis(anomaly, 2, 0):
        counts = np.bincount(channel.ravel(), minlength=256).astype(np.float32)
        smooth = np.convolve(counts, np.hanning(13)[1:-1], mode="same")
        found.append(float(np.argmax(np.where(near, smooth, -1.0))) / 255.0 if counts[near].any() else 0.5)
    return np.array(found, dtype=np.float32)


def distance_from_grey(anomaly: RGB) -> npt.NDArray[np.float32]:
    """Max over the channels of |x - the picture's grey|, x in 0 to 1, smoothed by a Gaussian of 1/128 of the side."""
    values = np.abs(anomaly.astype(np.float32) / 255.0 - grey_of(anomaly)).max(axis=2)
    sigma = max(0.5, min(anomaly.shape[:2]) / 128)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def by_distance(anomaly: RGB, threshold: float | None = None) -> Mask:
    """Pixels far from the grey: smoothed, thresholded, gaps closed, holes filled, small parts dropped (our design).

    Parameters
    ----------
    threshold:
        0 to 1; None: half of the anomaly's median distance, kept within 0.06 and 0.2. Either way a picture that is
        nowhere farther from grey than 0.06 has no mask: what little it shows is the networks' error. Grey defects are
        the weak spot.
    """
    distance = distance_from_grey(anomaly)
    if float(distance.max()) <= LEAST_CONTRAST:
        return np.zeros(distance.shape, np.bool_)
    if threshold is None:
        half = 0.5 * float(np.median(distance[distance > LEAST_CONTRAST]))  # where a smoothed edge was
        threshold = min(max(half, LEAST_CONTRAST), MOST_CONTRAST)
    return _cleaned(distance > threshold)


def by_saliency(anomaly: RGB, saliency: npt.NDArray[np.float32], threshold: float) -> Mask:
    """A network's saliency, stretched to 0..1 as the U2-Net's authors do, above a threshold.

    Stretching makes a mask out of any picture, so one without contrast has none before it is asked.
    """
    if float(distance_from_grey(anomaly).max()) < LEAST_CONTRAST:
        return np.zeros(saliency.shape, np.bool_)
    return np.asarray(stretched(saliency) > threshold)


def stretched(saliency: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Min-max to 0..1; all 0 where there is nothing to stretch."""
    low, high = float(saliency.min()), float(saliency.max())
    if high - low < 1e-6:
        return np.zeros(saliency.shape, np.float32)
    return np.asarray((saliency - low) / (high - low), dtype=np.float32)


def _cleaned(mask: Mask) -> Mask:
    """Close gaps, fill holes and drop parts (8-connected) that are too small."""
    size = round(CLOSED_GAP * min(mask.shape)) | 1
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    padded = np.pad(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, near), 1)
    cv2.floodFill(padded, None, (0, 0), 2)
    filled = (padded[1:-1, 1:-1] != 2).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= max(2, round(SMALLEST_PART * mask.size))
    large[0] = False  # what is left over
    return np.asarray(large[parts], dtype=np.bool_)


def _network(options: DualAnoDiffOptions, what: str) -> Any:
    if options.u2net is None:
        raise OptionError(f"{what}=u2net needs the network's weights: u2net=FILE.safetensors (see the method's card)")
    return _opened(options.u2net)


@lru_cache(maxsize=1)
def _opened(path: str) -> Any:
    from ias_zoo_dualanodiff.u2net import open_u2net

    try:
        return open_u2net(path)
    except FileNotFoundError:
        raise OptionError(f"u2net={path!r}: no such file") from None
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"u2net={path!r}: not the weights of the full U2-Net as safetensors: {first}") from error
