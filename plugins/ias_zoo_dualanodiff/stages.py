"""The training of DualAnoDiff: pairs of a shot and its anomaly on grey, and the noise of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.diffusion.base import Base, gaussian, generator
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.shots import Shot, see, see_mask, shot_window

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB
    from ias_zoo_dualanodiff.model import DualModel

SD_SCALE = 0.18215  # scaling factor of Stable Diffusion 1.x's autoencoder
Preview = Callable[[int, Path], None]


@dataclass(frozen=True, eq=False)
class Batch:
    """B pairs as rows (shot, anomaly, shot, anomaly, ...).

    ``pixels`` 2B x 3 x S x S in [-1, 1], the anomaly 0 (mid-grey) outside the mask; ``masks`` B x S x S bool;
    ``backgrounds`` B x 3 x S x S with the product black, or None; ``defects`` B; ``generators`` one a row.
    """

    pixels: torch.Tensor
    masks: torch.Tensor
    backgrounds: torch.Tensor | None
    defects: list[str]
    generators: list[torch.Generator]


class Batches:
    """Micro-batch ``(step, micro)`` of a training, without repeats where there are shots enough.

    Parameters
    ----------
    backgrounds:
        The shots with their products blackened, in the same order; None without background compensation.
    """

    def __init__(
        self, shots: Sequence[Shot], backgrounds: Sequence[RGB] | None, resolution: int, crop: int | None, size: int,
        seed: int, *, flip: bool,
    ) -> None:  # fmt: skip
        self.shots, self.backgrounds, self.resolution, self.crop = shots, backgrounds, resolution, crop
        self.size, self.seed, self.flip = size, seed, flip

    def make(self, step: int, micro: int) -> Batch:
        """Draw a micro-batch."""
        seed = seed_for(self.seed, step, micro)
        rng = np.random.default_rng(seed)
        count, size = len(self.shots), self.size
        chosen = [int(i) for i in rng.choice(count, size=size, replace=count < size)]
        rows, masks, backgrounds = [], [], []
        for index in chosen:
            shot = self.shots[index]
            window = shot_window(shot, self.crop, rng)
            axes = tuple(axis for axis in (0, 1) if self.flip and rng.random() < 0.5)
            image, mask = see(shot.image, window, self.resolution), see_mask(shot.mask, window, self.resolution)
            pixels, where = signed(np.flip(image, axes)), torch.from_numpy(np.flip(mask, axes).copy())
            rows += [pixels, anomaly_of(pixels, where)]
            masks.append(where)
            if self.backgrounds is not None:
                backgrounds.append(signed(np.flip(see(self.backgrounds[index], window, self.resolution), axes)))
        return Batch(
            pixels=torch.stack(rows),
            masks=torch.stack(masks),
            backgrounds=torch.stack(backgrounds) if backgrounds else None,
            defects=[self.shots[index].defect for index in chosen],
            generators=[generator(seed_for(seed, number)) for number in range(2 * size)],
        )


def signed(image: RGB) -> torch.Tensor:
    """H x W x 3 uint8 to 3 x H x W float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)) / 127.5 - 1.0


