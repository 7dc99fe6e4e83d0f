"""Hyper-parameters of AMI-Net's token masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Interval, option

Ratio = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class AmiNetOptions:
    """Options of AMI-Net."""

    policy: Literal["random", "adaptive"] = option(
        "random", "which tokens are hidden: a random share, as in training, or the outliers of clusters, as in the test"
    )
    patch: Annotated[int, Interval(ge=1, le=64)] = option(1, "side of a token in cells of the map; published: 4 of 64")
    ratio: tuple[Ratio, Ratio] = option((0.0, 1.0), "range of the share of tokens that is hidden, drawn for each map")
    jitter: Annotated[float, Ge(0)] = option(
        20.0, "Gaussian noise on every token: this times its length over its width; 0 switches it off"
    )
    centres: Annotated[int, Interval(ge=1, le=256)] = option(8, "how many clusters a map's tokens form")
    sigma: Annotated[float, Ge(0)] = option(
        0.5, "an outlier is this many standard deviations farther from its centre than its cluster's mean"
    )

    def __post_init__(self) -> None:
        if self.ratio[0] > self.ratio[1]:
            raise ValueError(f"ratio={list(self.ratio)}: the first number is the smaller one")
