"""DualAnoDiff: two interrelated diffusion branches, one for the picture and one for the anomaly alone."""

from __future__ import annotations

import ias_zoo
from ias_zoo_dualanodiff.record import METHODS


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The method of this plugin."""
    return METHODS
