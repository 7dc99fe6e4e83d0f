"""Defect-GAN on a random base, for its tests."""

from __future__ import annotations

from typing import Any

import torch

import ias_zoo
from ias_zoo.testing.subject import SHAPE, picture
from ias_zoo.training.shots import TrainingSet
from ias_zoo_defect_gan.base import new_networks
from ias_zoo_defect_gan.networks import Architecture
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.stages import Batches, Objective, Stage

NORMAL = picture(SHAPE, 1)


def request(seed: int = 1, **changes: Any) -> ias_zoo.Request:
    return ias_zoo.Request(**({"seed": seed, "normal": NORMAL, "defect": "scratch"} | changes))


def stage(toys: TrainingSet, steps: int = 10, every: int = 5, **options: Any) -> Stage:
    architecture = Architecture(("scratch",), size=32, width=4, hidden=4, discriminator_width=4, discriminator_layers=5)
    networks = new_networks(architecture, 1)
    chosen = DefectGANOptions(**({"batch": 2} | options))
    batches = Batches(toys, chosen, architecture, None, 0, torch.device("cpu"), masks=True)
    objective = Objective(architecture, networks.generator, networks.discriminator, chosen, masks=True)
    return Stage("few-shot", objective, batches, steps, (2e-4, 1e-6), every)
