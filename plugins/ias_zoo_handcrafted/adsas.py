"""ADSAS: a patch of the product, with its shape and colours changed, pasted somewhere else on the product.

Pei, Liu, Zhao, Sun: *Self-Supervised Learning for Industrial Image Anomaly Detection by Simulating Anomalous Samples*,
International Journal of Computational Intelligence Systems 16, 2023, doi 10.1007/s44196-023-00328-0. No code exists.
The survey calls the method ADSAS. The one-class classifier and its localisation are left out.

Known from the paper: CutPaste, with the patch taken from the product and pasted onto the product where there is one
(textures: anywhere), and with geometric and colour augmentations of the patch, chosen to look like the defects that
occur. Which augmentations, in which ranges and for which category could not be read. These are our design:

- The product is Otsu's foreground, or the request's region; pictures of textures are used whole.
- Size and aspect ratio follow CutPaste. 90 % of the patch is on the product, of the source as of the destination. The
  destination's centre is uniform over the product, and the patch is shrunk by 0.8, up to ten times, until it fits
  there; else another centre is drawn. (Shrinking only when no place fits would put every patch of a slender product
  onto its broadest part.)
- One to three different ones of nine augmentations: turn, flip, scale, shear, colour (brightness, contrast and
  saturation), hue, blur, grey, invert. The list is fixed: picking augmentations by looking at the defects of a test
  set, as the paper does, leaks.
- Hard paste; what would land outside the product is not pasted. The mask is exactly the pasted pixels.

With ``augmentations=(0, 0)`` and no product to heed, samples equal those of CutPaste without jitter, seed for seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.affine import Affine, warp_patch
from ias_zoo.imaging.blending import canvas, paste
from ias_zoo.imaging.foreground import product
from ias_zoo.imaging.patches import Box, aspect_two_branch, size_by_area
from ias_zoo.imaging.photometric import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    invert,
)
from ias_zoo.imaging.placement import BoxCounter, first_true, place, place_covered, random_pixel, start

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ias_zoo_handcrafted.options.adsas import AdsasOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

SHRINK, SHRINKS, CENTRES = 0.8, 10, 200
GEOMETRIC = ("turn", "flip", "scale", "shear")
AUGMENTATIONS = (*GEOMETRIC, "colour", "hue", "blur", "grey", "invert")


class Adsas(ImageSynthesizer):
    """ADSAS (see the module's docstring)."""

    options: AdsasOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paste one patch.

        ``drawn`` holds ``area`` and ``aspect``, the ``augmentations`` with their parameters in the order of their
        application (the geometric ones are applied first, as one ``affine`` change), and the boxes ``source`` and
        ``destination`` as (top, left, height, width).
        """
        options, normal = self.options, request.need_normal()
        region = product(normal, options.foreground, request.region)
        height, width = normal.shape[:2]
        area, aspect = rng.uniform(*options.area), aspect_two_branch(*options.aspect, rng)
        changes = self._draw_augmentations(rng)
        affine = _affine(changes)

        size = size_by_area(height, width, area, aspect)
        hull = affine.canvas(*size)
        if hull[0] > height or hull[1] > width:  # in very oblong images: upright it fits
            affine, hull = Affine(), size
        if region is None:
            source, destination = (place(normal.shape, box, rng) for box in (size, hull))
        else:
            source, destination, affine = _on(region, size, affine, options.on_object, rng)
        patch, shape = warp_patch(normal[source.slices], np.ones((source.height, source.width), dtype=np.bool_), affine)
        for change in changes:
            patch = _recolour(patch, change)
        if region is not None:
            shape = shape & region[destination.slices]
        image, mask = canvas(normal)
        paste(image, mask, patch, destination, shape)
        drawn: dict[str, Any] = {"area": area, "aspect": aspect, "augmentations": changes}
        drawn |= {"affine": affine.to_json(), "source": source, "destination": destination}
        return Drawn(image=image, mask=mask, drawn=drawn)

    def _draw_augmentations(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Different augmentations in random order, with their parameters."""
        options = self.options
        low, high = options.augmentations
        if high == 0:
            return []
        count = int(rng.integers(low, high + 1))
        names = [AUGMENTATIONS[int(index)] for index in rng.choice(len(AUGMENTATIONS), count, replace=False)]

        def factor() -> float:
            return float(rng.uniform(1.0 - options.colour, 1.0 + options.colour))

        draws: dict[str, Callable[[], dict[str, Any]]] = {
            "turn": lambda: {"degrees": float(rng.uniform(-options.rotation, options.rotation))},
            "flip": lambda: {"upside_down": bool(rng.random() < 0.5)},
            "scale": lambda: {"factor": float(rng.uniform(*options.scale))},
            "shear": lambda: {"degrees": float(rng.uniform(-options.shear, options.shear))},
            "colour": lambda: {"brightness": factor(), "contrast": factor(), "saturation": factor()},
            "hue": lambda: {"shift": float(rng.uniform(-options.hue, options.hue))},
            "blur": lambda: {"sigma": float(rng.uniform(*options.blur))},
        }
        return [{"name": name, **(draws[name]() if name in draws else {})} for name in names]


def _on(
    region: Mask, size: tuple[int, int], affine: Affine, share: float, rng: np.random.Generator
) -> tuple[Box, Box, Affine]:
    """Source and destination, each with at least ``share`` of its pixels in the region, at the largest size that fits.

    Where 200 centres lead to none (a region of scattered pixels), a single pixel is copied, and nothing is turned.
    """
    counter, pixels, (height, width) = BoxCounter(region), np.flatnonzero(region), region.shape
    sizes = [[max(1, int(side * SHRINK**times)) for side in size] for times in range(SHRINKS + 1)]
    boxes = np.array([affine.canvas(*smaller) for smaller in sizes]).T  # heights, widths
    for pixel in pixels[rng.integers(pixels.size, size=CENTRES)]:
        y, x = divmod(int(pixel), width)
        top, left = start(y, boxes[0], height), start(x, boxes[1], width)
        fits = first_true(counter.count(top, left, boxes[0], boxes[1]) >= share * boxes[0] * boxes[1])
        if fits is None:
            continue
        source = place_covered(counter, pixels, sizes[fits][0], sizes[fits][1], share, rng)
        if source is not None:
            destination = Box(int(top[fits]), int(left[fits]), int(boxes[0][fits]), int(boxes[1][fits]))
            return source, destination, affine
    one, other = random_pixel(region, rng), random_pixel(region, rng)
    return Box(one[0], one[1], 1, 1), Box(other[0], other[1], 1, 1), Affine()


def _affine(changes: list[dict[str, Any]]) -> Affine:
    """All geometric augmentations as one."""
    found = {change["name"]: change for change in changes}
    flip = found.get("flip")
    return Affine(
        degrees=found["turn"]["degrees"] if "turn" in found else 0.0,
        scale=found["scale"]["factor"] if "scale" in found else 1.0,
        shear=found["shear"]["degrees"] if "shear" in found else 0.0,
        mirror=flip is not None and not flip["upside_down"],
        flip=flip is not None and flip["upside_down"],
    )


def _recolour(patch: RGB, change: dict[str, Any]) -> RGB:
    """Apply one augmentation of colour; the geometric ones change nothing here."""
    name = change["name"]
    if name == "colour":
        patch = adjust_brightness(patch, change["brightness"])
        return adjust_saturation(adjust_contrast(patch, change["contrast"]), change["saturation"])
    if name == "hue":
        return adjust_hue(patch, change["shift"])
    if name == "blur":
        return np.asarray(cv2.GaussianBlur(patch, (0, 0), change["sigma"]), dtype=np.uint8)
    if name == "grey":
        return adjust_saturation(patch, 0.0)
    return invert(patch) if name == "invert" else patch
