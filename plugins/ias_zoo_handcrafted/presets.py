"""Published per-category settings, by the category names of MVTec AD (Bergmann et al., CVPR 2019).

NSA's table is that of ``train_mvtec.py`` in github.com/hmsch/natural-synthetic-anomalies. The rows ``object`` and
``texture`` are ours, for categories that nobody has tuned: the commonest values of the published rows, but for the
object share, where we take the lower of the two common values so that thin products are served too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Bounds = tuple[float, float]


@dataclass(frozen=True)
class NSAPreset:
    """NSA's settings for one category.

    Attributes
    ----------
    patches:
        The largest number of patches in one image.
    bounds_h, bounds_w:
        Smallest and largest half-height and half-width of a patch, as shares of the image's height and width.
    resize_bounds:
        Smallest and largest factor by which a patch is resized.
    blend:
        Poisson blending with the source's gradients (``normal``), or with the stronger ones (``mixed``).
    foreground:
        How the product is found: by its distance from the ``background`` tones, by Otsu's threshold, by GrabCut, or
        not at all.
    background:
        Pairs (tone, threshold) in grey levels.
    min_object_share, min_overlap_share:
        A patch must hold more than this share of product; of its product, more than this share must come onto product.
    steepness, midpoint:
        k (1 / grey level) and x0 (grey levels) of the logistic label.
    """

    patches: int = 3
    bounds_h: Bounds = (0.03, 0.4)
    bounds_w: Bounds = (0.03, 0.4)
    resize_bounds: Bounds = (0.7, 1.3)
    blend: Literal["normal", "mixed"] = "normal"
    foreground: Literal["tone", "otsu", "grabcut", "all"] = "all"
    background: tuple[tuple[float, float], ...] = ()
    min_object_share: float = 0.5  # the published rows without a foreground have none; it then rules nothing out
    min_overlap_share: float = 0.25
    steepness: float = 1 / 6
    midpoint: float = 15.0


_BRIGHT = ((200.0, 60.0),)  # a bright background
_DARK = ((20.0, 20.0),)


def _object(background: tuple[tuple[float, float], ...], share: float, k: float, x0: float, n: int = 3) -> NSAPreset:
    return NSAPreset(
        patches=n, foreground="tone", background=background, min_object_share=share, steepness=k, midpoint=x0
    )


def _texture(k: float = 1 / 3, x0: float = 7.0) -> NSAPreset:
    return NSAPreset(patches=4, resize_bounds=(0.5, 2.0), blend="mixed", steepness=k, midpoint=x0)


def _bounded(preset: NSAPreset, h: Bounds, w: Bounds) -> NSAPreset:
    from dataclasses import replace

    return replace(preset, bounds_h=h, bounds_w=w)


NSA: Mapping[str, NSAPreset] = MappingProxyType(
    {
        "object": NSAPreset(foreground="otsu"),
        "texture": _texture(),
        "bottle": _object(_BRIGHT, 0.7, 1 / 12, 24),
        "cable": NSAPreset(bounds_h=(0.05, 0.4), bounds_w=(0.05, 0.4), steepness=1 / 12, midpoint=24),
        "capsule": _bounded(_object(_BRIGHT, 0.7, 1 / 2, 4), (0.03, 0.15), (0.03, 0.4)),
        "hazelnut": _bounded(_object(_DARK, 0.7, 1 / 12, 24), (0.03, 0.35), (0.03, 0.35)),
        "metal_nut": _object(_DARK, 0.5, 1 / 3, 7),
        "pill": _bounded(_object(_DARK, 0.7, 1 / 3, 7), (0.03, 0.2), (0.03, 0.4)),
        "screw": _bounded(_object(_BRIGHT, 0.5, 1, 3, 4), (0.03, 0.12), (0.03, 0.12)),
        "toothbrush": _bounded(_object(_DARK, 0.25, 1 / 6, 15), (0.03, 0.4), (0.03, 0.2)),
        "transistor": NSAPreset(),
        "zipper": _bounded(_object(_BRIGHT, 0.7, 1 / 6, 15, 4), (0.03, 0.4), (0.03, 0.2)),
        "carpet": _texture(),
        "grid": _texture(),
        "leather": _texture(),
        "tile": _texture(),
        "wood": _texture(1 / 6, 15),
    }
)
"""NSA's table."""
