"""Pictures inside a page: small WebP files for photographs, four-colour PNGs for masks, both as ``data:`` addresses."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from ias_zoo.data.images import resize_image
from ias_zoo.report.gather import Judged, NormalPictures, Run, read_sample, same_shape

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

SIDES = (448, 384, 320, 256, 208, 160, 128, 96)
"""Largest sides of a picture in the page, in pixels; the largest that keeps the page below :data:`BUDGET` is taken.

At the smallest there are no close-ups: they would take as much again.
"""

BUDGET = 12 * 2**20
"""Bytes that the pictures may take; text, tables and plots come on top and stay below 3 MB."""

QUALITY = 82
"""WebP quality; grain stays visible, and a flat background costs nothing."""

CLOSE_FROM = 1.5
"""A sample gets a close-up of its largest defect when its picture is reduced by more than this factor."""

_TRIED = 12  # samples encoded to foresee the size of the page
_RED = (226, 32, 32)
_ALPHA = (0, 72, 255)  # outside, inside, outline


@dataclass(frozen=True)
class View:
    """One view of a sample: ``data:`` addresses of picture and mask, the key of its normal, and the shape in pixels."""

    image: str
    mask: str
    normal: str | None
    height: int
    width: int


@dataclass(frozen=True)
class Shown:
    """A sample as the page shows it; ``why`` says why there is no normal."""

    whole: View
    close: View | None
    height: int
    width: int
    why: str


class Pictures:
    """Makes the pictures of a page, each normal once.

    Attributes
    ----------
    normals:
        Key to ``data:`` address: many samples share a normal.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.normals: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._source: tuple[Run, NormalPictures] | None = None  # of the run at hand only: it keeps decoded pictures

    def show(self, sample: Judged) -> Shown:
        """Read a sample and its normal again and make them small."""
        image, mask = read_sample(sample.run, sample.line)
        height, width = mask.shape
        if self._source is None or self._source[0] is not sample.run:
            self._source = sample.run, NormalPictures(sample.run)
        found = self._source[1].find(sample.line)
        normal, why = found.image, found.why
        if normal is not None and not same_shape(normal, image):
            normal = None
            why = f"The sample is {width} × {height} pixels, its normal has another shape."
        if normal is not None and normal.shape != image.shape:
            normal = resize_image(normal, height, width)
        whole = self._view(image, mask, normal)
        box = close_up_box(mask, self.side)
        close = None
        if box is not None and self.side > SIDES[-1] and max(height, width) > CLOSE_FROM * self.side:
            close = self._view(image[box], mask[box], None if normal is None else normal[box])
        return Shown(whole, close, height, width, why)

    def _view(self, image: RGB, mask: Mask, normal: RGB | None) -> View:
        height, width = fitted(image.shape, self.side)
        name = None
        if normal is not None:
            data = webp(resize_image(normal, height, width))
            name = self._keys.setdefault(data, f"n{len(self._keys)}")  # two runs on one data set share it, too
            self.normals[name] = data
        small = webp(resize_image(image, height, width))
        return View(small, mask_png(mask, height, width), name, height, width)


def best_side(samples: Sequence[Judged]) -> int:
    """The largest of :data:`SIDES` at which ``samples`` will fit the budget, foreseen from a few of them."""
    if not samples:
        return SIDES[0]
    tried = [samples[place] for place in sorted({k * len(samples) // _TRIED for k in range(_TRIED)})]
    apart = len({(one.run.plan.data, _normal_id(one)) for one in samples})  # normals are in the page once
    for side in SIDES:
        pictures = Pictures(side)
        own, shared = 0.0, 0.0
        for shown in map(pictures.show, tried):
            own += sum(len(view.image) + len(view.mask) for view in (shown.whole, shown.close) if view)
            own += len(pictures.normals.get(shown.close.normal or "", "")) if shown.close else 0
            shared += len(pictures.normals.get(shown.whole.normal or "", ""))
        if (own * len(samples) + shared * apart) / len(tried) < BUDGET:
            return side
    return SIDES[-1]


def _normal_id(sample: Judged) -> Any:
    return sample.line["recipe"]["request"].get("normal_id")


def close_up_box(mask: Mask, side: int) -> tuple[slice, slice] | None:
    """A square around the mask's largest part, half as wide again and at least ``side`` // 2 pixels; None if empty."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    left, top, width, height, _ = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))].tolist()
    edge = max(side // 2, math.ceil(1.5 * max(width, height)))
    return _span(top + height / 2, edge, mask.shape[0]), _span(left + width / 2, edge, mask.shape[1])


def _span(middle: float, edge: int, size: int) -> slice:
    start = min(max(0, round(middle - edge / 2)), max(0, size - edge))
    return slice(start, min(size, start + edge))


def fitted(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Height and width at most ``side``, in proportion; nothing is enlarged."""
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def webp(image: RGB) -> str:
    """A photograph as a ``data:`` address."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="WEBP", quality=QUALITY, method=2)
    return data_uri("image/webp", buffer.getvalue())


def mask_png(mask: Mask, height: int, width: int) -> str:
    """A mask as a see-through red PNG with an outline that lies outside of it and hides none of it.

    Reduced by "any pixel", so that a hairline crack does not vanish from the overview; it is drawn wider than it is.
    """
    small = mask
    if mask.shape != (height, width):
        rows = np.arange(height) * mask.shape[0] // height
        columns = np.arange(width) * mask.shape[1] // width
        small = np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)
    grown = cv2.dilate(small.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    levels = np.where(small, 1, np.where(grown, 2, 0)).astype(np.uint8)
    picture = Image.frombytes("P", (width, height), levels.tobytes())
    picture.putpalette([*_RED, *_RED, *_RED])
    buffer = BytesIO()
    picture.save(buffer, format="PNG", transparency=bytes(_ALPHA), optimize=True, bits=2)
    return data_uri("image/png", buffer.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as a ``data:`` address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def view_json(view: View | None) -> Mapping[str, Any] | None:
    """A view for the page's script."""
    if view is None:
        return None
    return {"image": view.image, "mask": view.mask, "normal": view.normal, "height": view.height, "width": view.width}
