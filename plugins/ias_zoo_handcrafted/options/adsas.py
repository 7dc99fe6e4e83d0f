"""Hyper-parameters of ADSAS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Gt, Interval, option

Share = Annotated[float, Interval(gt=0, le=1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Interval(ge=0, le=9)]
Limit = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class AdsasOptions:
    """Options of ADSAS."""

    area: tuple[Share, Share] = option((0.02, 0.15), "range of the patch's share of the image's area")
    aspect: tuple[Positive, Positive] = option((0.3, 3.3), "range of the patch's width / height; 1 lies inside")
    augmentations: tuple[Count, Count] = option(
        (1, 3), "range of how many of the nine different augmentations change the patch; [0, 0]: plain CutPaste"
    )
    rotation: Annotated[float, Interval(ge=0, le=180)] = option(45.0, "turn: by up to so many degrees either way")
    scale: tuple[Positive, Positive] = option((0.7, 1.3), "scale: range of the factor")
    shear: Annotated[float, Interval(ge=0, le=45)] = option(10.0, "shear: by up to so many degrees either way")
    colour: Limit = option(0.3, "colour: largest relative change of brightness, contrast and saturation")
    hue: Annotated[float, Interval(ge=0, le=0.5)] = option(0.1, "hue: largest shift in turns of the colour circle")
    blur: tuple[Positive, Positive] = option((0.5, 1.5), "blur: range of the standard deviation in pixels")
    on_object: Share = option(0.9, "at least this share of the patch is cut from the product and lands on it")
    foreground: Literal["otsu", "grabcut", "all"] = option(
        "otsu", "where the product is, if the request has no region: by Otsu's threshold, GrabCut, or everywhere"
    )

    def __post_init__(self) -> None:
        for name in ("area", "aspect", "augmentations", "scale", "blur"):
            pair = getattr(self, name)
            if pair[0] > pair[1]:
                raise ValueError(f"{name}={list(pair)}: the first number is the smaller one")
        if not self.aspect[0] <= 1 <= self.aspect[1]:
            raise ValueError(f"aspect={list(self.aspect)}: expected a range around 1")
