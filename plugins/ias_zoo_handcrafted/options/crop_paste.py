"""Hyper-parameters of Crop&Paste."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option

Degrees = Annotated[float, Interval(ge=0, le=180)]


@dataclass(frozen=True)
class CropPasteOptions:
    """Options of Crop&Paste."""

    rotation: Degrees = option(15.0, "the defect is turned by up to so many degrees either way")
    scale: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = option(
        (0.9, 1.1), "range of the change of size, log-uniform; 1 is the shot's own scale in pixels"
    )
    mirror: bool = option(True, "mirror it left to right and upside down, each with a chance of one half")
    jitter: Annotated[float, Interval(ge=0, le=0.5)] = option(
        0.1, "largest change of the defect's brightness, contrast and saturation; 0 switches it off"
    )
    hue: Annotated[float, Interval(ge=0, le=0.5)] = option(0.02, "largest shift of its hue, in turns of the circle")
    match: Literal["gain", "shift", "none"] = option(
        "gain", "colours: scale and shift the surroundings' mean to the new place's, shift it only, or leave them"
    )
    feather: Annotated[float, Ge(0)] = option(2.0, "width in pixels of the soft edge, half of it inside the mask")
    foreground: Literal["otsu", "grabcut", "all"] = option(
        "otsu", "where the product is, if the request has no region: by Otsu's threshold, GrabCut, or everywhere"
    )
    inside: Annotated[float, Interval(ge=0, le=1)] = option(
        0.9, "a place is taken where at least this share of the defect lies in the region, else the best of 50"
    )
    border: Literal["keep", "ignore"] = option(
        "keep", "a defect that the shot's border cuts off stays at that border, or may come anywhere"
    )
    exact_mask: bool = option(False, "put the normal's pixels back wherever the mask is False: the outer soft edge")

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale={list(self.scale)}: the first number is the smaller one")
