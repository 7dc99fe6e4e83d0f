"""NSA: patches of one normal image, resized and moved, Poisson-blended into another.

Schlueter, Tan, Hou, Kainz, "Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization",
ECCV 2022, arXiv 2109.15222; their code, github.com/hmsch/natural-synthetic-anomalies (MIT), is "the published code"
below. The steps and their numbers are its, for the setting "NSA (logistic)".

Left out: the preparation of the training images (resizing to 256, crops, rotations of 5 degrees), which belongs to the
training loop; the CutPaste patch sampler and unshifted patches, which are other methods.

Where we depart from the published code:

* a resized side is clipped by the bounds of a side. The published code clips it by those of *half* a side, so that no
  patch exceeds 0.4 of the image; ``legacy_clip=True`` does the same;
* a patch comes exactly where its place was accepted (OpenCV centres the mask's bounding box, which moves patches by a
  pixel and ellipses by many), and blending rounds where OpenCV truncates;
* overlapping patches add their masks up; the published code overwrites the earlier one inside the later one's box;
* ellipses are rotated, not sheared, and nothing outside them changes (the published code leaves a spill unlabelled);
* with ``label="continuous"`` the factor weighs the gradients in Poisson blending; OpenCV ignores it;
* with ``blend="uniform"`` the factor is drawn for every label; the published code pastes hard unless the label is
  ``continuous``;
* a sample whose mask comes out empty is drawn again, up to ten times: the published law given that something shows;
* half sides are at least 6 pixels, which matters in images under 200 pixels: blending takes three pixels off each side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.errors import RequestError
from ias_zoo.imaging import foreground, labels
from ias_zoo.imaging.placement import BoxCounter, first_true
from ias_zoo.imaging.poisson import blend_box
from ias_zoo_handcrafted.presets import NSA as PRESETS
from ias_zoo_handcrafted.presets import NSAPreset

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

ATTEMPTS = 200  # at a place in the source, and again at one in the normal
REDRAWS = 10  # of a whole sample that shows nothing
ELLIPSES = 5
SMALLEST_HALF = 6  # pixels
SMALLEST_IMAGE = 16  # pixels: a patch of the smallest size, and room to move it
SMALLEST_CLONE = 50  # pixels: OpenCV fails on fewer, so the published code skips the patch
RESIZE_SD = 0.5
FACTOR = (0.05, 0.95)

_OVERRIDES = (
    "patches",
    "bounds_h",
    "bounds_w",
    "resize_bounds",
    "min_object_share",
    "min_overlap_share",
    "steepness",
    "midpoint",
)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A normal, its source and the product's place in both; all of one size."""

    normal: RGB
    source: RGB
    on_normal: Mask
    on_source: Mask
    count_normal: BoxCounter
    count_source: BoxCounter


@dataclass(frozen=True, eq=False)
class _Patch:
    """What is cut from the source, after resizing: pixels, shape, and product in it."""

    pixels: RGB
    shape: Mask
    product: Mask
    box: tuple[int, int, int, int]  # top, left, bottom, right in the source


