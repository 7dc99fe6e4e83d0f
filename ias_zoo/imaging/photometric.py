"""Colour and texture operations on uint8 RGB pictures: each a pure function of the picture and its parameters.

Two families. :func:`color_jitter` is the brightness / contrast / saturation / hue jitter that torchvision made common,
written for small crops. :data:`OPERATIONS` are ten operations with which the published texture-mixing methods vary
their texture pictures; the meanings are those of the imgaug and Pillow operations that the methods name, so neither
an old library nor its global random state is needed.

Everything takes and gives H x W x 3 uint8 RGB of any size, and changes no input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Table = npt.NDArray[np.uint8]

__all__ = [
    "OPERATIONS",
    "Operation",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "apply_operations",
    "autocontrast",
    "brightness",
    "color_jitter",
    "draw_operations",
    "equalise",
    "gamma",
    "hue_saturation",
    "invert",
    "posterise",
    "sharpness",
    "solarise",
    "turn",
]

_LEVELS = np.arange(256)
_STRIP = 16384  # pixels


# -- colour jitter ---------------------------------------------------------------------------------------------------


def color_jitter(
    image: RGB, rng: np.random.Generator, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[RGB, dict[str, Any]]:
    """Jitter colours as torchvision's ``ColorJitter`` does.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    rng:
        Draws the order and the four factors.
    brightness, contrast, saturation:
        Largest relative change, each >= 0: the factor is drawn from U(max(0, 1 - x), 1 + x).
    hue:
        Largest shift as a share of the colour circle, in [0, 0.5]: the shift is drawn from U(-hue, hue).

    Returns
    -------
    The jittered picture, and the drawn ``order`` of the four steps with their factors.
    """
    steps: dict[str, Callable[[RGB, float], RGB]] = {
        "brightness": adjust_brightness,
        "contrast": adjust_contrast,
        "saturation": adjust_saturation,
        "hue": adjust_hue,
    }
    factors = {
        name: float(rng.uniform(max(0.0, 1.0 - limit), 1.0 + limit))
        for name, limit in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
    }
    factors["hue"] = float(rng.uniform(-hue, hue))
    order = [str(name) for name in rng.permutation(list(steps))]
    for name in order:
        image = steps[name](image, factors[name])
    return image, {"order": order, **factors}


def adjust_brightness(image: RGB, factor: float) -> RGB:
    """Multiply by ``factor`` >= 0."""
    return _look_up(image, _table(_LEVELS * factor))


def adjust_contrast(image: RGB, factor: float) -> RGB:
    """Blend with the mean of the picture's grey version, which has weight 1 - ``factor``."""
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    return _look_up(image, _table(_LEVELS * factor + (1.0 - factor) * mean))


def adjust_saturation(image: RGB, factor: float) -> RGB:
    """Blend each pixel with its own grey value (0.299 R + 0.587 G + 0.114 B), which has weight 1 - ``factor``."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _rgb(cv2.addWeighted(image, factor, grey, 1.0 - factor, 0.0))


def adjust_hue(image: RGB, shift: float) -> RGB:
    """Turn the hue by ``shift`` of the colour circle (0.1 is 36 degrees)."""
    result = np.empty_like(image)
    lines = max(1, _STRIP // max(1, image.shape[1]))
    for top in range(0, len(image), lines):  # a strip at a time stays in the processor's cache
        # In float: eight-bit hue would be off by three levels on strong colours.
        levels = image[top : top + lines].astype(np.float32)
        levels *= np.float32(1 / 255)
        hsv = cv2.cvtColor(levels, cv2.COLOR_RGB2HSV)
        hue = hsv[..., 0] + np.float32(360.0 * shift)
        hue -= 360.0 * np.floor(hue * np.float32(1 / 360))
        hsv[..., 0] = hue
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=levels)
        levels *= np.float32(255)
        result[top : top + lines] = np.rint(levels, out=levels)
    return result


# -- the ten texture operations --------------------------------------------------------------------------------------


class Operation(NamedTuple):
    """A texture operation: how its parameters are drawn (JSON-able), and what it does with them."""

    draw: Callable[[np.random.Generator], dict[str, Any]]
    apply: Callable[..., RGB]


def draw_operations(count: int, rng: np.random.Generator, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Draw ``count`` different operations in random order, with their parameters.

    Parameters
    ----------
    count:
        How many, at most ``len(names)``.
    rng:
        Draws the operations, then their parameters.
    names:
        Keys of :data:`OPERATIONS` to choose from; all by default.

    Returns
    -------
    One ``{"name": ..., parameter: value, ...}`` an operation, ready for :func:`apply_operations`.
    """
    among = list(OPERATIONS) if names is None else list(names)
    chosen = [among[int(i)] for i in rng.choice(len(among), count, replace=False)]
    return [{"name": name, **OPERATIONS[name].draw(rng)} for name in chosen]


