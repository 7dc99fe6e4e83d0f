"""The two trainings of SeaS: the generator with its tokens, then the mask head on the frozen generator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.diffusion.base import Base, gaussian, generator
from ias_zoo.diffusion.taps import AttentionTap, FeatureTap
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.shots import TrainingSet, Triple, augmented
from ias_zoo_seas.losses import alignment, focal, mask_pyramid

if TYPE_CHECKING:
    from ias_zoo_seas.mask_head import MaskHead
    from ias_zoo_seas.options import SeaSOptions

UNET_FEATURES = ("up_blocks.1", "up_blocks.2")
Preview = Callable[[int, Path], None]
"""Writes a picture of what the model makes after so many steps into a folder."""


def no_preview(step: int, folder: Path) -> None:
    """Write nothing."""


VAE_FEATURES = ("decoder.up_blocks.0", "decoder.up_blocks.1", "decoder.up_blocks.2")


@dataclass(frozen=True, eq=False)
class Batch:
    """A micro-batch: B shots first, then their B partner normals.

    ``pixels`` 2B x 3 x S x S in [-1, 1]; ``masks`` B x S x S in [0, 1]; ``prompts`` 2B; ``generators`` one an image.
    """

    pixels: torch.Tensor
    masks: torch.Tensor
    prompts: list[str]
    generators: list[torch.Generator]


class Batches:
    """Micro-batch ``(step, micro)`` of a run: shots, without repeats where there are enough, and their partners."""

    def __init__(
        self, data: TrainingSet, options: SeaSOptions, resolution: int, crop: int | None, prompts: Mapping[str, str],
        normal_prompt: str, seed: int,
    ) -> None:  # fmt: skip
        self.data, self.options, self.resolution, self.crop = data, options, resolution, crop
        self.prompts, self.normal_prompt, self.seed = prompts, normal_prompt, seed
        self.count = min(options.normals, len(data.normals))

    def make(self, step: int, micro: int) -> Batch:
        """Draw a micro-batch."""
        seed = seed_for(self.seed, step, micro)
        rng = np.random.default_rng(seed)
        shots = self.data.shots
        size = self.options.batch
        chosen = [int(i) for i in rng.choice(len(shots), size=size, replace=len(shots) < size)]
        triples: list[Triple] = []
        for index in chosen:
            partner = index % self.count if self.options.partner == "fixed" else int(rng.integers(self.count))
            normal = self.data.normals.read(partner).image
            triples.append(augmented(shots[index], normal, self.resolution, self.crop, rng, turn=self.options.turn))
        pixels = [triple.image for triple in triples] + [triple.normal for triple in triples]
        return Batch(
            pixels=torch.from_numpy(np.stack(pixels)),
            masks=torch.from_numpy(np.stack([triple.mask for triple in triples])),
            prompts=[self.prompts[shots[index].defect] for index in chosen] + [self.normal_prompt] * size,
            generators=[generator(seed_for(seed, number)) for number in range(2 * size)],
        )


SMALL_NOISE = 200  # sampling reads masks at timesteps 120, 80 and 40; a short training has no time for the others


def timesteps(base: Base, generators: list[torch.Generator], below: int | None = None) -> torch.Tensor:
    """An independent uniform timestep an image."""
    count = below or int(base.scheduler.config.num_train_timesteps)
    return torch.cat([torch.randint(count, (1,), generator=g) for g in generators]).to(base.device)


def attention_layers(which: str) -> list[list[str]]:
    """The cross-attention layers aligned, by resolution: first half the latents' side, then a quarter."""
    half = [f"down_blocks.1.attentions.{n}" for n in range(2)]
    quarter = [f"down_blocks.2.attentions.{n}" for n in range(2)]
    if which == "both":
        half += [f"up_blocks.2.attentions.{n}" for n in range(3)]
        quarter += [f"up_blocks.1.attentions.{n}" for n in range(3)]
    return [[f"{name}.transformer_blocks.0.attn2" for name in names] for names in (half, quarter)]


def existing(network: nn.Module, layers: list[list[str]]) -> list[list[str]]:
    """Those of the layers that the network has: bases with fewer layers a block have fewer."""
    known = {name for name, _ in network.named_modules()}
    return [[name for name in names if name in known] for names in layers]


