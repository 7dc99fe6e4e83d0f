"""Crop&Paste: a real defect, cut out of its picture along its mask, pasted into a normal.

Lin, Cao, Zhu, Li: *Few-shot defect segmentation leveraging abundant normal training samples through normal background
regularization and crop-and-paste operation*, arXiv 2007.09438 (ICME 2021). It is the field's plain few-shot baseline:
nothing is learned, and what a method that learns cannot beat it at is not worth its training. The paper's network and
its normal background regularization are left out.

The paper says what is done (crop the defect by its mask, change it, paste it into a normal at a random place), not with
which numbers. These are our design:

- The defect is mirrored, turned and scaled a little, at the shot's own scale in pixels: a picture is never resized, so
  a defect of ten pixels stays one of ten pixels.
- Its colours are jittered and then matched: the mean of a ring around the defect, in the shot, is moved to the mean of
  the same ring around the new place, and the defect's contrast is scaled by the ratio of the two brightnesses, as a
  brighter exposure would.
- A soft edge, a ramp of two pixels, half inside the mask and half outside. The mask is where the defect has at least
  half of the weight. Pixels of the ramp's outer half differ from the normal by a fraction of what the matched
  surroundings do; ``exact_mask=True`` puts them back.
- A defect that is cut off by the border of its shot stays at that border and is not turned: pasted elsewhere it would
  show a straight cut.
- Without a region the product is found by Otsu's threshold; pictures that show nothing but a surface are used whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.affine import Affine, warp_patch
from ias_zoo.imaging.blending import alpha_paste, canvas, soft_edge
from ias_zoo.imaging.foreground import product
from ias_zoo.imaging.patches import Box
from ias_zoo.imaging.photometric import color_jitter

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.crop_paste import CropPasteOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Levels = npt.NDArray[np.float32]

PLACES = 50
RING = (2.0, 10.0)  # pixels from the defect: nearer may still be defect, farther is no surroundings
GAIN = (0.5, 2.0)  # exposures farther apart are not matched in full


class Sides(NamedTuple):
    """At which borders of its picture a defect is cut off."""

    top: bool = False
    bottom: bool = False
    left: bool = False
    right: bool = False


@dataclass(frozen=True, eq=False)
class Cut:
    """A defect with a rim around it: h x w x 3 uint8, its mask, which pixels the shot really has, and where it ends."""

    patch: RGB
    mask: Mask
    real: Mask
    sides: Sides


class CropPaste(ImageSynthesizer):
    """Crop&Paste (see the module's docstring)."""

    options: CropPasteOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paste the request's shot into its normal.

        ``drawn`` holds the ``affine`` change, the ``jitter``, the ``gain`` and ``shift`` that match the colours, the
        ``destination`` of the defect's box as (top, left, height, width; a part may lie outside the picture), and the
        share of it that is ``inside`` the region.
        """
        options = self.options
        assert request.shot is not None  # noqa: S101 - the base class has refused a request without one
        normal = request.need_normal()
        region = product(normal, options.foreground, request.region)
        cut = cut_defect(request.shot.image, request.shot.mask, keep_border=options.border == "keep")
        affine = self._draw_affine(cut.sides, rng)
        patch, jitter = self._jitter(cut.patch, rng)
        patch_ring = ring_mean(patch, cut.mask, cut.real)
        _, defect = warp_patch(patch, cut.mask & cut.real, affine)
        patch, mask = warp_patch(patch, cut.mask, affine)
        top, left, inside = self._place(defect, turned_sides(cut.sides, affine), normal.shape[:2], region, rng)

        alpha = soft_edge(mask, options.feather)
        patch, mask, alpha, top, left = _clip(patch, mask, alpha, top, left, normal.shape[:2])
        here = Box(top, left, *mask.shape)
        if region is not None:
            alpha *= region[here.slices]
        levels, matching = self._match(patch, mask, patch_ring, normal[here.slices])
        (image, full), pasted = canvas(normal), alpha >= 0.5
        alpha_paste(image, levels, alpha * pasted if options.exact_mask else alpha, top, left)
        full[here.slices] = pasted
        drawn = {"affine": affine.to_json(), "jitter": jitter, **matching, "destination": here, "inside": inside}
        return Drawn(image=image, mask=full, drawn=drawn)

    def _draw_affine(self, sides: Sides, rng: np.random.Generator) -> Affine:
        options = self.options
        degrees = float(rng.uniform(-options.rotation, options.rotation))
        scale = math.exp(rng.uniform(math.log(options.scale[0]), math.log(options.scale[1])))
        mirror, flip = (bool(rng.random() < 0.5) and options.mirror for _ in range(2))
        return Affine(degrees=0.0 if any(sides) else degrees, scale=scale, mirror=mirror, flip=flip)

    def _jitter(self, patch: RGB, rng: np.random.Generator) -> tuple[RGB, dict[str, Any] | None]:
        strength, hue = self.options.jitter, self.options.hue
        if strength == 0.0 and hue == 0.0:
            return patch, None
        return color_jitter(patch, rng, strength, strength, strength, hue)

    def _place(
        self, mask: Mask, sides: Sides, size: tuple[int, ...], region: Mask | None, rng: np.random.Generator
    ) -> tuple[int, int, float]:
        """Top and left of a patch in which the defect is ``mask``, and the share of the defect inside the region.

        The centre of the defect's box is a pixel of the region, uniformly, then moved so that the box lies in the
        picture. Where no place holds any of the defect, some pixel of it is put onto some pixel of the region.
        """
        x0, y0, width, height = cv2.boundingRect(mask.view(np.uint8))
        shape = mask[y0 : y0 + height, x0 : x0 + width]
        pixels = None if region is None else np.flatnonzero(region)
        best = (0.0, 0, 0)
        for _ in range(PLACES):
            place = int(rng.integers(size[0] * size[1])) if pixels is None else int(pixels[rng.integers(pixels.size)])
            y, x = divmod(place, size[1])
            top = _along(y, height, size[0], sides.top, sides.bottom)
            left = _along(x, width, size[1], sides.left, sides.right)
            share = _share(shape, top, left, region, size)
            if share > best[0]:
                best = (share, top, left)
            if share >= self.options.inside:
                break
        if best[0] == 0.0:
            y, x = divmod(int(rng.choice(np.flatnonzero(shape))), width)
            best = (
                _share(shape, place // size[1] - y, place % size[1] - x, region, size),
                place // size[1] - y,
                place % size[1] - x,
            )
        return best[1] - y0, best[2] - x0, best[0]

    def _match(self, patch: RGB, mask: Mask, patch_ring: Levels | None, below: RGB) -> tuple[Levels, dict[str, Any]]:
        """Move the surroundings' colours to the new place's; the gain and the shift by channel."""
        levels = patch.astype(np.float32)
        here = None if patch_ring is None or self.options.match == "none" else ring_mean(below, mask)
        if here is None or patch_ring is None:
            return levels, {"gain": 1.0, "shift": [0.0, 0.0, 0.0]}
        gain = 1.0
        if self.options.match == "gain":
            gain = float(np.clip(here.mean() / max(float(patch_ring.mean()), 1.0), *GAIN))
        return (levels - patch_ring) * np.float32(gain) + here, {"gain": gain, "shift": (here - patch_ring).tolist()}


def cut_defect(image: RGB, mask: Mask, *, keep_border: bool) -> Cut:
    """Cut a defect out of its picture, with a rim as wide as the surroundings that are looked at.

    What the rim lacks beyond the picture repeats its border. There the mask goes on if ``keep_border`` and the defect
    touches the border, so that no edge is drawn where the picture ended.

    Parameters
    ----------
    image, mask:
        H x W x 3 uint8 and H x W bool, not empty.
    """
    rim = math.ceil(RING[1]) + 1
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows, columns = mask.shape
    sides = Sides(y == 0, y + height == rows, x == 0, x + width == columns) if keep_border else Sides()
    top, bottom, left, right = y - rim, y + height + rim, x - rim, x + width + rim
    box = np.s_[max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)]
    pads = max(-top, 0), max(bottom - rows, 0), max(-left, 0), max(right - columns, 0)
    patch = cv2.copyMakeBorder(np.ascontiguousarray(image[box]), *pads, cv2.BORDER_REPLICATE)
    inner = mask[box].astype(np.uint8)
    real = cv2.copyMakeBorder(np.ones_like(inner), *pads, cv2.BORDER_CONSTANT, value=0)
    grown = cv2.copyMakeBorder(inner, *pads, cv2.BORDER_REPLICATE if keep_border else cv2.BORDER_CONSTANT)
    return Cut(np.asarray(patch, np.uint8), np.asarray(grown) > 0, np.asarray(real) > 0, sides)


def turned_sides(sides: Sides, affine: Affine) -> Sides:
    """Where a defect is cut off after mirroring."""
    top, bottom, left, right = sides
    if affine.flip:
        top, bottom = bottom, top
    if affine.mirror:
        left, right = right, left
    return Sides(top, bottom, left, right)


def ring_mean(image: RGB, mask: Mask, real: Mask | None = None) -> Levels | None:
    """Mean colour of the pixels at 2 to 10 pixels from the mask (of those that are ``real``); None if there are none.

    Parameters
    ----------
    image, mask, real:
        h x w x 3 uint8, h x w bool, h x w bool.
    """
    distance = np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 5))
    ring = (distance > RING[0]) & (distance <= RING[1])
    if real is not None:
        ring &= real
    return image[ring].mean(axis=0, dtype=np.float64).astype(np.float32) if ring.any() else None


def _along(place: int, length: int, limit: int, first: bool, last: bool) -> int:
    """Where a box starts along one axis: centred on ``place``, moved into the picture, or at the border it keeps."""
    if first:
        return 0
    if last:
        return limit - length
    return min(max(place - length // 2, min(0, limit - length)), max(0, limit - length))


def _share(shape: Mask, top: int, left: int, region: Mask | None, size: tuple[int, ...]) -> float:
    """Which share of a shape at a place lies in the picture and the region."""
    rows = slice(max(-top, 0), max(min(shape.shape[0], size[0] - top), 0))
    columns = slice(max(-left, 0), max(min(shape.shape[1], size[1] - left), 0))
    part = shape[rows, columns]
    if region is not None and part.size:
        part = part & region[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    return np.count_nonzero(part) / np.count_nonzero(shape)


def _clip(
    patch: RGB, mask: Mask, alpha: Levels, top: int, left: int, size: tuple[int, ...]
) -> tuple[RGB, Mask, Levels, int, int]:
    """Cut off what of a patch lies outside the picture."""
    part = np.s_[max(-top, 0) : size[0] - top, max(-left, 0) : size[1] - left]
    return patch[part], mask[part], alpha[part], max(top, 0), max(left, 0)
