"""Options of NSA. A value of None means: what the preset says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option

Offset = Annotated[float, Interval(ge=0, le=0.5)]
Half = Annotated[float, Interval(gt=0, le=0.5)]
Positive = Annotated[float, Gt(0)]
Tone = Annotated[float, Interval(ge=0, le=255)]


@dataclass(frozen=True)
class NSAOptions:
    """Hyper-parameters of NSA; the defaults are those of "NSA (logistic)"."""

    preset: Literal[
        "auto",
        "object",
        "texture",
        "bottle",
        "cable",
        "capsule",
        "hazelnut",
        "metal_nut",
        "pill",
        "screw",
        "toothbrush",
        "transistor",
        "zipper",
        "carpet",
        "grid",
        "leather",
        "tile",
        "wood",
    ] = option(
        "auto", "table row: an MVTec AD category, object or texture; auto looks at each image and picks one of the two"
    )
    blend: Literal["auto", "normal", "mixed", "swap", "uniform"] = option(
        "auto", "Poisson with source (normal) or stronger (mixed) gradients, hard paste, or fixed weight; auto: preset"
    )
    label: Literal["logistic", "binary", "continuous", "intensity"] = option(
        "logistic", "soft label: logistic in the change, the mask itself, times the blend weight, or the change (0-255)"
    )
    shape: Literal["rectangle", "ellipses"] = option("rectangle", "a patch is a rectangle, or five ellipses in it")
    patches: Annotated[int, Ge(1)] | None = option(None, "most patches in an image; all but the first come with p=0.5")
    half_size: tuple[Offset, Positive, Positive] = option(
        (0.03, 2.0, 0.05), "a, shape, scale of the half side a + Gamma(shape, scale), as a share of the image's side"
    )
    bounds_h: tuple[Half, Half] | None = option(None, "least and greatest half-height, as shares of the height")
    bounds_w: tuple[Half, Half] | None = option(None, "least and greatest half-width, as shares of the width")
    resize: bool = option(True, "resize the patch before blending")
    resize_bounds: tuple[Positive, Positive] | None = option(
        None, "least and greatest resize factor: N(1, 0.5), clipped"
    )
    foreground: Literal["preset", "otsu", "grabcut", "all"] = option(
        "preset", "how the product is found where the request has no region; all: it fills the image"
    )
    background: tuple[tuple[Tone, Tone], ...] | None = option(
        None, "pairs of background tone and least distance from it (0-255) that find the product; beats foreground"
    )
    min_object_share: Annotated[float, Interval(ge=0, lt=1)] | None = option(
        None, "a patch holds more than this share of product"
    )
    min_overlap_share: Annotated[float, Interval(ge=0, lt=1)] | None = option(
        None, "more than this share of the patch's product comes onto product"
    )
    tolerance: Annotated[float, Interval(ge=0, lt=255)] = option(1.0, "mean change above which a pixel is labelled")
    steepness: Annotated[float, Gt(0)] | None = option(None, "k of the logistic label, 1 / grey level")
    midpoint: Annotated[float, Interval(ge=0, le=255)] | None = option(
        None, "x0 of the logistic label, grey levels: there it is one half"
    )
    exact_mask: bool = option(False, "put the normal's pixels back wherever the mask is False (ours)")
    legacy_clip: bool = option(
        False, "clip resized sides by the bounds of half sides, as the published code does: no side exceeds 0.4"
    )

    def __post_init__(self) -> None:
        for name in ("bounds_h", "bounds_w", "resize_bounds"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"option {name}={list(pair)}: expected the least value first")
