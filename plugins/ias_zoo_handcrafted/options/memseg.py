"""Hyper-parameters of MemSeg's anomaly generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ias_zoo.options import Ge, Interval, option

Share = Annotated[float, Interval(gt=0, le=1)]
Tiles = Annotated[int, Interval(ge=1, le=64)]


@dataclass(frozen=True)
class MemSegOptions:
    """Options of MemSeg."""

    variant: Literal["code", "paper"] = option(
        "code", "structure: the public code's 3 of 10 operations on an 8 x 8 grid, or the paper's own on a 4 x 8 grid"
    )
    preset: Literal[
        "auto",
        "grabcut",
        "texture",
        "bottle",
        "cable",
        "capsule",
        "carpet",
        "grid",
        "hazelnut",
        "leather",
        "metal_nut",
        "pill",
        "screw",
        "tile",
        "toothbrush",
        "transistor",
        "wood",
        "zipper",
    ] = option(
        "auto",
        "foreground: a category's grey threshold, texture (all), grabcut, or auto (Otsu's); a region beats it",
    )
    structure_probability: Annotated[float, Interval(ge=0, le=1)] = option(
        0.5, "chance that the source is the image itself with its tiles shuffled, not a texture picture"
    )
    operations: Annotated[int, Interval(ge=0, le=7)] = option(
        3, "how many different operations change the image before it is cut into tiles (paper's variant: at most 3)"
    )
    tiles: tuple[Tiles, Tiles] | None = option(None, "tiles down and across; null: the variant's")
    opacity: tuple[Share, Share] = option((0.15, 1.0), "range of the source's weight in the mask")
    textures: Path | None = option(
        None, "folder of texture pictures (the paper: DTD); null: pictures of scikit-image and procedural textures"
    )
    max_cells: Literal[1, 2, 4, 8, 16, 32, 64] = option(
        32, "the noise has a power of two up to this many cells along each axis, drawn independently"
    )
    retry_empty: bool = option(True, "draw the noise again while the mask is empty; the public code keeps it empty")
    cache_mb: Annotated[int, Ge(0)] = option(256, "how much memory decoded texture pictures may take, in MiB")

    def __post_init__(self) -> None:
        if self.opacity[0] > self.opacity[1]:
            raise ValueError(f"opacity={list(self.opacity)}: the first number is the smaller one")
