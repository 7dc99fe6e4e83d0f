"""Hyper-parameters of DRAEM's anomaly generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ias_zoo.options import Ge, Interval, option


@dataclass(frozen=True)
class DraemOptions:
    """Options of DRAEM."""

    variant: Literal["code", "paper"] = option(
        "code", "the published code (threshold 0.5, opacity 0.2-1, 10 operations) or the paper's text (see the card)"
    )
    textures: Path | None = option(
        None, "folder of texture pictures (the paper: DTD); null: pictures of scikit-image and procedural textures"
    )
    max_cells: Literal[1, 2, 4, 8, 16, 32, 64] = option(
        32, "the noise has a power of two up to this many cells along each axis, drawn independently"
    )
    operations: Annotated[int, Interval(ge=0, le=7)] = option(3, "how many different operations change the texture")
    anomaly_probability: Annotated[float, Interval(ge=0, le=1)] = option(
        1.0, "chance that a sample is anomalous; published training uses 0.5 and leaves the others clean"
    )
    rotate_normal: Annotated[float, Interval(ge=0, le=1)] = option(
        0.0, "chance that the normal is turned first, leaving black corners; published training uses 0.3"
    )
    retry_empty: bool = option(True, "draw the noise again while the mask is empty; the published code keeps it empty")
    cache_mb: Annotated[int, Ge(0)] = option(256, "how much memory decoded texture pictures may take, in MiB")
