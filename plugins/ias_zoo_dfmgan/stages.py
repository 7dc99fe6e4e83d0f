"""The two trainings: StyleGAN2-ADA on normals, then a branch on the shots of one defect type."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.data.images import encode_png, write_whole
from ias_zoo.gan.augment import Augment
from ias_zoo.gan.averages import HalfLife, frozen_copy, lazy_adam
from ias_zoo.gan.losses import PathLength, logistic_generator, mode_seeking, r1
from ias_zoo.gan.stylegan2 import Discriminator, Generator, draw_noise, mixed_styles
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.devices import generator, undisturbed
from ias_zoo.training.shots import TrainingSet, augmented, centre_square
from ias_zoo.training.trainer import PREVIEW, Phase
from ias_zoo_dfmgan.networks import Branch, DefectGenerator, branch_noise

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB
    from ias_zoo_dfmgan.options import DFMGANOptions

ADA_EVERY = 4  # steps between adjustments of the augmentation
SHORT, SHORT_STRENGTH = 10.0, 0.6  # runs under so many thousand images; their augmentation stops there, before it leaks
BETAS = (0.0, 0.99)
SHOWN = 8
Terms = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """What follows from a stage's length and batch: weights and spans in thousands of images."""

    batch: int
    kimg: float
    gamma: float
    ada_kimg: float
    ema_kimg: float
    ema_ramp: float | None

    @property
    def steps(self) -> int:
        """Steps of a batch that make the length."""
        return max(1, round(self.kimg * 1000 / self.batch))


class Adversary(nn.Module):
    """A discriminator with its turns: the main loss, and R1 every so many steps."""

    def __init__(self, network: Discriminator, name: str, plan: Plan, every: int) -> None:
        super().__init__()
        self.network, self.label, self.plan, self.every = network, name, plan, every

    def main(self, fake: torch.Tensor, real: torch.Tensor, observe: Callable[[torch.Tensor], None] | None) -> Terms:
        """softplus(D(fake)) + softplus(-D(real)); ``observe`` is told the real logits."""
        of_real = self.network(real)
        if observe is not None:
            observe(of_real)
        return {
            f"{self.label} fake": F.softplus(self.network(fake)).mean(),
            f"{self.label} real": F.softplus(-of_real).mean(),
        }

    def penalty(self, real: torch.Tensor, augment: Callable[[torch.Tensor], torch.Tensor]) -> Terms:
        """R1, times its interval."""
        leaf = real.detach().requires_grad_(True)
        squared = r1(self.network(augment(leaf)), leaf)
        return {f"{self.label} R1": squared * (self.plan.gamma / 2 * self.every)}


