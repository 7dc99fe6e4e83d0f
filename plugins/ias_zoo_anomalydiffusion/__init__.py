"""AnomalyDiffusion: few-shot anomalies painted into normals, at places given by masks, by a frozen diffusion model."""

from __future__ import annotations

import ias_zoo
from ias_zoo_anomalydiffusion.record import METHODS


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The method of this plugin."""
    return METHODS
