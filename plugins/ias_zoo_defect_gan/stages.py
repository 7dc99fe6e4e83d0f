"""Training: micro-batches of normals and shots, the two translation chains, and what each network minimises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.shots import Triple, augmented
from ias_zoo_defect_gan import losses
from ias_zoo_defect_gan.networks import Layer, noise_shapes

if TYPE_CHECKING:
    from ias_zoo.training.shots import TrainingSet
    from ias_zoo_defect_gan.networks import Architecture
    from ias_zoo_defect_gan.options import DefectGANOptions

Score = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """B normals and B shots, unpaired.

    Attributes
    ----------
    normals, defects:
        B x 3 x S x S in [-1, 1].
    labels:
        B x categories, of the shots.
    masks:
        B x 1 x S x S in [0, 1], of the shots.
    spatial:
        Whether the defect is asked for inside the masks alone, instead of everywhere.
    generators:
        One a place in the batch, for noise and mixing.
    """

    normals: torch.Tensor
    defects: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor
    spatial: bool
    generators: Sequence[torch.Generator]

    def noise(self) -> list[torch.Tensor]:
        """Fresh planes of noise for one translation."""
        return draw_noise(self.generators, self.normals.shape[2], self.normals.shape[3], self.normals.device)

    def mix(self) -> torch.Tensor:
        """B x 1 x 1 x 1 uniform numbers."""
        drawn = [torch.rand(1, 1, 1, generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(self.normals.device)


def draw_noise(
    generators: Sequence[torch.Generator], height: int, width: int, device: torch.device | str = "cpu"
) -> list[torch.Tensor]:
    """Planes of standard normal noise for pictures of a size; a picture's depend on its generator alone."""
    planes = [[torch.randn(shape, generator=generator) for shape in noise_shapes(height, width)]
              for generator in generators]  # fmt: skip
    return [torch.stack(same).to(device) for same in zip(*planes, strict=True)]


class Batches:
    """Micro-batch ``(step, micro)`` of a run; shots come without repeats where there are enough."""

    def __init__(
        self, data: TrainingSet, options: DefectGANOptions, architecture: Architecture, crop: int | None, seed: int,
        device: torch.device, *, masks: bool,
    ) -> None:  # fmt: skip
        self.data, self.options, self.architecture, self.crop = data, options, architecture, crop
        self.seed, self.device, self.masks = seed, device, masks

    def make(self, step: int, micro: int) -> Batch:
        """Draw a micro-batch."""
        seed = seed_for(self.seed, step, micro)
        rng = np.random.default_rng(seed)
        shots, size = self.data.shots, self.options.batch
        chosen = [int(i) for i in rng.choice(len(shots), size=size, replace=len(shots) < size)]
        triples = [self._triple(index, rng) for index in chosen]
        categories = [self.architecture.categories.index(shots[index].defect) for index in chosen]
        return Batch(
            normals=self._stacked([triple.normal for triple in triples]),
            defects=self._stacked([triple.image for triple in triples]),
            labels=torch.stack([self.architecture.label(category) for category in categories]).to(self.device),
            masks=self._stacked([triple.mask[None] for triple in triples]),
            spatial=self.masks and bool(rng.random() < self.options.spatial),
            generators=[torch.Generator().manual_seed(seed_for(seed, place)) for place in range(size)],
        )

    def _triple(self, index: int, rng: np.random.Generator) -> Triple:
        normal = self.data.normals.read(int(rng.integers(len(self.data.normals)))).image
        turn = self.options.turn
        triple = augmented(self.data.shots[index], normal, self.architecture.size, self.crop, rng, turn=turn)
        if turn or rng.random() < 0.5:
            return triple
        mirrored = (np.ascontiguousarray(part[..., ::-1]) for part in (triple.image, triple.mask, triple.normal))
        return Triple(*mirrored)

    def _stacked(self, arrays: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(self.device)


@dataclass(frozen=True)
class Chains:
    """The four translations of a batch, each a layer and the picture it makes."""

    defaced: torch.Tensor  # d^ = G(n, A+)
    cleaned: torch.Tensor  # n^ = G(d^, A-)
    restored: torch.Tensor  # n~ = G(d, A-)
    repainted: torch.Tensor  # d~ = G(n~, A+)
    maps: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]  # m_d, m_n, m'_n, m'_d


