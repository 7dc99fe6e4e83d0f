"""DFMGAN: few-shot defect images with masks from a StyleGAN2 whose features are manipulated."""

from __future__ import annotations

import ias_zoo
from ias_zoo_dfmgan.record import METHODS


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The method of this plugin."""
    return METHODS
