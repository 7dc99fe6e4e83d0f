"""Hyper-parameters of REB's DefectMaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, Len, option

Share = Annotated[float, Interval(gt=0, le=1)]
Positive = Annotated[float, Gt(0)]
Pixels = Annotated[int, Ge(1)]
Degrees = Annotated[int, Interval(ge=-90, le=90)]
Shape = Literal["bezier", "scar", "clump"]
Fill = Literal["cut", "noise"]


@dataclass(frozen=True)
class RebDefectMakerOptions:
    """Options of REB's DefectMaker."""

    shapes: Annotated[tuple[Shape, ...], Len(1)] = option(
        ("bezier", "scar", "clump"), "outlines to choose from, each as likely as any other"
    )
    fills: Annotated[tuple[Fill, ...], Len(1)] = option(
        ("cut", "noise"), "contents to choose from: a part of another normal, or coarse noise"
    )
    area: tuple[Share, Share] = option((0.02, 0.15), "range of the box's share of the image's area (bezier, clump)")
    aspect: tuple[Positive, Positive] = option((1 / 3.3, 3.3), "range of a bezier's box's width / height, log-uniform")
    clump_aspect: tuple[Positive, Positive] = option((1 / 3, 3.0), "range of a clump's box's width / height")
    scar_width: tuple[Pixels, Pixels] = option((7, 21), "range of a scar's width in pixels of a 256-pixel image")
    scar_height: tuple[Pixels, Pixels] = option((15, 30), "range of a scar's height, in the same pixels")
    scar_angle: tuple[Degrees, Degrees] = option((-45, 45), "range of a scar's turn in whole degrees")
    clump_weight: tuple[Share, Share] = option((0.5, 1.0), "range of a clump's opacity; the other shapes are opaque")
    soft_edge: Annotated[float, Interval(ge=0, le=1)] = option(
        0.5, "chance that the shape is eroded and blurred, by 5 pixels (bezier) or 3"
    )
    jitter: Annotated[float, Interval(ge=0, le=0.5)] = option(
        0.1, "largest change of the content's brightness, contrast, saturation and hue; 0 switches it off"
    )
    scale_sizes: bool = option(
        True, "scale what is given in pixels by min(height, width) / 256; false: absolute pixels"
    )
    foreground: Literal["otsu", "grabcut", "all"] = option(
        "otsu", "where the product is, if the request has no region: by Otsu's threshold, GrabCut, or everywhere"
    )

    def __post_init__(self) -> None:
        for name in ("area", "aspect", "clump_aspect", "scar_width", "scar_height", "scar_angle", "clump_weight"):
            pair = getattr(self, name)
            if pair[0] > pair[1]:
                raise ValueError(f"{name}={list(pair)}: the first number is the smaller one")
