"""Hyper-parameters of the methods that hide parts of a normal: InTra, I3AD, RIAD, SMAI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Interval, Len, option

Share = Annotated[float, Interval(gt=0, le=1)]


@dataclass(frozen=True)
class IntraOptions:
    """Options of InTra."""

    tile: Annotated[int, Interval(ge=2, le=256)] = option(16, "K: side of a tile in pixels")
    window: Annotated[int, Interval(ge=1, le=64)] = option(
        7, "L: side of a window in tiles; less where the image has fewer tiles"
    )
    fill: Literal["black", "grey", "mean", "inpaint"] = option(
        "black", "what hides the tile: 0, 128, the mean colour of the rest of the image, or OpenCV's inpainting"
    )
    output: Literal["image", "window"] = option(
        "image", "the whole image with one hidden tile, or the window that the network sees, cut out"
    )


@dataclass(frozen=True)
class I3adOptions:
    """Options of I3AD."""

    coverage: tuple[Share, Share] = option((0.1, 0.5), "range of the share of the image (or region) that is hidden")
    fill: Literal["inpaint", "black", "grey", "mean"] = option(
        "inpaint", "what hides it: OpenCV's inpainting, or 0 as for training an inpainter, 128, the rest's mean colour"
    )

    def __post_init__(self) -> None:
        if self.coverage[0] > self.coverage[1]:
            raise ValueError(f"coverage={list(self.coverage)}: the first number is the smaller one")


@dataclass(frozen=True)
class RiadOptions:
    """Options of RIAD."""

    cells: Annotated[tuple[Annotated[int, Interval(ge=1, le=256)], ...], Len(1)] = option(
        (2, 4, 8, 16), "sides of a cell in pixels; each sample draws one of them"
    )
    parts: Annotated[int, Interval(ge=2, le=16)] = option(3, "n: how many disjoint parts share the cells out")
    fill: Literal["black", "grey", "mean", "inpaint"] = option(
        "black", "what hides the cells: 0, 128, the mean colour of the rest of the image, or OpenCV's inpainting"
    )


@dataclass(frozen=True)
class SmaiOptions:
    """Options of SMAI."""

    superpixels: Annotated[int, Interval(ge=2, le=10000)] = option(200, "N: about how many superpixels are cut")
    compactness: Annotated[float, Interval(gt=0, le=200)] = option(
        10.0, "SLIC: large makes squares, small follows edges"
    )
    sigma: Annotated[float, Interval(ge=0, le=20)] = option(1.0, "SLIC: smoothing before the cut, in pixels")
    most: Share = option(0.1, "at most this share of the superpixels is hidden; how many is drawn uniformly from 1")
    grow: Annotated[float, Interval(ge=0, le=1)] = option(
        0.5, "chance that the superpixels form one hole: a seed and neighbours; else they are drawn anywhere"
    )
    fill: Literal["black", "grey", "mean", "inpaint", "swap"] = option(
        "black",
        "what hides them: 0, 128, the rest's mean colour, OpenCV's inpainting, or (swap) the mean colours of others",
    )
    cache_mb: Annotated[int, Ge(0)] = option(256, "how much memory the superpixels of earlier normals may take, in MiB")