class _Stage:
    """What both stages share: seeds, latents, augmentation, the moving average, previews."""

    name: str
    modules: Mapping[str, nn.Module]

    def __init__(
        self, name: str, data: TrainingSet, options: DFMGANOptions, plan: Plan, crop: int | None, seed: int,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.name, self.data, self.options, self.plan, self.crop = name, data, options, plan, crop
        self.seed, self.device = seed_for(seed, name), device
        self.half_life = HalfLife(plan.ema_kimg * 1000, plan.ema_ramp)
        short = plan.kimg < SHORT
        asked = options.augment or ("bg" if short else "bgc")
        self.most = options.augment_most or (SHORT_STRENGTH if short else math.inf)
        self.augment = Augment("" if asked == "none" else asked, turns=options.augment_turns).to(device)
        self.path = PathLength().to(device)
        self._values: dict[str, float] = {}

    def draws(self, turn: str, step: int, micro: int) -> torch.Generator:
        """The random numbers of one turn's micro-batch."""
        return generator(seed_for(self.seed, turn, step, micro))

    def adjust_augmentation(self, step: int) -> None:
        """ADA's law, every few steps."""
        if (step + 1) % ADA_EVERY == 0 and self.augment.pipe:
            self._values["sign of D on real"] = self.augment.adjust(
                target=self.options.ada_target,
                images=self.plan.batch * ADA_EVERY,
                span=self.plan.ada_kimg * 1000,
                most=self.most,
            )
        self._values["augmentation strength"] = float(self.augment.strength)

    def take_values(self) -> dict[str, float]:
        """What was measured in this step."""
        values, self._values = self._values, {}
        return values

    def normals(self, step: int, micro: int) -> torch.Tensor:
        """A batch of normals, B x 3 x R x R in [-1, 1]."""
        rng = np.random.default_rng(seed_for(self.seed, "normals", step, micro))
        side = self.options.resolution
        pictures = [
            centre_square(self.data.normals.read(int(rng.integers(len(self.data.normals)))).image, side, self.crop, rng)
            for _ in range(self.plan.batch)
        ]
        return _signed(np.stack(pictures)).to(self.device)

    def write_preview(self, step: int, folder: Path, rows: list[torch.Tensor]) -> None:
        """Rows of pictures, each B x 3 x R x R."""
        grid = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
        write_whole(folder / PREVIEW.format(step=step), encode_png(to_pixels(grid)))


class BaseStage(_Stage):
    """StyleGAN2-ADA on normals: G, its path length, D, its R1.

    The same stage, started from a base, goes on with it on another product's normals.
    """

    def __init__(
        self, name: str, data: TrainingSet, options: DFMGANOptions, plan: Plan, crop: int | None, seed: int,
        network: Generator, discriminator: Discriminator, device: torch.device,
    ) -> None:  # fmt: skip
        super().__init__(name, data, options, plan, crop, seed, device)
        self.network, self.sizes = network, network.sizes
        self.adversary = Adversary(discriminator, "D", plan, options.r1_every)
        self.average = frozen_copy(network)
        self.modules = {
            "generator": network,
            "average": self.average,
            "discriminator": discriminator,
            "augment": self.augment,
            "path": self.path,
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam for G and D."""
        options = self.options
        path = options.path_every if options.path_weight else None
        return {
            "generator": lazy_adam(self.network.parameters(), options.lr, BETAS, path),
            "discriminator": lazy_adam(_trained(self.adversary.network, options), options.lr, BETAS, options.r1_every),
        }

    def phases(self, step: int) -> Sequence[Phase]:
        """G, G's path length, D, D's R1."""
        return list(self._phases(step))

    def _phases(self, step: int) -> Iterator[Phase]:
        options = self.options
        yield Phase("generator", self.generator_loss)
        if options.path_weight and step % options.path_every == 0:
            yield Phase("generator", self.path_loss)
        yield Phase("discriminator", self.discriminator_loss)
        if step % options.r1_every == 0:
            yield Phase("discriminator", self.discriminator_penalty)

    def pictures(self, batch: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Generated pictures and their styles."""
        ws = mixed_styles(self.network.mapping, batch, self.sizes.latent, self.options.mixing, draws, self.device)
        return self.network.synthesis(ws, draw_noise(self.sizes, batch, draws, self.device)), ws

    def generator_loss(self, step: int, micro: int) -> Terms:
        """softplus(-D(augmented))."""
        draws = self.draws("G", step, micro)
        images, ws = self.pictures(self.plan.batch, draws)
        self.network.mapping.track(ws[:, 0])
        return {"G": logistic_generator(self.adversary.network(self.augment(images, draws)))}

    def path_loss(self, step: int, micro: int) -> Terms:
        """Path length on half a batch, times its interval."""
        draws = self.draws("path", step, micro)
        images, ws = self.pictures(max(1, self.plan.batch // 2), draws)
        noise = torch.randn(images.shape, generator=draws).to(self.device)
        options = self.options
        return {"G path length": self.path(images, ws, noise) * (options.path_weight * options.path_every)}

    def discriminator_loss(self, step: int, micro: int) -> Terms:
        """D's main loss on augmented pictures."""
        draws = self.draws("D", step, micro)
        with torch.no_grad():
            fake, _ = self.pictures(self.plan.batch, draws)
        real = self.normals(step, micro)
        return self.adversary.main(self.augment(fake, draws), self.augment(real, draws), self.augment.observe)

    def discriminator_penalty(self, step: int, micro: int) -> Terms:
        """R1 through the augmentation."""
        draws = self.draws("R1", step, micro)
        return self.adversary.penalty(self.normals(step, micro), lambda real: self.augment(real, draws))

    def after_step(self, step: int) -> dict[str, float]:
        """The average and the augmentation."""
        self.half_life.update(self.average, self.network, self.plan.batch, step * self.plan.batch)
        self.adjust_augmentation(step)
        return self.take_values()

    @torch.no_grad()
    def preview(self, step: int, folder: Path) -> None:
        """Pictures of the average, always from the same latents."""
        draws = self.draws("preview", 0, 0)
        z = torch.randn(2 * SHOWN, self.sizes.latent, generator=draws).to(self.device)
        with undisturbed(self.device):
            images = self.average(z)
        self.write_preview(step, folder, [images[:SHOWN], images[SHOWN:]])


class FewShotStage(_Stage):
    """A branch on one defect type's shots: G, its path length, D, its R1, D_match, its R1."""

    def __init__(
        self, name: str, data: TrainingSet, options: DFMGANOptions, plan: Plan, crop: int | None, seed: int,
        backbone: Generator, branch: Branch, discriminator: Discriminator, matching: Discriminator,
        device: torch.device,
    ) -> None:  # fmt: skip
        super().__init__(name, data, options, plan, crop, seed, device)
        self.branch, self.sizes = branch, backbone.sizes
        self.network = DefectGenerator(backbone, branch, options.mask_threshold)
        self.adversary = Adversary(discriminator, "D", plan, options.r1_every)
        self.matching = Adversary(matching, "match", plan, options.r1_every)
        self.average = frozen_copy(branch)
        self.modules = {
            "branch": branch,
            "average": self.average,
            "discriminator": discriminator,
            "matching": matching,
            "augment": self.augment,
            "path": self.path,
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam for the branch, D and D_match; the backbone is in none."""
        options = self.options
        branch = [parameter for parameter in self.branch.parameters() if parameter.requires_grad]
        path = options.path_every if options.path_weight else None
        return {
            "branch": lazy_adam(branch, options.lr, BETAS, path),
            "discriminator": lazy_adam(_trained(self.adversary.network, options), options.lr, BETAS, options.r1_every),
            "matching": lazy_adam(self.matching.network.parameters(), options.lr, BETAS, options.r1_every),
        }

    def phases(self, step: int) -> Sequence[Phase]:
        """G, G's path length, D, D's R1, D_match, D_match's R1."""
        return list(self._phases(step))

    def _phases(self, step: int) -> Iterator[Phase]:
        options = self.options
        penalise = step % options.r1_every == 0
        yield Phase("branch", self.generator_loss)
        if options.path_weight and step % options.path_every == 0:
            yield Phase("branch", self.path_loss)
        yield Phase("discriminator", self.discriminator_loss)
        if penalise:
            yield Phase("discriminator", self.discriminator_penalty)
        yield Phase("matching", self.matching_loss)
        if penalise:
            yield Phase("matching", self.matching_penalty)

    # Batches

    def shots(self, turn: str, step: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of shots, B x 3 x R x R in [-1, 1], and their masks, B x 1 x R x R in {-1, 1}."""
        rng = np.random.default_rng(seed_for(self.seed, turn, "shots", step, micro))
        batch, known = self.plan.batch, self.data.shots
        triples = []
        for index in rng.choice(len(known), size=batch, replace=len(known) < batch):
            shot = known[int(index)]
            side, turned = self.options.resolution, self.options.turn
            triples.append(augmented(shot, shot.image, side, self.crop, rng, turn=turned))
        images = torch.from_numpy(np.stack([triple.image for triple in triples]))
        masks = torch.from_numpy(np.stack([triple.mask for triple in triples]))[:, None]
        return images.to(self.device), signed_mask(masks).to(self.device)

    def styles(self, batch: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Styles of the product, without a gradient, and of the defect, mixed each by itself."""
        latent, mixing = self.sizes.latent, self.options.mixing
        with torch.no_grad():
            ws = mixed_styles(self.network.backbone.mapping, batch, latent, mixing, draws, self.device)
        return ws, mixed_styles(self.branch.mapping, batch, latent, mixing, draws, self.device)

    def noises(self, batch: int, draws: torch.Generator) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Noise for the base and the branch."""
        own = draw_noise(self.sizes, batch, draws, self.device)
        return own, branch_noise(self.branch, batch, draws, self.device)

    def pictures(self, turn: str, step: int, micro: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
        """Generated pictures and mask logits, nothing of which has a gradient; and the turn's random numbers."""
        draws = self.draws(turn, step, micro)
        with torch.no_grad():
            ws, defect = self.styles(self.plan.batch, draws)
            images, logits = self.network(ws, defect, *self.noises(self.plan.batch, draws))
        return images, logits, draws

    # Turns

    def generator_loss(self, step: int, micro: int) -> Terms:
        """Adversarial, matching and mode-seeking loss."""
        options, batch = self.options, self.plan.batch
        draws = self.draws("G", step, micro)
        ws, defect = self.styles(batch, draws)
        noise, extra = self.noises(batch, draws)
        images, logits = self.network(ws, defect, noise, extra)
        self._values["mask area"] = float((logits.detach() >= options.mask_threshold).float().mean())
        mask = soft_mask(logits, options.mask_sharpness)
        terms = {"G": logistic_generator(self.adversary.network(self.augment(images, draws)))}
        if options.lambda_match:
            pair = torch.cat([images, mask], dim=1)
            terms["G match"] = options.lambda_match * logistic_generator(self.matching.network(pair))
        if options.lambda_ms and options.mode_seeking != "none":
            seeking = self.seeking(ws, defect, noise, extra, images, mask, draws)
            terms["G mode seeking"] = options.lambda_ms * seeking
        return terms

    def seeking(
        self, ws: torch.Tensor, defect: torch.Tensor, noise: list[torch.Tensor], extra: list[torch.Tensor],
        images: torch.Tensor, mask: torch.Tensor, draws: torch.Generator,
    ) -> torch.Tensor:  # fmt: skip
        """L_ms: the first half's product styles once more, with the second half's defect styles.

        Noise stays the first half's, so that the styles alone make the difference.
        """
        options, half = self.options, self.plan.batch // 2
        same = [part[:half] for part in noise], [part[:half] for part in extra]
        first, second = defect[:half], defect[half : 2 * half]
        if options.mode_seeking == "z/mask":  # unmixed styles of latents that are compared themselves
            z = torch.randn(2, half, self.sizes.latent, generator=draws).to(self.device)
            first, second = (self.branch.mapping(part) for part in z)
            masks = [
                soft_mask(self.network.masks(ws[:half], d, *same), options.mask_sharpness) for d in (first, second)
            ]
            return mode_seeking((z[0], z[1]), (masks[0], masks[1]), options.ms_epsilon)
        if options.mode_seeking == "w/image":
            other, _ = self.network(ws[:half], second, *same)
            return mode_seeking((first, second), (images[:half], other), options.ms_epsilon)
        other = soft_mask(self.network.masks(ws[:half], second, *same), options.mask_sharpness)
        return mode_seeking((first, second), (mask[:half], other), options.ms_epsilon)

    def path_loss(self, step: int, micro: int) -> Terms:
        """Path length of half a batch by the product's styles alone, times its interval."""
        options, batch = self.options, max(1, self.plan.batch // 2)
        draws = self.draws("path", step, micro)
        ws, defect = self.styles(batch, draws)
        ws = ws.detach().requires_grad_(True)
        images, _ = self.network(ws, defect, *self.noises(batch, draws))
        noise = torch.randn(images.shape, generator=draws).to(self.device)
        return {"G path length": self.path(images, ws, noise) * (options.path_weight * options.path_every)}

    def discriminator_loss(self, step: int, micro: int) -> Terms:
        """D's main loss, on augmented pictures."""
        fake, _, draws = self.pictures("D", step, micro)
        real, _ = self.shots("D", step, micro)
        return self.adversary.main(self.augment(fake, draws), self.augment(real, draws), self.augment.observe)

    def discriminator_penalty(self, step: int, micro: int) -> Terms:
        """R1 through the augmentation."""
        draws = self.draws("R1", step, micro)
        return self.adversary.penalty(self.shots("R1", step, micro)[0], lambda real: self.augment(real, draws))

    def matching_loss(self, step: int, micro: int) -> Terms:
        """D_match's main loss on pictures with masks, never augmented."""
        images, logits, _ = self.pictures("match", step, micro)
        fake = torch.cat([images, soft_mask(logits, self.options.mask_sharpness)], dim=1)
        return self.matching.main(fake, torch.cat(self.shots("match", step, micro), dim=1), None)

    def matching_penalty(self, step: int, micro: int) -> Terms:
        """R1 on pictures with masks."""
        return self.matching.penalty(torch.cat(self.shots("match R1", step, micro), dim=1), lambda real: real)

    def after_step(self, step: int) -> dict[str, float]:
        """The average and the augmentation."""
        self.half_life.update(self.average, self.branch, self.plan.batch, step * self.plan.batch)
        self.adjust_augmentation(step)
        return self.take_values()

    @torch.no_grad()
    def preview(self, step: int, folder: Path) -> None:
        """Pictures of the average, their masks, and the same without the branch, always from the same latents."""
        draws = self.draws("preview", 0, 0)
        z = torch.randn(2, SHOWN, self.sizes.latent, generator=draws).to(self.device)
        shown = DefectGenerator(self.network.backbone, self.average, self.options.mask_threshold)
        with undisturbed(self.device):
            ws = shown.backbone.mapping(z[0])
            images, logits = shown(ws, self.average.mapping(z[1]))
            normals = shown.normals(ws)
        masks = (logits >= self.options.mask_threshold).float().expand(-1, 3, -1, -1) * 2 - 1
        self.write_preview(step, folder, [normals, images, masks])


def soft_mask(logits: torch.Tensor, sharpness: float) -> torch.Tensor:
    """M' = tanh(sharpness M), what the losses see of a mask; in (-1, 1)."""
    return torch.tanh(logits * sharpness)


def signed_mask(masks: torch.Tensor) -> torch.Tensor:
    """Masks in [0, 1], resized already, to {-1, 1}: 1 from one half on."""
    return torch.where(masks >= 0.5, 1.0, -1.0)


def to_pixels(image: torch.Tensor) -> RGB:
    """3 x H x W in [-1, 1] to H x W x 3 uint8: (x + 1) 127.5, clamped."""
    scaled = ((image + 1) * 127.5).clamp(0, 255)
    return np.ascontiguousarray(scaled.to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def _signed(pictures: RGB) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def _trained(network: Discriminator, options: DFMGANOptions) -> list[nn.Parameter]:
    """D's parameters but those of its first ``freeze_d`` blocks (with any, also of what reads the pixels)."""
    frozen = list(network.blocks.values())[: options.freeze_d]
    for module in [network.from_pixels, *frozen] if frozen else []:
        module.requires_grad_(False)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
