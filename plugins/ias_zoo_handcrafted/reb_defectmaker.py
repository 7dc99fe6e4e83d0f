"""REB's DefectMaker: three outlines, each filled with a part of another normal or with coarse noise.

Lyu, Mo, Wong: *REB: Reducing Biases in Representation for Industrial Anomaly Detection*, Knowledge-Based Systems 2024,
arXiv 2308.12577; published code: github.com/ShuaiLYU/REB (Apache-2.0; nothing of it is used here). The network that
learns to tell the six kinds and the normal apart is left out, and so is jittering and turning whole images, which
belongs to its training.

Six kinds: ``bezier_cut``, ``scar_cut``, ``clump_cut``, ``bezier_noise``, ``scar_noise``, ``clump_noise``. The published
code makes all six of one image; here a request gives one, as its defect says or at random, and
:meth:`RebDefectMaker.six` gives all.

Choices and corrections of ours:

- The mask is every pixel that the blend touches. (The published code has masks switched off.)
- The product is Otsu's foreground (published: a saliency network's output, as files), or the request's region. As
  published, the box is centred on the product and the shape may leave it; but what leaves a region of the request is
  not pasted. A shape that misses such a region is drawn again, up to 50 times; after that the mask stays empty.
- The image keeps its size (published: 256 x 256); what is given in pixels is scaled by min(H, W) / 256, unless
  ``scale_sizes=False``.
- Coarse noise has cells of one proportion in every box. The published code takes the box's width for both axes.
- Noise levels are whole numbers from mean - spread to mean + spread within 0..254; the three channels share mean and
  spread and are otherwise independent.
- The erosion sees what is outside the box as outside the shape. Where it would leave nothing, the edge stays hard.
- The blend is rounded, not truncated from half-precision numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request, Sample
from ias_zoo.imaging.blending import alpha_paste, canvas
from ias_zoo.imaging.foreground import product
from ias_zoo.imaging.patches import aspect_log_uniform, rotated_rectangle, size_by_area
from ias_zoo.imaging.photometric import color_jitter
from ias_zoo.imaging.placement import place
from ias_zoo.imaging.shapes import bezier_blob, coarse_noise, noise_clump

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.reb_defectmaker import RebDefectMakerOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Weights = npt.NDArray[np.float32]

KINDS = ("bezier_cut", "scar_cut", "clump_cut", "bezier_noise", "scar_noise", "clump_noise")
"""In the order of the published labels 1 to 6; 0 is the normal."""

MEANS, SPREADS = range(50, 191, 10), range(0, 46, 5)
TRIES = 50
CELLS, STRETCHES = (1, 2, 4), (0.25, 0.5, 1.0, 2.0, 4.0)
KERNELS = {"bezier": 5, "scar": 3, "clump": 3}


class RebDefectMaker(ImageSynthesizer):
    """REB's DefectMaker (see the module's docstring)."""

    options: RebDefectMakerOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one defect; ``Drawn.defect`` tells its kind.

        ``drawn`` holds ``kind``, the ``shape``'s and the ``fill``'s draws, ``weight``, whether the edge is ``soft``,
        and the box ``destination`` as (top, left, height, width).
        """
        options, normal = self.options, request.need_normal()
        if request.defect in KINDS:
            shape_name, fill_name = str(request.defect).split("_")
        else:
            shape_name = options.shapes[int(rng.integers(len(options.shapes)))]
            fill_name = options.fills[int(rng.integers(len(options.fills)))]

        where = product(normal, options.foreground, request.region)
        for _ in range(TRIES):
            shape, shaped = self._shape(shape_name, normal.shape[:2], rng)
            box = place(normal.shape, shape.shape, rng, where)
            weight = float(rng.uniform(*options.clump_weight)) if shape_name == "clump" else 1.0
            soft = bool(rng.random() < options.soft_edge)
            alpha = soften(shape, self._pixels(KERNELS[shape_name], normal)) if soft else shape.astype(np.float32)
            alpha *= np.float32(weight)
            if request.region is not None:
                alpha *= request.region[box.slices]
            if alpha.any():
                break
        if fill_name == "cut":
            fill, filled = self._cut(request, shape.shape, rng)
        else:
            fill, filled = noise_fill(shape.shape[0], shape.shape[1], rng)
        if options.jitter:
            fill, filled["jitter"] = color_jitter(fill, rng, *[options.jitter] * 4)

        image, mask = canvas(normal)
        alpha_paste(image, fill, alpha, box.top, box.left)
        mask[box.slices] = alpha > 0
        kind = f"{shape_name}_{fill_name}"
        drawn = {"kind": kind, "shape": shaped, "fill": filled, "weight": weight, "soft": soft, "destination": box}
        return Drawn(image=image, mask=mask, drawn=drawn, defect=kind)

    def six(self, request: Request) -> list[Sample]:
        """Make one sample of each kind from one normal, in the order of :data:`KINDS`.

        Their seeds are derived from the request's, so that they are independent; each recipe makes its sample again.

        Raises
        ------
        RequestError
            As ``synthesize``.
        """
        seeds = np.random.SeedSequence(request.seed).generate_state(len(KINDS))
        return self.synthesize(
            [replace(request, seed=int(seed), defect=kind) for seed, kind in zip(seeds, KINDS, strict=True)]
        )

    def _pixels(self, size: int, image: RGB) -> float:
        """A size in pixels of a 256-pixel image, in this image's."""
        return size * min(image.shape[:2]) / 256 if self.options.scale_sizes else float(size)

    def _shape(self, name: str, size: tuple[int, ...], rng: np.random.Generator) -> tuple[Mask, dict[str, Any]]:
        """Draw an outline, filled, in its box; never empty."""
        options = self.options
        while True:
            if name == "scar":
                shape, drawn = self._scar(size, rng)
            else:
                area = rng.uniform(*options.area)
                aspect = aspect_log_uniform(*(options.aspect if name == "bezier" else options.clump_aspect), rng)
                box = size_by_area(size[0], size[1], area, aspect)
                shape = bezier_blob(*box, rng) if name == "bezier" else noise_clump(*box, rng)
                drawn = {"area": area, "aspect": aspect}
            if shape.any():
                return shape, drawn

    def _scar(self, size: tuple[int, ...], rng: np.random.Generator) -> tuple[Mask, dict[str, Any]]:
        """A blob in a small upright box, turned by whole degrees on a larger one, nearest neighbour."""
        options = self.options
        scale = min(size) / 256 if options.scale_sizes else 1.0
        (low_w, high_w), (low_h, high_h) = options.scar_width, options.scar_height
        width = min(max(round(int(rng.integers(low_w, high_w + 1)) * scale), 1), size[1])
        height = min(max(round(int(rng.integers(low_h, high_h + 1)) * scale), 1), size[0])
        degrees = int(rng.integers(options.scar_angle[0], options.scar_angle[1] + 1))
        blob, turned = bezier_blob(height, width, rng), rotated_rectangle(height, width, degrees)
        if turned.mask.shape[0] > size[0] or turned.mask.shape[1] > size[1]:
            degrees, turned = 0, rotated_rectangle(height, width, 0.0)  # in images a few pixels wide: upright it fits
        shape = turned.mask & blob[turned.rows, turned.columns]
        return shape, {"width": width, "height": height, "degrees": degrees}

    def _cut(self, request: Request, size: tuple[int, ...], rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
        """A part of the source, centred on its product."""
        source, region = request.need_source(), request.source_region
        if source.shape[0] < size[0] or source.shape[1] < size[1]:  # a smaller picture: bring it to the normal's size
            height, width = request.need_normal().shape[:2]
            source = np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
            region = None
        where = product(source, self.options.foreground, region if region is not None and region.any() else None)
        box = place(source.shape, size, rng, where)
        return np.ascontiguousarray(source[box.slices]), {"source": box}


def noise_fill(height: int, width: int, rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
    """Draw coarse colour noise: whole levels around a mean, enlarged bicubically from fewer cells.

    The mean is one of 50, 60, ..., 190, the spread one of 0, 5, ..., 45; cells are 1, 2 or 4 pixels, stretched by 1/4
    to 4 along the columns and by the inverse along the rows.
    """
    mean, spread = (int(values[int(rng.integers(len(values)))]) for values in (MEANS, SPREADS))
    cell, stretch = CELLS[int(rng.integers(len(CELLS)))], STRETCHES[int(rng.integers(len(STRETCHES)))]
    levels = max(mean - spread, 0), min(mean + spread, 254)
    noise = coarse_noise(height, width, height / cell * stretch, width / cell / stretch, levels, 3, rng)
    return noise, {"mean": mean, "spread": spread, "cell": cell, "stretch": stretch}


def soften(shape: Mask, size: float) -> Weights:
    """Erode a shape by an ellipse and blur it by a Gaussian, both ``size`` pixels wide (rounded to an odd number).

    The Gaussian's standard deviation is its width. A shape that the erosion would wipe out keeps its hard edge.
    """
    kernel = 2 * round((size - 1) / 2) + 1
    hard = shape.view(np.uint8)
    if kernel < 3:
        return hard.astype(np.float32)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel, kernel))
    eroded = cv2.erode(hard, ellipse, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if not eroded.any():
        return hard.astype(np.float32)
    blurred = cv2.GaussianBlur(eroded.astype(np.float32), (kernel, kernel), kernel, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)