class NSA(ImageSynthesizer):
    """Natural synthetic anomalies (see the module's docstring).

    Needs ``request.normal`` and ``request.source``, another normal image; one of another size is resized to the
    normal's. Where ``region`` or ``source_region`` is given, it takes the place of the product found by tone, and the
    image changes inside ``region`` only.

    The sample's mask is the binary label: pixels that changed by more than the tolerance, after a 5 x 5 median. Some
    pixels outside it may differ from the normal by little, unless ``exact_mask`` is set.
    """

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample."""
        assert request.normal is not None and request.source is not None  # noqa: S101, PT018 - the method needs both
        normal = request.normal
        if min(normal.shape[:2]) < SMALLEST_IMAGE:
            height, width = normal.shape[:2]
            raise RequestError(f"request.normal is {height}x{width}: nsa needs at least {SMALLEST_IMAGE} pixels a side")
        name, preset, pair = self._prepare(request, normal)
        redraws = 0
        while True:
            factor = self._factor(rng)
            image, touched, placed = self._synthesize(pair, preset, factor, rng)
            if request.region is not None:
                image = np.where(request.region[..., None], image, normal)
                touched &= request.region
            mask = labels.change_mask(normal, image, touched, self.options.tolerance)
            if request.region is not None:
                mask &= request.region
            if mask.any() or redraws == REDRAWS:
                break
            redraws += 1
        label_map = self._label(normal, image, mask, preset, factor)
        if self.options.exact_mask:
            image = np.where(mask[..., None], image, normal)
        drawn = {"preset": name, "blend": self._blend(preset), "redraws": redraws, "patches": placed}
        if factor != 1.0:
            drawn["factor"] = factor
        return Drawn(image=image, mask=mask, label_map=label_map, drawn=drawn)

    def _prepare(self, request: Request, normal: RGB) -> tuple[str, NSAPreset, _Pair]:
        """Bring the source to the normal's size, choose the preset and find the product in both."""
        height, width = normal.shape[:2]
        source, on_source = request.source, request.source_region
        assert source is not None  # noqa: S101 - checked by draw
        if source.shape != normal.shape:
            source = np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
            if on_source is not None:
                small = cv2.resize(on_source.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
                on_source = np.asarray(small).astype(np.bool_)
        on_normal = request.region
        name = self.options.preset
        if name == "auto":
            found = foreground.otsu_foreground(normal) if on_normal is None else on_normal
            name = "texture" if found.all() else "object"
            on_normal = found if self.options.background is None and name == "object" else on_normal
        preset = self._preset(name)
        on_normal = self._product(normal, preset) if on_normal is None else on_normal
        on_source = self._product(source, preset) if on_source is None else on_source
        pair = _Pair(normal, source, on_normal, on_source, BoxCounter(on_normal), BoxCounter(on_source))
        return name, preset, pair

    def _preset(self, name: str) -> NSAPreset:
        """The table's row with what the options override."""
        given = {field: getattr(self.options, field) for field in _OVERRIDES}
        preset = replace(PRESETS[name], **{field: value for field, value in given.items() if value is not None})
        if self.options.background is not None:
            return replace(preset, foreground="tone", background=self.options.background)
        if self.options.foreground != "preset":
            return replace(preset, foreground=self.options.foreground)
        return preset

    def _product(self, image: RGB, preset: NSAPreset) -> Mask:
        if preset.foreground == "tone":
            return foreground.tone_distance(image, preset.background)
        return foreground.otsu_foreground(image) if preset.foreground == "otsu" else foreground.everywhere(image)

    def _blend(self, preset: NSAPreset) -> str:
        return preset.blend if self.options.blend == "auto" else str(self.options.blend)

    def _factor(self, rng: np.random.Generator) -> float:
        """The weight of the patch; other than 1 where blending is uniform, or the label is to show it."""
        blend = self.options.blend
        if blend == "uniform" or (self.options.label == "continuous" and blend != "swap"):
            return float(rng.uniform(*FACTOR))
        return 1.0

    def _synthesize(
        self, pair: _Pair, preset: NSAPreset, factor: float, rng: np.random.Generator
    ) -> tuple[RGB, Mask, list[dict[str, Any]]]:
        """Blend the patches in: the image, the union of the patches' masks, and where each came from and went."""
        image = pair.normal.copy()
        touched = np.zeros(image.shape[:2], np.bool_)
        placed: list[dict[str, Any]] = []
        for index in range(preset.patches):
            if index > 0 and rng.random() >= 0.5:
                continue
            patch = self._cut(pair, preset, rng)
            corner = None if patch is None else self._place(patch, pair, preset, rng)
            if patch is None or corner is None:
                continue
            top, left = corner
            height, width = patch.shape.shape
            window = slice(top, top + height), slice(left, left + width)
            product = patch.product | pair.on_normal[window]
            if self._blend_in(image[window], patch, product, self._blend(preset), factor):
                touched[window] |= patch.shape & product
                placed.append({"source": patch.box, "box": (top, left, top + height, left + width)})
        return image, touched, placed

    def _cut(self, pair: _Pair, preset: NSAPreset, rng: np.random.Generator) -> _Patch | None:
        """Cut a patch that holds enough product from the source, and resize it."""
        height, width = pair.source.shape[:2]
        bounds = _bounds(preset.bounds_h, height), _bounds(preset.bounds_w, width)
        half = [self._half(side, limits, rng) for side, limits in zip((height, width), bounds, strict=True)]
        y = rng.integers(bounds[0][0], height - bounds[0][0], size=ATTEMPTS)
        x = rng.integers(bounds[1][0], width - bounds[1][0], size=ATTEMPTS)
        boxes = np.stack([y - half[0], x - half[1], y + half[0], x + half[1]], axis=1)
        boxes = np.clip(boxes, 0, (height, width, height, width))
        found = next(self._accepted(boxes, half, bounds, pair, preset, rng), None)
        if found is None:
            return None
        (top, left, bottom, right), shape = found
        window = slice(top, bottom), slice(left, right)
        patch = _Patch(pair.source[window], shape, pair.on_source[window], (top, left, bottom, right))
        return self._resized(patch, bounds, preset, rng) if self.options.resize else patch

    def _half(self, side: int, limits: tuple[int, int], rng: np.random.Generator) -> int:
        offset, shape, scale = self.options.half_size
        return int(np.clip((offset + rng.gamma(shape, scale)) * side, *limits))

    def _accepted(
        self,
        boxes: npt.NDArray[np.int64],
        half: list[int],
        bounds: tuple[tuple[int, int], tuple[int, int]],
        pair: _Pair,
        preset: NSAPreset,
        rng: np.random.Generator,
    ) -> Iterator[tuple[tuple[int, int, int, int], Mask]]:
        """Yield, in order, the boxes whose patch holds more than the wanted share of product, with its shape."""
        top, left, bottom, right = boxes.T
        product = pair.count_source.count(top, left, bottom, right)
        if self.options.shape == "rectangle":
            area = (bottom - top) * (right - left)
            first = first_true(product > preset.min_object_share * area)
            if first is not None:
                t, le, b, r = (int(value) for value in boxes[first])
                yield (t, le, b, r), np.ones((b - t, r - le), np.bool_)
            return
        lows, highs = [limit[0] for limit in bounds], [size // 2 for size in half]
        for index in np.flatnonzero(product):  # a box without product cannot hold it inside ellipses
            t, le, b, r = (int(value) for value in boxes[index])
            shape = ellipses((b - t, r - le), lows, highs, rng)
            held = np.count_nonzero(shape & pair.on_source[t:b, le:r])
            if held > preset.min_object_share * np.count_nonzero(shape):
                yield (t, le, b, r), shape

    def _resized(
        self,
        patch: _Patch,
        bounds: tuple[tuple[int, int], tuple[int, int]],
        preset: NSAPreset,
        rng: np.random.Generator,
    ) -> _Patch:
        """Resize by N(1, 0.5), clipped; the aspect is kept as far as the bounds of the sides allow."""
        (low_h, high_h), (low_w, high_w) = bounds
        if not self.options.legacy_clip:
            low_h, high_h, low_w, high_w = 2 * low_h, 2 * high_h, 2 * low_w, 2 * high_w
        height, width = patch.shape.shape
        factor = float(np.clip(rng.normal(1.0, RESIZE_SD), *preset.resize_bounds))
        new_width = int(np.clip(int(np.clip(factor * height, low_h, high_h) / height * width), low_w, high_w))
        new_height = int(np.clip(int(new_width / width * height), low_h, high_h))
        size = new_width, new_height
        return replace(
            patch,
            pixels=np.asarray(cv2.resize(patch.pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8),
            shape=_resized_mask(patch.shape, size),
            product=_resized_mask(patch.product, size),
        )

    def _place(self, patch: _Patch, pair: _Pair, preset: NSAPreset, rng: np.random.Generator) -> tuple[int, int] | None:
        """Find a place in the normal: the top-left corner, or None."""
        height, width = patch.shape.shape
        own = np.count_nonzero(patch.product)
        if own <= preset.min_object_share * height * width:  # resizing may change the share
            return None
        rows, columns = pair.normal.shape[:2]
        y = rng.integers(height // 2 + 1, rows - height // 2 - 1, size=ATTEMPTS) - height // 2
        x = rng.integers(width // 2 + 1, columns - width // 2 - 1, size=ATTEMPTS) - width // 2
        # How much of the patch's product meets product takes a look at the pixels. Their numbers bound it from both
        # sides, which settles most places at once.
        wanted = preset.min_overlap_share * own
        shown = np.count_nonzero(patch.product & patch.shape)
        there = pair.count_normal.count(y, x, y + height, x + width)
        surely = shown + there - height * width > wanted
        for index in np.flatnonzero(np.minimum(shown, there) > wanted):
            top, left = int(y[index]), int(x[index])
            meeting = patch.product & patch.shape & pair.on_normal[top : top + height, left : left + width]
            if surely[index] or np.count_nonzero(meeting) > wanted:
                return top, left
        return None

    def _blend_in(self, box: RGB, patch: _Patch, product: Mask, blend: str, factor: float) -> bool:
        """Blend the patch into ``box``, a view into the image; False if it is too small to be blended."""
        visible = patch.shape & product
        if blend in ("swap", "uniform"):
            box[visible] = np.rint((1.0 - factor) * box[visible] + factor * patch.pixels[visible])
            return True
        # Pixels that are background in both images take the patch's gradients too, which avoids artefacts at the
        # product's edge, but are not labelled. The outermost ring keeps the normal's pixels.
        clone = visible | ~product
        clone[[0, -1]] = False
        clone[:, [0, -1]] = False
        if np.count_nonzero(clone) < SMALLEST_CLONE:
            return False
        x, y, w, h = cv2.boundingRect(clone.view(np.uint8))
        inner = slice(y, y + h), slice(x, x + w)
        kept = box.copy()
        blend_box(box[inner], patch.pixels[inner], clone[inner], mixed=blend == "mixed", strength=factor)
        if self.options.shape == "ellipses":  # the solver works on the whole box
            np.copyto(box, kept, where=~visible[..., None])
        return True

    def _label(self, normal: RGB, image: RGB, mask: Mask, preset: NSAPreset, factor: float) -> npt.NDArray[np.float32]:
        kind = self.options.label
        if kind == "intensity":
            return labels.median_difference(normal, image, mask)
        if kind == "logistic":
            difference = labels.median_difference(normal, image, mask, at=mask)
            return labels.logistic_label(difference, mask, preset.steepness, preset.midpoint)
        return mask.astype(np.float32) * np.float32(factor if kind == "continuous" else 1.0)


def ellipses(
    size: tuple[int, int], lows: list[int], highs: list[int], rng: np.random.Generator, count: int = ELLIPSES
) -> Mask:
    """Union of random ellipses in a box.

    Parameters
    ----------
    size:
        Height and width of the box, pixels.
    lows, highs:
        The semi-axes are uniform integers in [low, high), for the first and the second axis, before the rotation by
        a uniform angle. Where that is empty they are ``low``.
    count:
        How many; their centres are uniform in the box.

    Returns
    -------
    h x w bool.
    """
    shape = np.zeros(size, np.bool_)
    y, x = np.ogrid[: size[0], : size[1]]
    for _ in range(count):
        angle = rng.uniform(0.0, np.pi)
        dy, dx = y - rng.integers(size[0]), x - rng.integers(size[1])
        a, b = (rng.integers(low, max(low + 1, high)) for low, high in zip(lows, highs, strict=True))
        along = dy * np.cos(angle) + dx * np.sin(angle)
        across = dx * np.cos(angle) - dy * np.sin(angle)
        shape |= (along / a) ** 2 + (across / b) ** 2 <= 1.0
    return shape


def _bounds(shares: tuple[float, float], side: int) -> tuple[int, int]:
    """Least and greatest half side in pixels; the greatest leaves a patch room in the image."""
    room = (side - 3) // 2
    low = min(max(round(shares[0] * side), SMALLEST_HALF), room)
    return low, max(low, min(round(shares[1] * side), room))


def _resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    if mask.all():
        return np.ones(size[::-1], np.bool_)
    return np.asarray(cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_LINEAR)).astype(np.bool_)
