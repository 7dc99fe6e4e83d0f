"""How alike two pictures are, pixel by pixel: SSIM and the multi-scale similarity of gradient magnitudes.

SSIM: Wang, Bovik, Sheikh, Simoncelli, *Image Quality Assessment: From Error Visibility to Structural Similarity*, IEEE
TIP 2004. Gradient magnitudes: Xue, Zhang, Mou, Bovik, IEEE TIP 2014; over several scales as in Zavrtanik, Kristan,
Skocaj, *Reconstruction by Inpainting for Visual Anomaly Detection*, Pattern Recognition 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Map = npt.NDArray[np.float32]

__all__ = ["msgms_map", "ssim_map"]

SSIM_SIDE, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
GMS_C = 0.0026
GMS_SCALES = 4
_PREWITT = np.array([[1, 0, -1]] * 3, np.float32) / 3


def ssim_map(one: RGB, other: RGB) -> Map:
    """Structural similarity around each pixel.

    Parameters
    ----------
    one, other:
        H x W x 3 uint8.

    Returns
    -------
    H x W float32 up to 1 (where the pictures agree), the mean over the channels. Gaussian window 11 x 11, sigma 1.5,
    the picture mirrored at its border; K1 = 0.01, K2 = 0.03.
    """
    a, b = _unit(one), _unit(other)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a * mean_a, _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)
    bottom = (mean_a * mean_a + mean_b * mean_b + SSIM_C1) * (var_a + var_b + SSIM_C2)
    return np.asarray((top / bottom).mean(axis=2), np.float32)


def msgms_map(one: RGB, other: RGB, scales: int = GMS_SCALES) -> Map:
    """Gradient magnitude similarity, averaged over scales 1, 1/2, 1/4, ... and over the channels.

    Parameters
    ----------
    one, other:
        H x W x 3 uint8.
    scales:
        How many; fewer where a side would fall below 2 pixels.

    Returns
    -------
    H x W float32 in (0, 1], 1 where the pictures agree.
    """
    a, b = _unit(one), _unit(other)
    height, width = one.shape[:2]
    total, count = np.zeros((height, width), np.float32), 0
    for scale in range(scales):
        if scale:
            size = (a.shape[1] // 2, a.shape[0] // 2)
            if min(size) < 2:
                break
            a, b = (np.asarray(cv2.resize(x, size, interpolation=cv2.INTER_AREA), np.float32) for x in (a, b))
        similarity = _gms(a, b)
        total += cv2.resize(similarity, (width, height), interpolation=cv2.INTER_LINEAR)
        count += 1
    return total / np.float32(count)


def _gms(a: Map, b: Map) -> Map:
    one, other = _gradient(a), _gradient(b)
    similarity = (2 * one * other + GMS_C) / (one * one + other * other + GMS_C)
    return np.asarray(similarity.mean(axis=2), np.float32)


def _gradient(image: Map) -> Map:
    across = cv2.filter2D(image, cv2.CV_32F, _PREWITT, borderType=cv2.BORDER_REPLICATE)
    down = cv2.filter2D(image, cv2.CV_32F, _PREWITT.T, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.sqrt(across * across + down * down), np.float32)


def _unit(image: RGB) -> Map:
    return np.asarray(image, np.float32) / np.float32(255)


def _blur(image: Map) -> Map:
    side = (SSIM_SIDE, SSIM_SIDE)
    return np.asarray(cv2.GaussianBlur(image, side, SSIM_SIGMA, borderType=cv2.BORDER_REFLECT_101), np.float32)
