"""Hyper-parameters of CutPaste and its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option

Share = Annotated[float, Interval(gt=0, le=1)]
Positive = Annotated[float, Gt(0)]
Pixels = Annotated[float, Ge(1)]
Degrees = Annotated[float, Interval(ge=-90, le=90)]


@dataclass(frozen=True)
class CutPasteOptions:
    """Options of CutPaste."""

    area: tuple[Share, Share] = option((0.02, 0.15), "range of the patch's share of the image's area")
    aspect: tuple[Positive, Positive] = option((0.3, 3.3), "range of the patch's width / height; 1 lies inside")
    aspect_law: Literal["two_branch", "log_uniform"] = option(
        "two_branch", "paper: a fair coin between U(low, 1) and U(1, high); or log-uniform, as some code draws it"
    )
    jitter: Annotated[float, Interval(ge=0, le=0.5)] = option(
        0.1, "largest change of brightness, contrast, saturation and hue; 0 switches it off"
    )

    def __post_init__(self) -> None:
        _ordered("area", self.area)
        _ordered("aspect", self.aspect)
        if not self.aspect[0] <= 1 <= self.aspect[1]:
            raise ValueError(f"aspect={list(self.aspect)}: expected a range around 1")


@dataclass(frozen=True)
class CutPasteScarOptions:
    """Options of CutPaste-Scar."""

    scar_width: tuple[Pixels, Pixels] = option((2.0, 16.0), "range of the scar's width in pixels of a 256-pixel image")
    scar_length: tuple[Pixels, Pixels] = option((10.0, 25.0), "range of the scar's length, in the same pixels")
    scar_angle: tuple[Degrees, Degrees] = option((-45.0, 45.0), "range of the scar's turn from upright, in degrees")
    scale_scar: bool = option(True, "scale width and length by min(height, width) / 256; false: absolute pixels")
    jitter: Annotated[float, Interval(ge=0, le=0.5)] = option(
        0.1, "largest change of brightness, contrast, saturation and hue; 0 switches it off"
    )

    def __post_init__(self) -> None:
        for name in ("scar_width", "scar_length", "scar_angle"):
            _ordered(name, getattr(self, name))


@dataclass(frozen=True)
class CutPaste3WayOptions(CutPasteScarOptions, CutPasteOptions):
    """Options of both, for 3-way CutPaste."""

    def __post_init__(self) -> None:
        CutPasteOptions.__post_init__(self)
        CutPasteScarOptions.__post_init__(self)


def _ordered(name: str, pair: tuple[float, float]) -> None:
    if pair[0] > pair[1]:
        raise ValueError(f"{name}={list(pair)}: the first number is the smaller one")
