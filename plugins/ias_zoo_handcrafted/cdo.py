"""CDO: rectangles of white noise on the image.

Cao, Xu, Liu, Shen: *Collaborative Discrepancy Optimization for Reliable Image Anomaly Localization*, IEEE Transactions
on Industrial Informatics 2023, arXiv 2302.08769; published code: github.com/caoyunkang/CDO (MIT). This is its noise;
the two networks that are trained on it are left out.

The published code exists twice, and ``variant`` chooses. ``v1`` (2023): half sides U{H // 40 .. H // 10 - 1}, which
is 6 to 24 pixels at 256, every pixel and channel of the rectangle an independent level from 0 to 254; for seven
categories of MVTec AD a centre must not lie on the background (grey mean below 30 or above 220, 7 x 7 median, dilated
by 19 x 19; 200 tries, else no patch). ``v2`` (2025): the image is enlarged to 1024 pixels, half sides are U{25 .. 101}
there, no background is looked at, and image and mask are shrunk again, which leaves a sixth of the noise's contrast.

Where this departs from the published code:

- 1 to 4 patches, as a generator is asked for anomalies; ``allow_clean=True`` draws 0 to 4, as published.
- 200 centres are judged at once instead of one after the other: the same law. A sample that would have no patch at all
  gets one whose centre is drawn among the allowed pixels.
- The normal is copied; the published code writes the noise into its clean image.
- The image keeps its size (published: 256 x 256, v2: 1024 and back), and v2 leaves the normal's pixels outside the
  rectangles as they are, where enlarging and shrinking would smooth them. v2's mask is where the shrunk rectangles have
  any weight; the published soft mask is the sample's label map.
- ``preset="auto"``: the background counts where the image's border lies on it by at least 90 %.
- With a region, centres lie in it, and what would land outside it is not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.blending import canvas, paste
from ias_zoo.imaging.foreground import binary_median, channel_sum
from ias_zoo.imaging.patches import Box
from ias_zoo.imaging.placement import first_true, random_pixel

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.cdo import CdoOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

MOST_PATCHES = 4
ATTEMPTS = 200
LEVELS = 255  # 0 to 254: the published draw leaves the last level out
DARK, BRIGHT = 30, 220
DILATION = 19
BORDER_SHARE = 0.9
OBJECTS = frozenset({"bottle", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "zipper"})
"""Categories of MVTec AD for which the published code keeps centres off the background."""

V2_SIDE, V2_HALF, V2_SHRINK = 1024, (25, 101), 4


class Cdo(ImageSynthesizer):
    """CDO's noise."""

    options: CdoOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Put noise on one normal."""
        normal, region = request.need_normal(), request.region
        allowed = region if region is not None else self._product(normal)
        wanted = int(rng.integers(0 if self.options.allow_clean else 1, MOST_PATCHES + 1))
        boxes = [box for _ in range(wanted) if (box := self._place(normal, allowed, rng)) is not None]
        if wanted and not boxes and allowed is not None:
            boxes = [self._box(normal, *random_pixel(allowed, rng), rng)]
        image, mask = canvas(normal)
        soft = np.zeros(mask.shape, np.float32) if self.options.variant == "v2" else None
        for box in boxes:
            if soft is None:
                noise = rng.integers(LEVELS, size=(box.height, box.width, 3), dtype=np.uint8)
                paste(image, mask, noise, box, None if region is None else region[box.slices])
            else:
                _soft_patch(image, soft, box, region, rng)
        if soft is not None:
            mask = soft > 0
        drawn: dict[str, Any] = {"wanted": wanted, "boxes": boxes, "background_rejected": allowed is not None}
        if soft is not None:
            drawn["unit"] = 1 / V2_SHRINK  # boxes are in quarters of a pixel
        return Drawn(image=image, mask=mask, drawn=drawn, label_map=soft)

    def _product(self, normal: RGB) -> Mask | None:
        """Where a centre may be; None for anywhere, also when nothing is left or nothing says what background is."""
        preset = self.options.preset
        if self.options.variant == "v2" or preset not in ("auto", "object", *OBJECTS):
            return None
        if preset == "auto" and _border_on_background(normal) < BORDER_SHARE:
            return None
        product = ~background(normal)
        return product if product.any() else None

    def _place(self, normal: RGB, allowed: Mask | None, rng: np.random.Generator) -> Box | None:
        """Draw a patch; None when none of 200 centres is allowed."""
        grid = self._grid(normal)
        half = self._half(normal, rng)
        # Uniform over the centres that keep the patch inside; a patch larger than the image covers it.
        low = [min(h, (side - 1) // 2) for h, side in zip(half, grid, strict=True)]
        high = [max(first + 1, side - first) for first, side in zip(low, grid, strict=True)]
        count = 1 if allowed is None else ATTEMPTS
        y, x = (rng.integers(first, end, size=count) for first, end in zip(low, high, strict=True))
        if allowed is not None:
            unit = self._unit
            accepted = first_true(allowed[y // unit, x // unit])
            if accepted is None:
                return None
            y, x = y[[accepted]], x[[accepted]]
        return _around(int(y[0]), int(x[0]), half, grid)

    def _box(self, normal: RGB, y: int, x: int, rng: np.random.Generator) -> Box:
        return _around(y * self._unit, x * self._unit, self._half(normal, rng), self._grid(normal))

    @property
    def _unit(self) -> int:
        """Grid steps in a pixel."""
        return V2_SHRINK if self.options.variant == "v2" else 1

    def _grid(self, normal: RGB) -> tuple[int, int]:
        return normal.shape[0] * self._unit, normal.shape[1] * self._unit

    def _half(self, normal: RGB, rng: np.random.Generator) -> tuple[int, int]:
        """Half height and half width, in steps of the grid."""
        sides = self._grid(normal)
        if self.options.variant == "v1":
            limits = [(max(1, side // 40), max(2, side // 10)) for side in sides]
        else:
            shares = [[max(1, round(half * side / V2_SIDE)) for half in V2_HALF] for side in sides]
            limits = [(low, high + 1) for low, high in shares]
        height, width = (int(rng.integers(low, high)) for low, high in limits)
        return height, width


def background(image: RGB) -> Mask:
    """Too dark or too bright to be the product, without grain, and widened by 9 pixels: the published code's rule.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB; grey means below 30 or above 220 count.

    Returns
    -------
    H x W bool.
    """
    sums = np.arange(3 * 255 + 1)
    outside = (sums < 3 * DARK) | (sums > 3 * BRIGHT)
    mask = binary_median(outside[channel_sum(image)], 7)
    kernel = np.ones((DILATION, DILATION), np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), kernel), np.bool_)


def _border_on_background(image: RGB) -> float:
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).sum(axis=1, dtype=np.int64)
    return float(((border < 3 * DARK) | (border > 3 * BRIGHT)).mean())


def _around(y: int, x: int, half: tuple[int, int], grid: tuple[int, int]) -> Box:
    top, left = max(y - half[0], 0), max(x - half[1], 0)
    return Box(top, left, min(y + half[0], grid[0]) - top, min(x + half[1], grid[1]) - left)


def _soft_patch(
    image: RGB, soft: npt.NDArray[np.float32], box: Box, region: Mask | None, rng: np.random.Generator
) -> None:
    """Mix a patch of noise, four times finer than the pixels and shrunk with smoothing, into image and soft mask."""
    step = V2_SHRINK
    top, left = max(box.top // step - 1, 0), max(box.left // step - 1, 0)
    bottom = min(-(-(box.top + box.height) // step) + 1, image.shape[0])
    right = min(-(-(box.left + box.width) // step) + 1, image.shape[1])
    height, width = bottom - top, right - left
    noise, whole = (np.zeros((height * step, width * step, *channels), np.uint8) for channels in ((3,), ()))
    inside = np.s_[box.top - top * step :, box.left - left * step :]
    patch = noise[inside][: box.height, : box.width]
    patch[...] = rng.integers(LEVELS, size=patch.shape, dtype=np.uint8)
    whole[inside][: box.height, : box.width] = 255
    shrunk, covered = (
        np.asarray(Image.fromarray(fine).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        for fine in (noise, whole)
    )
    weight = covered / np.float32(255)
    area = np.s_[top:bottom, left:right]
    if region is not None:
        weight = weight * region[area]
        shrunk = shrunk * region[area][..., None]
    mixed = shrunk + (1 - weight[..., None]) * image[area]
    image[area] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    soft[area] = weight + (1 - weight) * soft[area]