class Objective:
    """What the two networks minimise; equations and weights as in the paper, and the masks' term (ours)."""

    def __init__(
        self, architecture: Architecture, generator: nn.Module, discriminator: nn.Module, options: DefectGANOptions,
        *, masks: bool, seen: Score | None = None,
    ) -> None:  # fmt: skip
        self.architecture, self.generator, self.discriminator = architecture, generator, discriminator
        self.options, self.masks = options, masks
        self.seen = seen or (lambda pictures: pictures)
        """What the discriminator sees of a picture: all of it, or an augmented copy."""

    def controls(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """A+ and A-. The restoration is asked for everywhere: it has to find the defect."""
        where = batch.masks if batch.spatial else None
        return self.architecture.deface(batch.labels, where), self.architecture.restore(batch.labels)

    def fakes(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The first translation of each chain: d^ and n~."""
        paint, erase = self.controls(batch)
        defaced = self._translate(batch, batch.normals, paint)
        restored = self._translate(batch, batch.defects, erase)
        return defaced.over(batch.normals), restored.over(batch.defects)

    def chains(self, batch: Batch) -> Chains:
        """Both chains."""
        paint, erase = self.controls(batch)
        first = self._translate(batch, batch.normals, paint)
        defaced = first.over(batch.normals)
        second = self._translate(batch, defaced, erase)
        third = self._translate(batch, batch.defects, erase)
        restored = third.over(batch.defects)
        fourth = self._translate(batch, restored, paint)
        maps = (first.where, second.where, third.where, fourth.where)
        return Chains(defaced, second.over(defaced), restored, fourth.over(restored), maps)

    def discriminator_terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """L_D = L_adv + 10 GP + 2 L_cls(real); the fakes carry no gradient."""
        options = self.options
        with torch.no_grad():
            defaced, restored = self.fakes(batch)
        nothing = torch.zeros_like(batch.labels)
        adversarial, penalty, real = [], [], []
        for genuine, made, labels in ((batch.defects, defaced, batch.labels), (batch.normals, restored, nothing)):
            shown, shown_made = self.seen(genuine), self.seen(made)
            judged = self.discriminator(shown)
            adversarial.append(losses.critic(judged.scores, self.discriminator(shown_made).scores))
            real.append(losses.classification(self.architecture, judged.logits, labels))
            if options.penalty:
                penalty.append(
                    losses.gradient_penalty(
                        lambda picture: self.discriminator(picture).scores, shown, shown_made, batch.mix()
                    )
                )
        terms = {"critic": sum(adversarial), "class_real": sum(real)}
        if penalty:
            terms["penalty"] = sum(penalty)
        weights = {"critic": 1.0, "class_real": options.class_real, "penalty": options.penalty}
        return losses.weighted(terms, weights)

    def generator_terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        """L_G = L_adv + 5 L_cls(fake) + 5 L_rec + 5 L_sd-cyc + 1 L_sd-con, and 5 times the masks' term where wanted."""
        options, made = self.options, self.chains(batch)
        defaced = self.discriminator(self.seen(made.defaced))
        restored = self.discriminator(self.seen(made.restored))
        nothing = torch.zeros_like(batch.labels)
        painted, erased, erased_first, painted_again = made.maps
        terms = {
            "adversarial": -defaced.scores.mean() - restored.scores.mean(),
            "class_fake": losses.classification(self.architecture, defaced.logits, batch.labels)
            + losses.classification(self.architecture, restored.logits, nothing),
            "reconstruction": losses.reconstruction(batch.normals, made.cleaned)
            + losses.reconstruction(batch.defects, made.repainted),
            "map_cycle": losses.map_cycle(painted, erased) + losses.map_cycle(erased_first, painted_again),
            "map_size": losses.map_size(made.maps),
        }
        if self.masks:
            aimed = [erased_first, painted_again] + ([painted] if batch.spatial else [])
            terms["map_target"] = torch.stack([losses.map_target(where, batch.masks) for where in aimed]).sum()
        weights = {
            "adversarial": 1.0,
            "class_fake": options.class_fake,
            "reconstruction": options.reconstruction,
            "map_cycle": options.map_cycle,
            "map_size": options.map_size,
            "map_target": options.map_target,
        }
        return losses.weighted(terms, weights)

    def _translate(self, batch: Batch, pictures: torch.Tensor, control: torch.Tensor) -> Layer:
        layer: Layer = self.generator(pictures, control, batch.noise())
        return layer
