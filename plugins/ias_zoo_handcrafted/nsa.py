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
* a sample whose mask comes out empty is drawn again, up to ten times, each time with half sides half as large, so that
  small regions are served too; the published code hands out an image without a defect;
* half sides are at least 6 pixels, which matters in images under 200 pixels: blending takes three pixels off each side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.errors import RequestError
from ias_zoo.imaging import foreground, labels
from ias_zoo.imaging.patches import Box
from ias_zoo.imaging.placement import BoxCounter, first_true
from ias_zoo.imaging.poisson import blend_box
from ias_zoo_handcrafted.presets import NSA as PRESETS
from ias_zoo_handcrafted.presets import NSAPreset

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.nsa import NSAOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Range = tuple[int, int]

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


class _Side:
    """An image, where the product is in it, the product's bounding box, and a counter of its pixels."""

    def __init__(self, image: RGB, product: Mask) -> None:
        self.image, self.product, self.counter = image, product, BoxCounter(product)
        left, top, width, height = cv2.boundingRect(product.view(np.uint8))
        self.around = Box(top, left, height, width)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A normal and its source, of one size."""

    normal: _Side
    source: _Side


@dataclass(frozen=True, eq=False)
class _Patch:
    """What is cut from the source, after resizing: pixels, shape, and product in it."""

    pixels: RGB
    shape: Mask
    product: Mask
    origin: Box  # in the source, before resizing


class NSA(ImageSynthesizer):
    """Natural synthetic anomalies (see the module's docstring).

    Needs ``request.normal`` and ``request.source``, another normal image; one of another size is resized to the
    normal's. Where ``region`` or ``source_region`` is given, it takes the place of the product found by tone, and the
    image changes inside ``region`` only.

    The sample's mask is the binary label: pixels that changed by more than the tolerance, after a 5 x 5 median. Some
    pixels outside it may differ from the normal by little, unless ``exact_mask`` is set. The recipe's ``drawn`` holds
    each patch's boxes ``source`` and ``destination`` as (top, left, height, width), and the shares of product in the
    normal and the source. Where nothing shows after all redraws, the image is the normal and the mask is empty.
    """

    options: NSAOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample.

        Raises
        ------
        RequestError
            If the normal has less than 16 pixels a side, or ``source_region`` leaves no pixel to cut a patch from.
        """
        normal = request.need_normal()
        if min(normal.shape[:2]) < SMALLEST_IMAGE:
            height, width = normal.shape[:2]
            raise RequestError(f"request.normal is {height}x{width}: nsa needs at least {SMALLEST_IMAGE} pixels a side")
        name, preset, pair = self._prepare(request, normal)
        redraws = 0
        while True:
            factor = self._factor(rng)
            image, touched, placed = self._synthesize(pair, preset, factor, 0.5**redraws, rng)
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
        if self.options.exact_mask or not mask.any():  # what shows nothing is handed back as it was
            image = np.where(mask[..., None], image, normal)
        drawn: dict[str, Any] = {
            "preset": name,
            "product": [side.counter.total / side.product.size for side in (pair.normal, pair.source)],
            "blend": self._blend(preset),
            "redraws": redraws,
            "patches": placed,
        }
        if factor != 1.0:
            drawn["factor"] = factor
        return Drawn(image=image, mask=mask, label_map=label_map, drawn=drawn)

    def _prepare(self, request: Request, normal: RGB) -> tuple[str, NSAPreset, _Pair]:
        """Bring the source to the normal's size, choose the preset and find the product in both."""
        height, width = normal.shape[:2]
        source, on_source = request.need_source(), request.source_region
        if source.shape != normal.shape:
            source = np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
            if on_source is not None:
                small = cv2.resize(on_source.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
                on_source = np.asarray(small).astype(np.bool_)
        if on_source is not None and not on_source.any():
            raise RequestError("request.source_region is empty: no pixel is left to cut a patch from")
        on_normal, found = request.region, None
        name: str = self.options.preset
        if name == "auto":
            found = foreground.otsu_foreground(normal)
            name = "texture" if found.all() else "object"
        preset = self._preset(name)
        if on_normal is None:
            reused = found if preset.foreground == "otsu" else None
            on_normal = self._product(normal, preset) if reused is None else reused
        on_source = self._product(source, preset) if on_source is None else on_source
        return name, preset, _Pair(_Side(normal, on_normal), _Side(source, on_source))

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
        found = foreground.product(image, preset.foreground)
        return foreground.everywhere(image) if found is None else found

    def _blend(self, preset: NSAPreset) -> str:
        return preset.blend if self.options.blend == "auto" else str(self.options.blend)

    def _factor(self, rng: np.random.Generator) -> float:
        """The weight of the patch; other than 1 where blending is uniform, or the label is to show it."""
        blend = self.options.blend
        if blend == "uniform" or (self.options.label == "continuous" and blend != "swap"):
            return float(rng.uniform(*FACTOR))
        return 1.0

    def _synthesize(
        self, pair: _Pair, preset: NSAPreset, factor: float, shrink: float, rng: np.random.Generator
    ) -> tuple[RGB, Mask, list[dict[str, Any]]]:
        """Blend the patches in: the image, the union of the patches' masks, and where each came from and went."""
        image = pair.normal.image.copy()
        touched = np.zeros(image.shape[:2], np.bool_)
        placed: list[dict[str, Any]] = []
        for index in range(preset.patches):
            if index > 0 and rng.random() >= 0.5:
                continue
            patch = self._cut(pair.source, preset, shrink, rng)
            box = None if patch is None else self._place(patch, pair.normal, preset, rng)
            if patch is None or box is None:
                continue
            product = patch.product | pair.normal.product[box.slices]
            if self._blend_in(image[box.slices], patch, product, self._blend(preset), factor):
                touched[box.slices] |= patch.shape & product
                placed.append({"source": patch.origin, "destination": box})
        return image, touched, placed

    def _cut(self, source: _Side, preset: NSAPreset, shrink: float, rng: np.random.Generator) -> _Patch | None:
        """Cut a patch that holds enough product from the source, and resize it."""
        rows, columns = source.product.shape
        limits = _limits(preset.bounds_h, rows, shrink), _limits(preset.bounds_w, columns, shrink)
        half_h = self._half_side(rows, limits[0], shrink, rng)
        half_w = self._half_side(columns, limits[1], shrink, rng)
        (low_h, _), (low_w, _) = limits
        around = source.around
        y = _whole(low_h, rows - low_h, around.top - half_h + 1, around.top + around.height + half_h, rng)
        x = _whole(low_w, columns - low_w, around.left - half_w + 1, around.left + around.width + half_w, rng)
        top, left = np.maximum(y - half_h, 0), np.maximum(x - half_w, 0)
        height, width = np.minimum(y + half_h, rows) - top, np.minimum(x + half_w, columns) - left
        product = source.counter.count(top, left, height, width)
        if self.options.shape == "rectangle":
            first = first_true(product > preset.min_object_share * height * width)
            candidates = [] if first is None else [first]
        else:
            candidates = list(np.flatnonzero(product))  # without product in the box there is none in its ellipses
        for index in candidates:
            box = Box(int(top[index]), int(left[index]), int(height[index]), int(width[index]))
            on_source = source.product[box.slices]
            shape = np.ones(on_source.shape, np.bool_)
            if self.options.shape == "ellipses":  # these are drawn anew for every attempt
                shape = ellipses((box.height, box.width), limits, (half_h // 2, half_w // 2), rng)
                if np.count_nonzero(shape & on_source) <= preset.min_object_share * np.count_nonzero(shape):
                    continue
            patch = _Patch(source.image[box.slices], shape, on_source, box)
            return self._resized(patch, limits, preset, rng) if self.options.resize else patch
        return None

    def _half_side(self, side: int, limits: Range, shrink: float, rng: np.random.Generator) -> int:
        offset, shape, scale = self.options.half_size
        return int(np.clip(shrink * (offset + rng.gamma(shape, scale)) * side, *limits))

    def _resized(
        self, patch: _Patch, limits: tuple[Range, Range], preset: NSAPreset, rng: np.random.Generator
    ) -> _Patch:
        """Resize by N(1, 0.5), clipped; the aspect is kept as far as the bounds of the sides allow."""
        (low_h, high_h), (low_w, high_w) = limits
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

    def _place(self, patch: _Patch, normal: _Side, preset: NSAPreset, rng: np.random.Generator) -> Box | None:
        """Find a place in the normal where enough of the patch's product meets product."""
        height, width = patch.shape.shape
        own = np.count_nonzero(patch.product)
        if own <= preset.min_object_share * height * width:  # resizing may change the share
            return None
        (rows, columns), around = normal.product.shape, normal.around
        top = _whole(1, rows - height // 2 * 2 - 1, around.top - height + 1, around.top + around.height, rng)
        left = _whole(1, columns - width // 2 * 2 - 1, around.left - width + 1, around.left + around.width, rng)
        # How much of the patch's product meets product takes a look at the pixels. Their numbers bound it from both
        # sides, which settles most places at once.
        wanted = preset.min_overlap_share * own
        shown = patch.product & patch.shape
        here, there = np.count_nonzero(shown), normal.counter.count(top, left, height, width)
        surely = here + there - height * width > wanted
        for index in np.flatnonzero(np.minimum(here, there) > wanted):
            box = Box(int(top[index]), int(left[index]), height, width)
            if surely[index] or np.count_nonzero(shown & normal.product[box.slices]) > wanted:
                return box
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
        kept = box.copy() if self.options.shape == "ellipses" else None
        blend_box(box[inner], patch.pixels[inner], clone[inner], mixed=blend == "mixed", strength=factor)
        if kept is not None:  # the solver works on the whole box: undo what it did outside the ellipses
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


def ellipses(size: Range, limits: tuple[Range, Range], highs: Range, rng: np.random.Generator) -> Mask:
    """Union of random ellipses in a box, centres and angles uniform.

    Parameters
    ----------
    size:
        Height and width of the box, pixels.
    limits:
        Their first numbers are the least semi-axes.
    highs:
        The semi-axes before the rotation are uniform integers below these, or the least where that leaves none.

    Returns
    -------
    h x w bool.
    """
    shape = np.zeros(size, np.bool_)
    y, x = np.ogrid[: size[0], : size[1]]
    for _ in range(ELLIPSES):
        angle = rng.uniform(0.0, np.pi)
        dy, dx = y - rng.integers(size[0]), x - rng.integers(size[1])
        a, b = (rng.integers(low, max(low + 1, high)) for (low, _), high in zip(limits, highs, strict=True))
        along = dy * np.cos(angle) + dx * np.sin(angle)
        across = dx * np.cos(angle) - dy * np.sin(angle)
        shape |= (along / a) ** 2 + (across / b) ** 2 <= 1.0
    return shape


def _whole(low: int, high: int, first: int, end: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw ``ATTEMPTS`` whole numbers uniformly from low..high-1, as far as they lie in first..end-1.

    Elsewhere a box misses the product altogether and is never accepted: leaving those out changes no law, and finds
    small products.
    """
    if max(low, first) < min(high, end):
        low, high = max(low, first), min(high, end)
    return rng.integers(low, high, size=ATTEMPTS)


def _limits(shares: tuple[float, float], side: int, shrink: float) -> Range:
    """Least and greatest half side in pixels; the greatest leaves a patch room in the image."""
    room = (side - 3) // 2
    low = min(max(round(shrink * shares[0] * side), SMALLEST_HALF), room)
    return low, max(low, min(round(shares[1] * side), room))


def _resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    if mask.all():
        return np.ones(size[::-1], np.bool_)
    return np.asarray(cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_LINEAR)).astype(np.bool_)
