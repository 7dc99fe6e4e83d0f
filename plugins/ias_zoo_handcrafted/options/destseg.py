"""Hyper-parameters of DeSTSeg's anomaly generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ias_zoo.options import Ge, option


@dataclass(frozen=True)
class DeSTSegOptions:
    """Options of DeSTSeg."""

    variant: Literal["code", "paper"] = option(
        "code", "texture opacity: 1 - 0.8 U(0, 1), as the published code has it, or the paper's U(0.15, 1)"
    )
    textures: Path | None = option(
        None, "folder of texture pictures (the paper: DTD); null: pictures of scikit-image and procedural textures"
    )
    max_cells: Literal[1, 2, 4, 8, 16, 32, 64] = option(
        32, "the noise has a power of two up to this many cells along each axis, drawn independently"
    )
    rotate_normal: Literal[
        "off",
        "small",
        "quarters",
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
        "off", "turn the normal first: small is U(-5, 5) degrees, quarters adds 0, 90, 180 or 270; or a category's way"
    )
    retry_empty: bool = option(True, "draw the noise again while the mask is empty; the published code keeps it empty")
    cache_mb: Annotated[int, Ge(0)] = option(256, "how much memory decoded texture pictures may take, in MiB")
