"""The two trainings: the spatial anomaly embedding under the masked loss, then the words that make masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ias_zoo.diffusion.base import Base, gaussian
from ias_zoo.training.shots import TrainingSet
from ias_zoo_anomalydiffusion.encoder import SpatialEncoder
from ias_zoo_anomalydiffusion.pictures import Pictures, to_cells
from ias_zoo_anomalydiffusion.words import Vectors, embed, template

if TYPE_CHECKING:
    from ias_zoo_anomalydiffusion.options import AnomalyDiffusionOptions

Preview = Callable[[int, Path], None]
"""Writes a picture of what the model makes after so many steps into a folder."""


def masked_loss(
    predicted: torch.Tensor, target: torch.Tensor, cells: torch.Tensor | None, over: str = "all"
) -> torch.Tensor:
    """The mean of (m (predicted - target))^2 over all numbers, not the mask's alone; without cells the plain one.

    Parameters
    ----------
    predicted, target:
        B x C x h x w.
    cells:
        m, B x 1 x h x w of 0 and 1.
    over:
        ``all`` numbers (published): a shot counts by its mask's area; or the ``mask``'s own: each shot alike (ours).
    """
    if cells is None:
        return (predicted - target).square().mean()
    squares = (cells * (predicted - target)).square().mean(dim=(1, 2, 3))
    if over == "mask":
        squares = squares / cells.mean(dim=(1, 2, 3)).clamp(min=1 / cells[0].numel())
    return squares.mean()


def predict(
    base: Base, pixels: torch.Tensor, context: torch.Tensor, generators: list[torch.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the denoiser tells of pictures at random timesteps, and what it should: both B x C x h x w float32."""
    with torch.no_grad():
        latents = base.encode(pixels, generators)
    noise = gaussian(latents.shape[1:], generators, base.device)
    count = int(base.scheduler.config.num_train_timesteps)
    t = torch.cat([torch.randint(count, (1,), generator=g) for g in generators]).to(base.device)
    noisy = base.scheduler.add_noise(latents, noise, t)
    told = base.unet(noisy.to(base.unet.dtype), t, encoder_hidden_states=context.to(base.unet.dtype)).sample.float()
    return told, base.target(latents, noise, t)


class AnomalyStage:
    """L = E ||m (eps - eps_theta(z_t, t, [e_a, e_s]))||^2: appearance tokens e_a of each type, e_s from the mask."""

    name = "anomaly"

    def __init__(
        self,
        base: Base,
        data: TrainingSet,
        pictures: Pictures,
        tokens: Vectors,
        encoder: SpatialEncoder,
        rates: Mapping[str, float],
        cells: str,
        over: str,
        preview: Preview,
    ) -> None:
        self.base, self.data, self.pictures, self.preview = base, data, pictures, preview
        self.cells, self.over = cells, over
        self.tokens, self.encoder, self.rates = tokens, encoder, rates
        self.modules: Mapping[str, nn.Module] = {"tokens": tokens, "encoder": encoder}
        if any(parameter.requires_grad for parameter in base.unet.parameters()):
            self.modules = {**self.modules, "unet": base.unet}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam: AdamW without decay. Tokens, encoder and adapters have a rate each."""
        return [
            {
                "params": [parameter for parameter in module.parameters() if parameter.requires_grad],
                "lr": self.rates[name],
                "weight_decay": 0.0,
            }
            for name, module in self.modules.items()
        ]

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        """The masked loss of a batch."""
        base, batch = self.base, self.pictures.make(self.data.shots, step, micro)
        masks = batch.masks.to(base.device)
        places = self.encoder(masks)
        vectors = [
            torch.cat([self.tokens.of(defect), place]) for defect, place in zip(batch.defects, places, strict=True)
        ]
        context, _ = embed(base, [template(batch.rng) for _ in vectors], vectors)
        told, wanted = predict(base, batch.pixels, context, batch.generators)
        return {"masked": masked_loss(told, wanted, to_cells(masks, told.shape[-1], self.cells), self.over)}


class MaskStage:
    """L = E ||eps - eps_theta(z_t, t, e_m)||^2 on masks as pictures: textual inversion (Gal et al., 2022).

    The published code runs it once a type. Here the types take turns in one run, a type a step; since a step without a
    type leaves its vectors and their optimiser state alone, it comes to the same.
    """

    name = "masks"

    def __init__(
        self,
        base: Base,
        data: TrainingSet,
        pictures: Pictures,
        tokens: Vectors,
        options: AnomalyDiffusionOptions,
        preview: Preview,
    ) -> None:
        self.base, self.pictures, self.tokens, self.options = base, pictures, tokens, options
        self.preview = preview
        self.shots = [[shot for shot in data.shots if shot.defect == defect] for defect in data.defects]
        self.modules: Mapping[str, nn.Module] = {"mask_tokens": tokens}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW."""
        return [
            {
                "params": list(self.tokens.parameters()),
                "lr": self.options.lr,
                "weight_decay": self.options.mask_weight_decay,
            }
        ]

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        """The plain loss of masks of one type."""
        base = self.base
        batch = self.pictures.make(self.shots[step % len(self.shots)], step, micro)
        pixels = (2 * batch.masks - 1)[:, None].expand(-1, 3, -1, -1)
        vectors = [self.tokens.of(defect) for defect in batch.defects]
        context, _ = embed(base, [template(batch.rng) for _ in vectors], vectors)
        told, wanted = predict(base, pixels, context, batch.generators)
        return {"masks": masked_loss(told, wanted, None)}
