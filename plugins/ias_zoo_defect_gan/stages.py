"""Training: micro-batches of normals and shots, the two translation chains, and what each network minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import nn

from ias_zoo.data.images import encode_png, write_whole
from ias_zoo.gan.augment import Augment
from ias_zoo.gan.losses import unit_gradient, wasserstein_discriminator, wasserstein_generator
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.devices import gaussian, generator, undisturbed
from ias_zoo.training.shots import Triple, augmented
from ias_zoo.training.trainer import PREVIEW, Phase
from ias_zoo_defect_gan import losses
from ias_zoo_defect_gan.light import NormalLights, exposed, light_of
from ias_zoo_defect_gan.networks import noise_shapes

if TYPE_CHECKING:
    from ias_zoo.training.shots import TrainingSet
    from ias_zoo_defect_gan.networks import Architecture, Judged, Layer
    from ias_zoo_defect_gan.options import DefectGANOptions

BETAS = (0.5, 0.999)  # of Adam, as published
SHOWN = 4  # pictures of a preview
Seen = Callable[[torch.Tensor], torch.Tensor]
Terms = dict[str, torch.Tensor]


class Source(Protocol):
    """Where batches come from."""

    def make(self, turn: str, step: int, micro: int) -> Batch:
        """The micro-batch of one network's turn."""
        ...


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
    generators: list[torch.Generator]

    def noise(self) -> list[torch.Tensor]:
        """Fresh planes of noise for one translation."""
        return draw_noise(self.generators, self.normals.shape[2], self.normals.shape[3], self.normals.device)

    def shares(self) -> torch.Tensor:
        """B uniform numbers."""
        drawn = [torch.rand((), generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(self.normals.device)


def draw_noise(
    generators: list[torch.Generator], height: int, width: int, device: torch.device | str = "cpu"
) -> list[torch.Tensor]:
    """Planes of standard normal noise for pictures of a size; a picture's depend on its generator alone."""
    return [gaussian(shape, generators, torch.device(device)) for shape in noise_shapes(height, width)]


class Batches:
    """Normals and shots of a product; shots come without repeats where there are enough.

    With ``options.light`` each picture is given the light of a normal, drawn for it alone and apart from all other
    draws: everything else of a batch is as without.
    """

    def __init__(
        self, data: TrainingSet, options: DefectGANOptions, architecture: Architecture, crop: int | None, seed: int,
        device: torch.device, *, masks: bool,
    ) -> None:  # fmt: skip
        self.data, self.options, self.architecture, self.crop = data, options, architecture, crop
        self.seed, self.device, self.masks = seed, device, masks
        self.lights = NormalLights(data.normals)
        self.shot_lights = [light_of(shot.image, shot.mask if masks else None) for shot in data.shots]

    def make(self, turn: str, step: int, micro: int) -> Batch:
        """Draw a micro-batch."""
        seed = seed_for(self.seed, turn, step, micro)
        rng = np.random.default_rng(seed)
        shots, size = self.data.shots, self.options.batch
        chosen = [int(i) for i in rng.choice(len(shots), size=size, replace=len(shots) < size)]
        lights = np.random.default_rng(seed_for(seed, "light"))
        triples = [self._triple(index, rng, lights) for index in chosen]
        categories = [self.architecture.categories.index(shots[index].defect) for index in chosen]
        return Batch(
            normals=self._stacked([triple.normal for triple in triples]),
            defects=self._stacked([triple.image for triple in triples]),
            labels=torch.stack([self.architecture.label(category) for category in categories]).to(self.device),
            masks=self._stacked([triple.mask[None] for triple in triples]),
            spatial=self.masks and bool(rng.random() < self.options.spatial),
            generators=[generator(seed_for(seed, place)) for place in range(size)],
        )

    def _triple(self, index: int, rng: np.random.Generator, lights: np.random.Generator) -> Triple:
        number = int(rng.integers(len(self.data.normals)))
        normal, turn = self.data.normals.read(number).image, self.options.turn
        triple = augmented(self.data.shots[index], normal, self.architecture.size, self.crop, rng, turn=turn)
        if not turn and rng.random() < 0.5:
            mirrored = (np.ascontiguousarray(part[..., ::-1]) for part in (triple.image, triple.mask, triple.normal))
            triple = Triple(*mirrored)
        if not self.options.light:
            return triple
        image = exposed(triple.image, self.shot_lights[index], self.lights.draw(lights))
        return Triple(image, triple.mask, exposed(triple.normal, self.lights.of(number), self.lights.draw(lights)))

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
        *, masks: bool,
    ) -> None:  # fmt: skip
        self.architecture, self.generator, self.discriminator = architecture, generator, discriminator
        self.options, self.masks = options, masks
        self.augment = Augment(turns=options.turn)
        self.augment.strength.fill_(options.augment)
        self.painted: torch.Tensor | None = None
        """The maps of the last defacement, B x 1 x S x S."""

    def seen(self, batch: Batch) -> Seen:
        """What the discriminator sees of pictures: they themselves, or augmented."""
        return lambda pictures: self.augment(pictures, batch.generators[0])

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

    def discriminator_terms(self, batch: Batch) -> Terms:
        """L_D = L_adv + 10 GP + 2 L_cls(real); the fakes carry no gradient."""
        options, seen = self.options, self.seen(batch)
        with torch.no_grad():
            defaced, restored = self.fakes(batch)
        nothing = torch.zeros_like(batch.labels)
        adversarial, penalty, real = [], [], []
        for genuine, made, labels in ((batch.defects, defaced, batch.labels), (batch.normals, restored, nothing)):
            shown, shown_made = seen(genuine), seen(made)
            judged = self.discriminator(shown)
            adversarial.append(wasserstein_discriminator(self.discriminator(shown_made).scores, judged.scores))
            real.append(losses.classification(self.architecture, judged.logits, labels))
            if options.penalty:
                penalty.append(unit_gradient(self._scores, shown, shown_made, batch.shares()))
        terms = {"critic": torch.stack(adversarial).sum(), "class_real": torch.stack(real).sum()}
        if penalty:
            terms["penalty"] = torch.stack(penalty).sum()
        weights = {"critic": 1.0, "class_real": options.class_real, "penalty": options.penalty}
        return losses.weighted(terms, weights)

    def generator_terms(self, batch: Batch) -> Terms:
        """L_G = L_adv + 5 L_cls(fake) + 5 L_rec + 5 L_sd-cyc + 1 L_sd-con, and 5 times the masks' term where wanted."""
        options, made, seen = self.options, self.chains(batch), self.seen(batch)
        defaced, restored = (self.discriminator(seen(picture)) for picture in (made.defaced, made.restored))
        nothing = torch.zeros_like(batch.labels)
        painted, erased, erased_first, painted_again = made.maps
        self.painted = painted.detach()
        terms = {
            "adversarial": wasserstein_generator(defaced.scores) + wasserstein_generator(restored.scores),
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

    def _scores(self, pictures: torch.Tensor) -> torch.Tensor:
        judged: Judged = self.discriminator(pictures)
        return judged.scores

    def _translate(self, batch: Batch, pictures: torch.Tensor, control: torch.Tensor) -> Layer:
        layer: Layer = self.generator(pictures, control, batch.noise())
        return layer


class Stage:
    """One training of both networks: a step is one of the discriminator, every so many one of the generator too."""

    def __init__(
        self, name: str, objective: Objective, batches: Source, steps: int, rates: tuple[float, float], every: int,
    ) -> None:  # fmt: skip
        self.name, self.objective, self.batches = name, objective, batches
        self.steps, self.rates, self.every = steps, rates, every
        self.modules: Mapping[str, nn.Module] = {
            "generator": objective.generator,
            "discriminator": objective.discriminator,
        }
        self._optimizers = {
            which: torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=rates[0], betas=BETAS)
            for which, network in self.modules.items()
        }

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Adam for each."""
        return self._optimizers

    def rate(self, step: int) -> float:
        """The learning rate of a step: linear from the first to the last."""
        share = step / max(1, self.steps - 1)
        return self.rates[0] + (self.rates[1] - self.rates[0]) * share

    def phases(self, step: int) -> Sequence[Phase]:
        """The discriminator's turn, and the generator's in every ``every``-th step."""
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)
        turns = [Phase("discriminator", self._discriminator_loss)]
        if (step + 1) % self.every == 0:
            turns.append(Phase("generator", self._generator_loss))
        return turns

    def _discriminator_loss(self, step: int, micro: int) -> Terms:
        return self.objective.discriminator_terms(self.batches.make("discriminator", step, micro))

    def _generator_loss(self, step: int, micro: int) -> Terms:
        return self.objective.generator_terms(self.batches.make("generator", step, micro))

    def after_step(self, step: int) -> dict[str, float]:
        """Mean, largest value and spread of the maps painted last: maps may collapse to 0, to 1, or to a constant."""
        maps, self.objective.painted = self.objective.painted, None
        if maps is None:
            return {}
        spread = maps.flatten(1).std(dim=1).mean()
        return {"map mean": float(maps.mean()), "map largest": float(maps.max()), "map spread": float(spread)}

    @torch.no_grad()
    def preview(self, step: int, folder: Path) -> None:
        """Normals, painted and their maps; shots, restored and their maps; always the same."""
        batch = self.batches.make("preview", 0, 0)
        network = self.objective.generator
        training = network.training
        network.eval()
        with undisturbed(batch.normals.device):
            made = self.objective.chains(batch)
        network.train(training)
        columns = (batch.normals, made.defaced, made.maps[0], batch.defects, made.restored, made.maps[2])
        rows = [torch.cat([_shown(column[place]) for column in columns], dim=2) for place in range(len(batch.normals))]
        picture = torch.cat(rows[:SHOWN], dim=1).permute(1, 2, 0).cpu().numpy()
        write_whole(folder / PREVIEW.format(step=step), encode_png(np.ascontiguousarray(picture)))


def _shown(picture: torch.Tensor) -> torch.Tensor:
    """To 3 x S x S uint8; maps in [0, 1] become grey."""
    levels = (picture + 1) * 127.5 if len(picture) == 3 else picture.expand(3, -1, -1) * 255
    return levels.round().clamp(0, 255).byte()