def anomaly_of(pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """I_a = M I with I in [-1, 1]: outside the mask exactly 0, which is mid-grey."""
    return torch.where(mask, pixels, torch.zeros_like(pixels))


def without_product(image: RGB, saliency: Any) -> RGB:
    """I_b: a picture with its product black, in proportion to the saliency, H x W of 0 to 255."""
    kept = (255.0 - saliency[:, :, None].astype(np.float32)) / 255.0
    return np.asarray(np.round(image * kept), dtype=np.uint8)


def background_latents(base: Base, pixels: torch.Tensor, generators: list[torch.Generator], *, scaled: bool) -> Any:
    """Latents of the background, B x C x h x w.

    Published: the autoencoder's own, without the scaling factor: 5.49 times the denoiser's. Other bases scale theirs by
    another factor (the embedded one by 1), so the published strength is kept by dividing by Stable Diffusion's.
    """
    latents = base.encode(pixels, generators)
    return latents if scaled else latents / SD_SCALE


class PairStage:
    """L = mean over the rows of both branches of |prediction - noise|^2, one timestep a pair."""

    def __init__(
        self, name: str, model: DualModel, number: int, batches: Batches, prompts: Callable[[str], tuple[str, str]],
        rates: tuple[float, float], preview: Preview,
    ) -> None:  # fmt: skip
        self.name, self.model, self.number, self.batches = name, model, number, batches
        self.prompts, self.rates, self.preview = prompts, rates, preview
        self.trained = model.train_set(number)
        base = model.base
        self.modules: Mapping[str, nn.Module] = {
            "unet": base.unet, "text": base.text_encoder, **self.trained.modules,
        }  # fmt: skip

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's defaults (0.9, 0.999, weight decay 0.01), constant rates."""
        base = self.model.base
        adapters = [
            parameter
            for network in (base.unet, base.text_encoder)
            for parameter in network.parameters()
            if parameter.requires_grad
        ]
        layers = [parameter for module in self.trained.modules.values() for parameter in module.parameters()]
        return [{"params": adapters, "lr": self.rates[0]}, {"params": layers, "lr": self.rates[1]}]

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        """Half of each branch's mean: together the mean over all rows."""
        return pair_loss(self.model, self.number, self.batches.make(step, micro), self.prompts)


def pair_loss(
    model: DualModel, number: int, batch: Batch, prompts: Callable[[str], tuple[str, str]]
) -> dict[str, torch.Tensor]:
    """The loss of one micro-batch, a term a branch.

    Parameters
    ----------
    prompts:
        A defect type's prompts: for the whole picture and for its anomaly.
    """
    base = model.base
    with torch.no_grad():
        latents = base.encode(batch.pixels, batch.generators)
    noise = gaussian(latents.shape[1:], batch.generators, base.device)
    count = int(base.scheduler.config.num_train_timesteps)
    each = [torch.randint(count, (1,), generator=g) for g in batch.generators[0::2]]
    t = torch.cat(each).repeat_interleave(2).to(base.device)
    noisy = base.scheduler.add_noise(latents, noise, t)
    texts = {defect: model.embed(number, list(prompts(defect))) for defect in dict.fromkeys(batch.defects)}
    text = torch.cat([texts[defect] for defect in batch.defects])
    background = None
    if batch.backgrounds is not None:
        scaled = model.options.bcm_latents == "scaled"
        with torch.no_grad():
            clean = background_latents(base, batch.backgrounds, batch.generators[0::2], scaled=scaled)
        fresh = gaussian(clean.shape[1:], batch.generators[0::2], base.device)
        background = base.scheduler.add_noise(clean, fresh, t[0::2])
    predicted = model.predict(number, noisy, t, text, background)
    error = (predicted - base.target(latents, noise, t)).square()
    share = model.defect_share
    if share:
        error = error * weights_of(batch.masks.to(base.device), latents.shape[-1], share)
    return {"picture": 0.5 * error[0::2].mean(), "anomaly": 0.5 * error[1::2].mean()}


def weights_of(masks: torch.Tensor, cells: int, share: float) -> torch.Tensor:
    """How much each latent cell counts, for both rows of each pair: 2B x 1 x h x w, of mean 1 in each row (ours).

    The published loss counts all cells alike, and a defect of one cell in 256 is then learned last. Here the cells that
    a defect touches have at least ``share`` of the weight: a large defect changes nothing. The price is that defects
    become larger and more frequent than those of the shots: a cell's odds of being drawn defective grow as its weight.
    """
    touched = F.adaptive_max_pool2d(masks[:, None].float(), cells)
    part = touched.mean(dim=(1, 2, 3), keepdim=True)
    lifted = part.clamp(min=share)
    weights = torch.where(touched > 0, lifted / part.clamp(min=1e-9), (1.0 - lifted) / (1.0 - part).clamp(min=1e-9))
    return torch.where(part > 0, weights, torch.ones_like(weights)).repeat_interleave(2, dim=0)