def apply_operations(image: RGB, operations: Sequence[Mapping[str, Any]]) -> RGB:
    """Apply drawn operations in their order."""
    for operation in operations:
        parameters = {key: value for key, value in operation.items() if key != "name"}
        image = OPERATIONS[operation["name"]].apply(image, **parameters)
    return image


def gamma(image: RGB, exponents: Sequence[float]) -> RGB:
    """Map each channel's v to 255 (v / 255)^g with its own exponent g."""
    powers = np.asarray(exponents, dtype=np.float64)
    return _look_up(image, _table(255.0 * (_LEVELS[:, None] / 255.0) ** powers[None, :]))


# Colour space -> (to it, back, which channel is the brightness).
_BRIGHTNESS_SPACES = {
    "ycrcb": (cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB, 0),
    "hsv": (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, 2),
    "hls": (cv2.COLOR_RGB2HLS, cv2.COLOR_HLS2RGB, 1),
    "lab": (cv2.COLOR_RGB2Lab, cv2.COLOR_Lab2RGB, 0),
    "luv": (cv2.COLOR_RGB2Luv, cv2.COLOR_Luv2RGB, 0),
    "yuv": (cv2.COLOR_RGB2YUV, cv2.COLOR_YUV2RGB, 0),
}


def brightness(image: RGB, space: str, factor: float, summand: int, multiply_first: bool) -> RGB:
    """Multiply and add to the brightness channel of a colour space, clipping after each of the two."""
    forth, back, channel = _BRIGHTNESS_SPACES[space]
    tables = np.repeat(_LEVELS[:, None], 3, axis=1).astype(np.float64)
    if multiply_first:
        tables[:, channel] = _table(_LEVELS * factor).astype(np.float64) + summand
    else:
        tables[:, channel] = _table(_LEVELS + summand) * factor
    return _convert(_look_up(_convert(image, forth), _table(tables)), back)


def sharpness(image: RGB, factor: float) -> RGB:
    """Blend with a smoothed version, which has weight 1 - ``factor``: 0 smooths, 1 changes nothing, 2 sharpens.

    The kernel is Pillow's (ones, 5 in the middle, over 13), and as there the outermost pixels stay as they are.
    """
    kernel = np.full((3, 3), 1 / 13)
    kernel[1, 1] = 5 / 13
    sharpened = _rgb(cv2.addWeighted(image, factor, cv2.filter2D(image, -1, kernel), 1.0 - factor, 0.0))
    for edge in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        sharpened[edge] = image[edge]
    return sharpened


def hue_saturation(image: RGB, hue: int, saturation: int) -> RGB:
    """Add to hue and saturation in 8-bit HSV.

    ``hue`` counts in 255ths of the colour circle and is truncated to OpenCV's 180 steps (50 becomes 35, which is 70
    degrees); ``saturation`` is added to the 8-bit saturation and clipped.
    """
    tables = np.repeat(_LEVELS[:, None], 3, axis=1)
    tables[:, 0] = (_LEVELS + int(hue * 180 / 255)) % 180
    tables[:, 1] = _LEVELS + saturation
    return _convert(_look_up(_convert(image, cv2.COLOR_RGB2HSV), _table(tables)), cv2.COLOR_HSV2RGB)


def solarise(image: RGB, threshold: float, active: bool) -> RGB:
    """Invert the levels v >= ``threshold``, if ``active``."""
    return _look_up(image, _table(np.where(threshold <= _LEVELS, 255 - _LEVELS, _LEVELS))) if active else image


