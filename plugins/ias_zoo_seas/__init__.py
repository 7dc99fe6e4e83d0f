"""SeaS: few-shot anomaly images with masks from a fine-tuned latent-diffusion model."""

from __future__ import annotations

import ias_zoo
from ias_zoo_seas.record import METHODS


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The method of this plugin."""
    return METHODS