class GeneratorStage:
    """L = L_A + L_NA + L_DA(h/2) + L_DA(h/4), all weights 1."""

    name = "generator"

    def __init__(
        self, base: Base, batches: Batches, options: SeaSOptions, tokens: nn.Module, rates: tuple[float, float],
        preview: Preview = no_preview,
    ) -> None:  # fmt: skip
        self.base, self.batches, self.options, self.preview = base, batches, options, preview
        self.tokens, self.rates = tokens, rates
        self.modules: Mapping[str, nn.Module] = {"unet": base.unet, "tokens": tokens}
        self._open = contextlib.ExitStack()
        self.layers = existing(base.unet, attention_layers(options.attention_maps))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's defaults (0.9, 0.999, weight decay 0.01), constant rates."""
        unet = [parameter for parameter in self.base.unet.parameters() if parameter.requires_grad]
        tokens = [parameter for parameter in self.tokens.parameters() if parameter.requires_grad]
        return [{"params": unet, "lr": self.rates[0]}, {"params": tokens, "lr": self.rates[1]}]

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        """Equations of section 3 of the paper, in the published code's discretisation."""
        base, batch = self.base, self.batches.make(step, micro)
        with torch.no_grad():
            latents = base.encode(batch.pixels, batch.generators)
        noise = gaussian(latents.shape[1:], batch.generators, base.device)
        t = timesteps(base, batch.generators)
        noisy = base.scheduler.add_noise(latents, noise, t)
        context = base.embed(batch.prompts)
        # The tap stays set until the next call: with gradient checkpointing, backward runs the layers once more.
        self.close()
        tap = self._open.enter_context(AttentionTap(base.unet, [name for names in self.layers for name in names]))
        predicted = base.unet(noisy.to(base.unet.dtype), t, encoder_hidden_states=context).sample.float()
        maps = tap.maps
        shots = len(batch.masks)
        error = (predicted - base.target(latents, noise, t)).square()
        terms = {"shots": error[:shots].mean(), "normals": error[shots:].mean()}
        targets = mask_pyramid(batch.masks.to(base.device), latents.shape[-1])
        first = 0
        for names, target in zip(self.layers, targets, strict=True):
            here = [layer[:shots] for layer in maps[first : first + len(names)]]
            first += len(names)
            terms[f"alignment {target.shape[-1]}"] = alignment(
                here, target, normalise=self.options.normalise, cells=self.options.defect_cells
            )
        return terms

    def close(self) -> None:
        """Give the denoiser its own attention back."""
        self._open.close()


class MaskStage:
    """FL(P_S, [M; 0]) + FL(P_h, [M at h; 0]) on the frozen generator's features."""

    name = "mask"

    def __init__(
        self, base: Base, batches: Batches, options: SeaSOptions, head: MaskHead, preview: Preview = no_preview
    ) -> None:
        self.base, self.batches, self.options, self.head, self.preview = base, batches, options, head, preview
        self.modules: Mapping[str, nn.Module] = {"head": head}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The head alone."""
        return [{"params": list(self.head.parameters()), "lr": self.options.mask_lr}]

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        """One denoiser pass, one DDPM step on the shots' latents, one decoding, the head."""
        base, batch = self.base, self.batches.make(step, micro)
        shots = len(batch.masks)
        with torch.no_grad():
            latents = base.encode(batch.pixels, batch.generators)
            noise = gaussian(latents.shape[1:], batch.generators, base.device)
            below = SMALL_NOISE if base.small else None
            t = timesteps(base, batch.generators, self.options.mask_noise or below)
            noisy = base.scheduler.add_noise(latents, noise, t)
            with FeatureTap(base.unet, UNET_FEATURES) as tap:
                predicted = base.unet(
                    noisy.to(base.dtype), t, encoder_hidden_states=base.embed(batch.prompts)
                ).sample.float()
                unet_features = [feature.float() for feature in tap.features]
            fresh = gaussian(latents.shape[1:], batch.generators[:shots], base.device)
            told = base.noise_of(predicted, noisy, t)
            before = previous_latents(base.scheduler, told[:shots], t[:shots], noisy[:shots], fresh)
            with FeatureTap(base.vae, VAE_FEATURES) as tap:
                base.decode(before)
                vae_features = [feature.float() for feature in tap.features]
        fine, coarse = self.head(unet_features, vae_features)
        masks = batch.masks.to(base.device)
        small = F.interpolate(masks[:, None], size=coarse.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return {
            f"mask {fine.shape[-1]}": focal(fine, self._target(masks)),
            f"mask {coarse.shape[-1]}": focal(coarse, self._target(small)),
        }

    def _target(self, masks: torch.Tensor) -> torch.Tensor:
        """Defect pixels of the shots, and none for the normals behind them."""
        defect = masks > 0.5 if self.options.mask_target == "half" else masks == 1.0
        return torch.cat([defect, torch.zeros_like(defect)])


def previous_latents(
    scheduler: Any, predicted: torch.Tensor, t: torch.Tensor, noisy: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Draw z_(t-1) from the DDPM posterior, each image at its own timestep (Ho et al. 2020, equations 6 and 7).

    Parameters
    ----------
    predicted, noisy, noise:
        B x C x h x w: the predicted noise, z_t, and fresh standard normal noise.
    t:
        B timesteps; at 0 nothing is drawn.
    """
    products = scheduler.alphas_cumprod.to(noisy.device)

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values[:, None, None, None]

    now = spread(products[t])
    before = spread(torch.where(t > 0, products[(t - 1).clamp(min=0)], torch.ones_like(products[t])))
    alpha = now / before
    clean = (noisy - (1 - now).sqrt() * predicted) / now.sqrt()
    mean = before.sqrt() * (1 - alpha) / (1 - now) * clean + alpha.sqrt() * (1 - before) / (1 - now) * noisy
    variance = ((1 - before) / (1 - now) * (1 - alpha)).clamp(min=1e-20)
    return mean + spread((t > 0).to(noisy.dtype)) * variance.sqrt() * noise
