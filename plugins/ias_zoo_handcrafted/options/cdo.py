"""Hyper-parameters of CDO's noise patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ias_zoo.options import option


@dataclass(frozen=True)
class CdoOptions:
    """Options of CDO."""

    variant: Literal["v1", "v2"] = option(
        "v1", "the first published code (hard white noise) or its 2025 rewrite (noise shrunk four times, soft borders)"
    )
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
        "auto", "keep patch centres off the background (object), or not (texture); an MVTec AD category as published"
    )
    allow_clean: bool = option(False, "0 to 4 patches as published, so that one sample in five is clean; false: 1 to 4")
