"""SMAI: random superpixels are hidden, and a network is to fill them in.

Li, Li, Jiang, Ma, Wei, Hong, Gong: *Superpixel Masking and Inpainting for Self-Supervised Anomaly Detection*, BMVC
2020, paper 275. There is no code, and only the abstract's account could be followed: superpixels are cut, a network
learns from randomly hidden ones, and in the test they are hidden and restored one by one and compared.

Our design, therefore: SLIC in Lab with 200 superpixels and compactness 10, how many are hidden, how they are chosen
(half of the time a seed and its neighbours, which makes larger holes), and what hides them. The target is the normal
itself. With a region, the superpixels that lie in it by at least half are the ones to choose from, and they are cut at
its border.

Cutting an image into superpixels takes far longer than hiding them, so the labels of normals seen before are kept,
found by a hash of their pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.inpaint import compose, hide
from ias_zoo.imaging.similarity import ssim_map
from ias_zoo.imaging.superpixels import SuperpixelCache, colour_passes, superpixels

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.imaging.inpaint import Inpainter
    from ias_zoo.imaging.superpixels import Cut, Labels
    from ias_zoo.synthesizer import Setup
    from ias_zoo_handcrafted.options.masking import SmaiOptions

    RGB = npt.NDArray[np.uint8]
    Map = npt.NDArray[np.float32]
    Chosen = npt.NDArray[np.intp]
    Mask = npt.NDArray[np.bool_]


class Smai(ImageSynthesizer):
    """SMAI's masked images."""

    options: SmaiOptions

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        options = self.options
        self.cuts = SuperpixelCache(options.cache_mb * 2**20, options.superpixels, options.compactness, options.sigma)

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Hide some superpixels."""
        normal, region, options = request.need_normal(), request.region, self.options
        cut = self.cuts.get(normal)
        labels, count = cut.labels, cut.areas.size
        allowed = np.arange(count) if region is None else _inside(cut, region)
        wanted = int(rng.integers(1, max(1, int(options.most * allowed.size)) + 1))
        grown = bool(rng.random() < options.grow)
        chosen = cut.grow(allowed, wanted, rng) if grown else rng.choice(allowed, wanted, replace=False)
        hidden = np.zeros(count, np.bool_)
        hidden[chosen] = True
        mask = hidden[labels]
        if region is not None:
            mask &= region
        drawn = {"superpixels": np.sort(chosen), "of": count, "grown": grown, "target": "normal", "fill": options.fill}
        if options.fill == "swap":
            image, drawn["taken"] = _swap(normal, cut, chosen, rng)
            image = compose(normal, image, mask)
        else:
            image = hide(normal, mask, options.fill)
        return Drawn(image=image, mask=mask, drawn=drawn)


def error_map(image: RGB, inpaint: Inpainter, labels: Labels | None = None) -> Map:
    """Hide every superpixel once and have it filled; its error is what came back wrong.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    inpaint:
        Gets the image with black superpixels that do not touch each other, and their mask.
    labels:
        H x W int32; None cuts 200 superpixels.

    Returns
    -------
    H x W float32, the same inside a superpixel: its mean absolute error (of 1) plus its mean of 1 - SSIM. 0 where what
    came back is what was there.

    Notes
    -----
    Published is one pass a superpixel. Superpixels that do not touch are hidden together here: about six passes.
    """
    if labels is None:
        labels = superpixels(image, 200)
    filled = image.copy()
    for batch in colour_passes(labels):
        mask = np.isin(labels, batch)
        filled = compose(filled, inpaint(hide(image, mask, "black"), mask), mask)
    error = np.abs(image.astype(np.float32) - filled).mean(axis=2) / np.float32(255)
    error += np.maximum(1 - ssim_map(image, filled), 0)
    means = np.bincount(labels.ravel(), weights=error.ravel()) / np.bincount(labels.ravel())
    return means.astype(np.float32)[labels]


def _inside(cut: Cut, region: Mask) -> Chosen:
    """The superpixels that lie in the region by at least half; those that touch it, if there are none."""
    inside = np.bincount(cut.labels[region], minlength=cut.areas.size)
    mostly = np.flatnonzero(2 * inside >= cut.areas)
    return mostly if mostly.size else np.flatnonzero(inside)


def _swap(normal: RGB, cut: Cut, chosen: Chosen, rng: np.random.Generator) -> tuple[RGB, list[int]]:
    """Paint each chosen superpixel in the mean colour of another one."""
    labels, areas = cut.labels, cut.areas
    others = np.setdiff1d(np.arange(areas.size), chosen)
    others = others if others.size else chosen
    taken = others[rng.integers(others.size, size=chosen.size)]
    colours = np.zeros((areas.size, 3), np.uint8)
    for channel in range(3):
        sums = np.bincount(labels.ravel(), weights=normal[..., channel].ravel())
        colours[chosen, channel] = np.rint(sums[taken] / areas[taken])
    return colours[labels], [int(i) for i in taken]
