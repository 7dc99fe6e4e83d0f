"""Hyper-parameters of RD++'s simplex noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ias_zoo.options import Gt, Interval, option

Side = Annotated[int, Interval(ge=1, le=64)]


@dataclass(frozen=True)
class RdppOptions:
    """Options of RD++."""

    side: tuple[Side, Side] = option((10, 31), "least and greatest side of the noisy rectangle, in a 256-pixel image")
    scale_side: bool = option(True, "scale the sides by min(height, width) / 256; false: absolute pixels")
    strength: Annotated[float, Interval(gt=0, le=2)] = option(0.2, "weight of the noise, with the image in 0..1")
    octaves: Annotated[int, Interval(ge=1, le=8)] = option(6, "how many octaves of noise are summed")
    persistence: Annotated[float, Interval(gt=0, le=1)] = option(
        0.6, "an octave's amplitude over that of the one before"
    )
    wavelength: Annotated[float, Gt(0)] = option(
        32.0, "of the first octave, in pixels of a 256-pixel image; each next: half"
    )
    legacy_fixed_field: bool = option(False, "cut every patch from one fixed noise field, as the published code does")
    field_seed: int = option(0, "which field that is; used with legacy_fixed_field alone")

    def __post_init__(self) -> None:
        if self.side[0] > self.side[1]:
            raise ValueError(f"side={list(self.side)}: the first number is the smaller one")