def posterise(image: RGB, bits: int) -> RGB:
    """Keep the highest ``bits`` of 8 bits; 8 changes nothing."""
    step = 2 ** (8 - bits)
    return _look_up(image, _table(_LEVELS // step * step))


def invert(image: RGB) -> RGB:
    """Map v to 255 - v."""
    return _rgb(cv2.bitwise_not(image))


def autocontrast(image: RGB, cutoff: int) -> RGB:
    """Stretch each channel to 0..255 after ignoring ``cutoff`` percent (0..49) of its pixels at either end."""
    cut = image.shape[0] * image.shape[1] * cutoff // 100
    tables = np.empty((256, 3))
    for channel in range(3):
        counts = _histogram(image, channel)
        low = int(np.argmax(np.cumsum(counts) > cut))
        high = 255 - int(np.argmax(np.cumsum(counts[::-1]) > cut))
        if high > low:
            scale = 255.0 / (high - low)
            tables[:, channel] = np.floor(_LEVELS * scale - low * scale)  # Pillow's rounding, to the bit
        else:
            tables[:, channel] = _LEVELS
    return _look_up(image, _table(tables))


def equalise(image: RGB) -> RGB:
    """Flatten the histogram of each channel, in Pillow's integer arithmetic."""
    tables = np.empty((256, 3))
    for channel in range(3):
        counts = _histogram(image, channel)
        step = (int(counts.sum()) - int(counts[np.flatnonzero(counts)[-1]])) // 255
        below = np.cumsum(counts) - counts
        tables[:, channel] = (step // 2 + below) // step if step else _LEVELS
    return _look_up(image, _table(tables))


def turn(image: RGB, degrees: float) -> RGB:
    """Turn counter-clockwise about the centre: bilinear, black where nothing was, same size."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return _rgb(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR))


def _draw_brightness(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "space": list(_BRIGHTNESS_SPACES)[int(rng.integers(len(_BRIGHTNESS_SPACES)))],
        "factor": float(rng.uniform(0.8, 1.2)),
        "summand": int(rng.integers(-30, 31)),
        "multiply_first": bool(rng.random() < 0.5),
    }


def _draw_hue_saturation(rng: np.random.Generator) -> dict[str, Any]:
    return {"hue": int(rng.integers(-50, 51)), "saturation": int(rng.integers(-50, 51))}


OPERATIONS: Mapping[str, Operation] = {
    "gamma": Operation(lambda rng: {"exponents": rng.uniform(0.5, 2.0, 3).tolist()}, gamma),
    "brightness": Operation(_draw_brightness, brightness),
    "sharpness": Operation(lambda rng: {"factor": float(rng.uniform(0.0, 2.0))}, sharpness),
    "hue_saturation": Operation(_draw_hue_saturation, hue_saturation),
    "solarise": Operation(
        lambda rng: {"threshold": float(rng.uniform(32.0, 128.0)), "active": bool(rng.random() < 0.5)}, solarise
    ),
    "posterise": Operation(lambda rng: {"bits": int(rng.integers(1, 9))}, posterise),
    "invert": Operation(lambda rng: {}, invert),
    "autocontrast": Operation(lambda rng: {"cutoff": int(rng.integers(0, 21))}, autocontrast),
    "equalise": Operation(lambda rng: {}, equalise),
    "turn": Operation(lambda rng: {"degrees": float(rng.uniform(-45.0, 45.0))}, turn),
}
"""The ten operations by name, with their published parameter ranges."""


def _table(levels: npt.NDArray[Any]) -> Table:
    """Round and clip 256 (x 3) levels into a look-up table."""
    return np.asarray(np.clip(np.rint(levels), 0, 255), dtype=np.uint8)


def _look_up(image: RGB, table: Table) -> RGB:
    """Apply one table of 256 entries, or 256 x 3 with a column a channel."""
    return _rgb(cv2.LUT(image, table if table.ndim == 1 else table[:, None, :]))


def _convert(image: RGB, code: int) -> RGB:
    return _rgb(cv2.cvtColor(image, code))


def _histogram(image: RGB, channel: int) -> npt.NDArray[np.int64]:
    counts = cv2.calcHist([image], [channel], None, [256], [0, 256])  # 256, or 256 x 1 before OpenCV 5
    return np.asarray(counts).ravel().astype(np.int64)


def _rgb(image: Any) -> RGB:
    """Give OpenCV's result the type that it has."""
    return np.asarray(image, dtype=np.uint8)
