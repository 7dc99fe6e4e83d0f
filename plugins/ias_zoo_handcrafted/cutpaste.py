"""CutPaste: a patch of the image, with its colours jittered, pasted somewhere else in the same image.

Li, Sohn, Yoon, Pfister: *CutPaste: Self-Supervised Learning for Anomaly Detection and Localization*, CVPR 2021,
arXiv 2104.04015. There is no official code; where the paper is silent, this follows what the widely used
re-implementations agree on.

Three methods: ``cutpaste`` pastes a large rectangle, ``cutpaste_scar`` a thin turned one, and ``cutpaste_3way`` either
of them by a fair coin. The paper's 3-way classifier sees normal, patch and scar as three classes: the normals are the
data set's own, the other two keep their class in ``Sample.defect``, and :meth:`CutPaste3Way.triple` makes all three
from one source image.

Left out, because it belongs to training and not to synthesis: resizing to 256, jittering and translating whole
images, and the 64 x 64 patch model.

Our design, where the publication says nothing:

- The mask: exactly the pasted pixels. Every other pixel is the normal's.
- The image keeps its size. A patch's law is relative and needs no change; a scar's is in pixels of a 256-pixel image
  and is scaled by min(H, W) / 256, unless ``scale_scar=False``.
- With a region, the centres of source and destination are region pixels (so that a product's patch comes from the
  product), and what would land outside the region is not pasted.
- A scar shows its source pixels unblended (nearest neighbour).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request, Sample
from ias_zoo.imaging.blending import canvas, paste
from ias_zoo.imaging.patches import (
    aspect_log_uniform,
    aspect_two_branch,
    rotated_rectangle,
    size_by_area,
    size_uniform,
)
from ias_zoo.imaging.photometric import color_jitter
from ias_zoo.imaging.placement import place

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.cutpaste import CutPaste3WayOptions, CutPasteOptions, CutPasteScarOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

PATCH, SCAR = "cutpaste", "cutpaste_scar"
SCAR_TRIES = 50


class CutPaste(ImageSynthesizer):
    """CutPaste: a jittered rectangle of 2 to 15 % of the area."""

    options: CutPasteOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paste one patch."""
        return draw_patch(request.need_normal(), request.region, rng, self.options)


class CutPasteScar(ImageSynthesizer):
    """CutPaste-Scar: a jittered thin rectangle, turned."""

    options: CutPasteScarOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paste one scar."""
        return draw_scar(request.need_normal(), request.region, rng, self.options)


class CutPaste3Way(ImageSynthesizer):
    """A patch or a scar: as the request's defect says (``cutpaste``, ``cutpaste_scar``), else by a fair coin."""

    options: CutPaste3WayOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paste one patch or one scar; ``Drawn.defect`` tells which."""
        kind = request.defect if request.defect in (PATCH, SCAR) else (PATCH, SCAR)[int(rng.integers(2))]
        draw = draw_patch if kind == PATCH else draw_scar
        return replace(draw(request.need_normal(), request.region, rng, self.options), defect=kind)

    def triple(self, request: Request) -> tuple[RGB, Sample, Sample]:
        """Make one training example of each of the paper's three classes from one source image.

        Returns
        -------
        The normal (a copy), a patch sample and a scar sample. The two samples have seeds of their own, derived from
        the request's, so that they are independent; each recipe makes its sample again.

        Raises
        ------
        RequestError
            As ``synthesize``.
        """
        seeds = np.random.SeedSequence(request.seed).generate_state(2)
        patch, scar = self.synthesize(
            [replace(request, seed=int(seed), defect=kind) for seed, kind in zip(seeds, (PATCH, SCAR), strict=True)]
        )
        return request.need_normal().copy(), patch, scar


def draw_patch(normal: RGB, region: Mask | None, rng: np.random.Generator, options: CutPasteOptions) -> Drawn:
    """Cut a rectangle, jitter its colours, paste it (paper, section 2.2).

    Parameters
    ----------
    normal:
        H x W x 3 uint8 RGB.
    region:
        H x W bool, or None for anywhere.
    rng:
        Draws everything.
    options:
        The laws of size and colour.

    Returns
    -------
    ``drawn`` holds the boxes ``source`` and ``destination`` as (top, left, height, width), and the other draws.
    """
    height, width = normal.shape[:2]
    law = aspect_two_branch if options.aspect_law == "two_branch" else aspect_log_uniform
    area, aspect = rng.uniform(*options.area), law(*options.aspect, rng)
    size = size_by_area(height, width, area, aspect)
    source, destination = (place(normal.shape, size, rng, region) for _ in range(2))
    patch, jitter = _jitter(normal[source.slices], options.jitter, rng)

    image, mask = canvas(normal)
    paste(image, mask, patch, destination, None if region is None else region[destination.slices])
    drawn: dict[str, Any] = {"kind": PATCH, "area": area, "aspect": aspect}
    drawn |= {"source": source, "destination": destination, "jitter": jitter}
    return Drawn(image=image, mask=mask, drawn=drawn)


def draw_scar(normal: RGB, region: Mask | None, rng: np.random.Generator, options: CutPasteScarOptions) -> Drawn:
    """Cut a thin rectangle, jitter its colours, turn it, paste it (paper, section 2.2).

    The position is drawn with the turned size, so no corner is cut at the image's border. In a region so small that
    the turned scar misses it, the scar is drawn again, up to ``SCAR_TRIES`` times; after that the mask stays empty.

    Parameters
    ----------
    normal:
        H x W x 3 uint8 RGB.
    region:
        H x W bool, or None for anywhere.
    rng:
        Draws everything.
    options:
        The laws of size and colour.

    Returns
    -------
    ``drawn`` holds the boxes ``source`` and ``destination`` as (top, left, height, width), and the other draws.
    """
    height, width = normal.shape[:2]
    scale = min(height, width) / 256 if options.scale_scar else 1.0
    for _ in range(SCAR_TRIES):
        across = size_uniform(*options.scar_width, scale, width, rng)
        along = size_uniform(*options.scar_length, scale, height, rng)
        angle = rng.uniform(*options.scar_angle)
        scar = rotated_rectangle(along, across, angle)
        if scar.mask.shape[0] > height or scar.mask.shape[1] > width:
            angle = 0.0  # only in images a few pixels high or wide: upright it fits
            scar = rotated_rectangle(along, across, angle)
        source = place(normal.shape, (along, across), rng, region)
        destination = place(normal.shape, scar.mask.shape, rng, region)
        shape = scar.mask if region is None else scar.mask & region[destination.slices]
        if shape.any():
            break
    patch, jitter = _jitter(normal[source.slices], options.jitter, rng)

    image, mask = canvas(normal)
    paste(image, mask, patch[scar.rows, scar.columns], destination, shape)
    drawn: dict[str, Any] = {"kind": SCAR, "width": across, "length": along, "angle": angle}
    drawn |= {"source": source, "destination": destination, "jitter": jitter}
    return Drawn(image=image, mask=mask, drawn=drawn)


def _jitter(patch: RGB, strength: float, rng: np.random.Generator) -> tuple[RGB, dict[str, Any] | None]:
    """Jitter all four properties by the same strength, as published."""
    if strength == 0.0:
        return patch, None
    return color_jitter(np.ascontiguousarray(patch), rng, strength, strength, strength, strength)
