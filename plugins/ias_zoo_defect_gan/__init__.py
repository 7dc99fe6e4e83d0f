"""Defect-GAN: turns pictures of good parts into pictures of defective ones, painting the defect as a layer on top."""

from __future__ import annotations

import ias_zoo
from ias_zoo_defect_gan.record import METHODS


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The method of this plugin."""
    return METHODS
