"""DualAnoDiff on a random base, for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ias_zoo.diffusion.base import generator, open_base
from ias_zoo.training.shots import TrainingSet
from ias_zoo_dualanodiff.model import ANOMALY_PROMPT, GLOBAL_PROMPT, DualModel
from ias_zoo_dualanodiff.options import DualAnoDiffOptions
from ias_zoo_dualanodiff.stages import (
    Batches,
)

QUICK: dict[str, Any] = {"steps": 1, "sampling_steps": 2, "rank": 2, "sampling_batch": 4}
PROMPTS = (GLOBAL_PROMPT, ANOMALY_PROMPT)


def dual(random_base: Path, **options: Any) -> DualModel:
    """A model with one set of adapters at its start; ``rank`` 4 and the published start unless asked otherwise."""
    base = open_base(str(random_base), None, device="cpu")
    model = DualModel(base, DualAnoDiffOptions(**({"rank": 4, "saim_start": "default"} | options)))
    model.add_set()
    return model


def rows(model: DualModel, pairs: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, timesteps and prompts of pairs."""
    base = model.base
    side = base.unet.config.sample_size
    latents = torch.randn(2 * pairs, base.unet.config.in_channels, side, side, generator=generator(seed))
    t = torch.tensor([700, 20, 300][:pairs]).repeat_interleave(2)
    return latents, t, model.embed(0, list(PROMPTS)).repeat(pairs, 1, 1)


def zero_out(model: DualModel) -> None:
    for layer in model.sets[0].interactions:
        nn.init.zeros_(layer.to_out.weight)
        nn.init.zeros_(layer.to_out.bias)


def up_weights(network: nn.Module, adapter: str) -> list[nn.Parameter]:
    return [p for name, p in network.named_parameters() if "lora_B" in name and f".{adapter}." in name]


def randomise(parameters: list[nn.Parameter], seed: int = 5) -> None:
    assert parameters
    source = generator(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=source))


def no_preview(step: int, folder: Path) -> None:
    """Nothing."""


def batches(toys: TrainingSet, *, bcm: str = "off", size: int = 2, flip: bool = True) -> Batches:
    backgrounds = None if bcm == "off" else [shot.image // 2 for shot in toys.shots]
    return Batches(toys.shots, backgrounds, 64, None, size, 3, flip=flip)


def backgrounds_of(model: DualModel, seed: int = 9) -> torch.Tensor:
    side = model.base.unet.config.sample_size
    return torch.randn(2, model.base.unet.config.in_channels, side, side, generator=generator(seed))
