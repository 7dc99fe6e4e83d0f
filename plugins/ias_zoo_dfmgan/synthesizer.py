"""DFMGAN: defect-aware feature manipulation.

Duan, Hong, Niu, Zhang: *Few-Shot Defect Image Generation via Defect-Aware Feature Manipulation*, AAAI 2023, arXiv
2303.02389. Published code: github.com/Ldhlwh/DFMGAN, under NVIDIA's licence for StyleGAN2-ADA (research only): nothing
of it is used here; this is written from the papers.

First a StyleGAN2 with adaptive augmentation learns the product from normals: the base stage. Then it is frozen, and
for each defect type residual blocks learn, from the shots and their masks, to change its features where a mask says so.
Everything comes from noise: neither a normal nor a mask can be given.

``networks.py`` holds the generator, ``stages.py`` the two trainings, this file bases, sampling and weights. Ours, each
an option: several defect types in one fit, a branch each, one after the other on the same base (published: one model a
type); LoRA branches (``adapter``); a base that is not of this product goes on with its normals for a while first
(``adapt_kimg``); lengths and batch by the base's size; an epsilon in the mode-seeking loss; crops around small defects
(``crop="off"`` for the published way); shots turned (``turn``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ias_zoo.errors import OptionError, RequestError, WeightsError
from ias_zoo.gan.averages import frozen_copy
from ias_zoo.gan.stylegan2 import Discriminator, Generator, Sizes, draw_noise, seeded
from ias_zoo.generation.seeds import seed_for
from ias_zoo.options import options_to_json
from ias_zoo.synthesizer import Drawn, Request, Setup
from ias_zoo.training.bases import TINY, TrainedBase, fetch_trained_base
from ias_zoo.training.devices import generator, pick_device, undisturbed
from ias_zoo.training.lora import load_lora, save_lora
from ias_zoo.training.report import TrainingReport
from ias_zoo.training.shots import TrainingSet, choose_crop
from ias_zoo.training.trainable import FitRun, TrainableSynthesizer
from ias_zoo.training.trainer import PhasedTask, Schedule, train
from ias_zoo_dfmgan.networks import Branch, DefectGenerator, LoRABranch, branch_noise
from ias_zoo_dfmgan.options import SIZES
from ias_zoo_dfmgan.stages import SHORT, BaseStage, FewShotStage, Plan, to_pixels

if TYPE_CHECKING:
    from ias_zoo.hub import Manifest
    from ias_zoo.synthesizer import RGB
    from ias_zoo_dfmgan.options import DFMGANOptions

SMALL = 64  # pixels: at this size and below, the defaults for small bases hold
CELL = 8  # pixels; a defect is small where the whole picture would show fewer than four squares of this side of it
GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
CLEAN = 1e5  # gradients that are no numbers become 0, larger ones this


class DFMGAN(TrainableSynthesizer):
    """DFMGAN (see the module's docstring)."""

    options: DFMGANOptions
    devices = ("cpu", "cuda")
    trained_options = (*SIZES, "residual_from", "adapter", "rank")

    def __init__(self, setup: Setup) -> None:
        self._device = torch.device("cpu")
        self._generator: Generator | None = None
        self._discriminator: Discriminator | None = None
        self._branches: dict[str, Branch] = {}
        self._base: tuple[str | None, str | None] = (None, None)
        super().__init__(setup)

    def to(self, device: str) -> DFMGAN:
        """Move to a device."""
        self._device = pick_device(device)
        for part in (self._generator, self._discriminator, *self._branches.values()):
            if part is not None:
                part.to(self._device)
        return self

    # Training

    def train_base(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """StyleGAN2-ADA on normals, from nothing or from a base."""
        start = None if self.setup.base is None else self._open_base()
        if start is None:
            sizes = _sizes(self.options)
            network = self._new(lambda: Generator(sizes), run.seed, "generator")
            discriminator = self._new(lambda: Discriminator(sizes), run.seed, "discriminator")
        else:
            network, discriminator = self._networks(start)
        crop = None if run.crop in ("off", "auto") else _pixels(run.crop)
        options = self.options
        batch = self._batch()
        plan = self._plan(batch, options.base_kimg, ada=1 / 6, ramp=0.05 if start is None else None)
        report = TrainingReport(
            self.method.name, self._base[0] or "none", options.resolution, crop, data.files, data.defects
        )
        stage = BaseStage("base", data, options, plan, crop, run.seed, network, discriminator, self._device)
        self._run(stage, plan, run, report)
        self._generator, self._discriminator = stage.average, discriminator.requires_grad_(False)
        return report

    def train(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """The base goes on with the product's normals where it is not of the product; then a branch a defect type."""
        found = self._open_base()
        backbone, discriminator = self._networks(found)
        options = self.options
        crop = self._crop(found, data, run.crop)
        report = TrainingReport(self.method.name, found.name, options.resolution, crop, data.files, data.defects)
        adapt = options.adapt_kimg
        if adapt is None:
            adapt = ADAPT_KIMG if found.name == TINY else 0.0
        if adapt:
            plan = self._plan(self._batch(), adapt, ada=1 / 6, ramp=None)
            # A short run sees many normals a few times each: there is nothing to memorise.
            augment = options.augment or ("none" if adapt < SHORT else None)
            adapting = replace(options, augment=augment)
            stage = BaseStage("adapt", data, adapting, plan, crop, run.seed, backbone, discriminator, self._device)
            self._run(stage, plan, run, report)
            backbone.load_state_dict(stage.average.state_dict())
        backbone.requires_grad_(False)
        kimg = options.kimg or (SMALL_KIMG if options.resolution <= SMALL else 400.0)
        plan = self._plan(self._batch(), kimg, ada=1 / 4, ramp=None)
        self._generator, self._branches = backbone, {}
        for defect in data.defects:
            shots = tuple(shot for shot in data.shots if shot.defect == defect)
            part = TrainingSet(shots, data.normals, (defect,))
            branch = self._new(lambda: self._new_branch(backbone), run.seed, f"branch {defect}")
            judge = self._new(lambda: Discriminator(backbone.sizes), 0, "")
            judge.load_state_dict(discriminator.state_dict())
            matching = self._new(lambda: Discriminator(self._match_sizes(), 4), run.seed, f"matching {defect}")
            few = FewShotStage(
                f"few-shot {defect}", part, options, plan, crop, run.seed, backbone, branch, judge, matching,
                self._device,
            )  # fmt: skip
            self._run(few, plan, run, report)
            self._branches[defect] = few.average
        return report

    def _run(self, stage: PhasedTask, plan: Plan, run: FitRun, report: TrainingReport) -> None:
        def told(number: int, loss: float) -> None:
            run.step(stage.name, number + 1, plan.steps, loss)

        every = max(1, plan.steps // 12) if run.preview_every is None else run.preview_every
        schedule = Schedule(
            steps=plan.steps,
            checkpoint_every=self.options.checkpoint_every,
            preview_every=every,
            mixed_precision=self.options.mixed_precision,
            clean_gradients=CLEAN,
        )
        report.stages.append(train(stage, schedule, self._device, folder=run.folder, resume=run.resume, step=told))

    def _plan(self, batch: int, kimg: float, *, ada: float, ramp: float | None) -> Plan:
        """What follows from a stage's length: at the published lengths, the published spans."""
        options = self.options
        published = 0.0002 * options.resolution**2 / batch
        gamma = options.gamma if options.gamma is not None else SHORT_GAMMA if kimg < SHORT else published
        ema = options.ema_kimg or min(10 * batch / 32, kimg / 40)
        return Plan(batch, kimg, gamma, options.ada_kimg or kimg * ada, ema, ramp)

    def _batch(self) -> int:
        options = self.options
        batch = options.batch
        if batch is None:
            batch = 8 if options.resolution <= SMALL else max(min(4096 // options.resolution, 32), 4)
        if batch % 2:
            raise OptionError(f"batch={batch}: expected an even number; mode seeking compares its halves")
        return batch

    def _match_sizes(self) -> Sizes:
        options, sizes = self.options, _sizes(self.options)
        channels, largest = options.match_channels or sizes.base // 4, options.match_largest or sizes.largest // 4
        return replace(sizes, base=channels, largest=largest)

    def _new(self, make: Any, seed: int, what: str) -> Any:
        return seeded(make, seed_for(seed, self.method.name, what)).to(self._device)

    def _new_branch(self, backbone: Generator, *, adapters: bool = True) -> Branch:
        options = self.options
        start = options.residual_from or options.resolution // 4
        try:
            if options.adapter == "lora":
                return LoRABranch(backbone.sizes, start, backbone, options.rank if adapters else None)
            return Branch(backbone.sizes, start)
        except ValueError as error:
            raise OptionError(f"residual_from={start}: {error}") from error

    def _crop(self, base: TrainedBase, data: TrainingSet, asked: str) -> int | None:
        """As asked; ``auto`` is what a base of the user's own was trained on, and chosen by the shots on another."""
        if asked == "auto" and base.name != TINY:
            crop: int | None = base.manifest.facts.get("crop")
            return crop
        return choose_crop(data.shots, self.options.resolution, CELL, asked)

    # Bases

    def _open_base(self) -> TrainedBase:
        """Find the base; its sizes become the options'."""
        found = fetch_trained_base(self.setup.base, self.method)
        asked = options_to_json(self.options)
        sizes = {name: found.manifest.options[name] for name in SIZES}
        for name, value in sizes.items():
            if name in self.setup.given and asked[name] != value:
                raise OptionError(f"{name}={asked[name]!r}: base {found.name} has {value!r}; leave it out")
        self.options = replace(self.options, **sizes)
        self._base = (found.name, found.revision)
        return found

    def _networks(self, base: TrainedBase) -> tuple[Generator, Discriminator]:
        sizes = _sizes(self.options)
        network = self._new(lambda: Generator(sizes), 0, "")
        discriminator = self._new(lambda: Discriminator(sizes), 0, "")
        _load(network, base.folder / GENERATOR)
        _load(discriminator, base.folder / DISCRIMINATOR)
        return network, discriminator

    def base_identity(self) -> tuple[str | None, str | None]:
        """Name and commit of the base that training started from."""
        return self._base

    def write_base(self, folder: Path) -> None:
        """The average generator and the discriminator."""
        assert self._generator is not None and self._discriminator is not None  # noqa: S101, PT018 - trained
        _save(self._generator, folder / GENERATOR)
        _save(self._discriminator, folder / DISCRIMINATOR)

    def draw_normals(self, count: int, seed: int) -> Sequence[RGB]:
        """Pictures of the base."""
        assert self._generator is not None  # noqa: S101 - trained
        made = []
        with undisturbed(self._device), torch.no_grad():
            for number in range(count):
                z = torch.randn(1, self.options.latent, generator=generator(seed_for(seed, "normal", number)))
                made.append(to_pixels(self._generator(z.to(self._device))[0]))
        return made

    # Sampling

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """One picture with its mask, both from noise."""
        network, ws, defect, noise, extra = self._latents(request, rng)
        with undisturbed(self._device), torch.no_grad():
            images, logits = network(ws, defect, noise, extra)
        mask = (logits[0, 0] >= self.options.mask_threshold).cpu().numpy()
        return Drawn(image=to_pixels(images[0]), mask=mask, defect=request.defect or self.defects[0])

    def defect_free(self, request: Request) -> RGB:
        """The picture of a request as it was before the defect: the same latents with the branch off."""
        network, ws, _, noise, _ = self._latents(request, np.random.default_rng(request.seed))
        with undisturbed(self._device), torch.no_grad():
            return to_pixels(network.normals(ws, noise)[0])

    @torch.no_grad()
    def _latents(self, request: Request, rng: np.random.Generator) -> tuple[DefectGenerator, Any, Any, Any, Any]:
        """The generator with the branch of a request, styles of product and defect, and noise for both (or None)."""
        defects, options = self.defects, self.options
        defect = request.defect or (defects[0] if len(defects) == 1 else None)
        if defect is None or defect not in defects:
            known = ", ".join(defects)
            raise RequestError(f"request.defect is {request.defect!r}; these weights know {known}")
        assert self._generator is not None  # noqa: S101 - fitted
        backbone, branch, device = self._generator, self._branches[defect], self._device
        draws = generator(int(rng.integers(2**63)))
        z = torch.randn(2, 1, options.latent, generator=draws).to(device)
        noise = extra = None
        if options.noise == "random":
            noise = draw_noise(backbone.sizes, 1, draws, device)
            extra = branch_noise(branch, 1, draws, device)
        with undisturbed(device):
            ws, defect_ws = backbone.mapping(z[0], options.psi), branch.mapping(z[1], options.defect_psi)
        return DefectGenerator(backbone, branch, options.mask_threshold), ws, defect_ws, noise, extra

    # Weights

    def write_parts(self, folder: Path) -> None:
        """The generator, and a branch a defect type: whole, nothing else is needed to sample."""
        assert self._generator is not None  # noqa: S101 - fitted
        _save(self._generator, folder / GENERATOR)
        for number, branch in enumerate(self._branches.values()):
            if self.options.adapter == "lora":
                (folder / f"branch_{number}_lora").mkdir()
                save_lora(branch.blocks, folder / f"branch_{number}_lora")
            save_file(_own(branch), folder / f"branch_{number}.safetensors")

    def read_parts(self, folder: Path, manifest: Manifest) -> None:
        """Load what :meth:`write_parts` wrote."""
        asked = None if self.setup.base is None else Path(str(self.setup.base).partition("@")[0]).name
        if asked is not None and asked != str(manifest.base).rpartition("/")[2]:
            raise OptionError(f"base={asked!r}: these weights hold their base, {manifest.base!r}; leave it out")
        network = self._new(lambda: Generator(_sizes(self.options)), 0, "")
        _load(network, folder / GENERATOR)
        self._generator = network.requires_grad_(False)
        self._branches = {}
        for number, defect in enumerate(manifest.defects):
            branch = self._new(lambda: self._new_branch(network, adapters=False), 0, "")
            path = folder / f"branch_{number}.safetensors"
            try:
                if self.options.adapter == "lora":
                    load_lora(branch.blocks, folder / f"branch_{number}_lora")
                _fill(branch, load_file(path))
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise WeightsError(f"{path}: it does not fit these weights: {_first_line(error)}") from error
            self._branches[defect] = frozen_copy(branch)
        self._base = (manifest.base, manifest.base_revision)


SHORT_GAMMA = 1.0  # at the published weight the texture was lost within 300 steps
SMALL_KIMG, ADAPT_KIMG = 1.6, 1.2  # thousand images of a defect type and of normals, on small bases: minutes on a core


def _sizes(options: DFMGANOptions) -> Sizes:
    return Sizes(options.resolution, options.channels, options.largest, options.latent, options.mapping_layers)


def _pixels(crop: str) -> int:
    if not crop.isdigit() or int(crop) < CELL:
        raise OptionError(f"crop={crop!r}: expected auto, off, or a number of pixels >= {CELL}")
    return int(crop)


def _own(branch: Branch) -> dict[str, torch.Tensor]:
    """A branch's tensors but its adapters and the copies that they are on: those are peft's and the base's."""
    kept = branch.state_dict()
    if isinstance(branch, LoRABranch):
        kept = {name: tensor for name, tensor in kept.items() if not name.startswith("blocks.")}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in kept.items()}


def _fill(branch: Branch, state: Mapping[str, torch.Tensor]) -> None:
    expected = _own(branch)
    if set(expected) != set(state):
        raise ValueError(f"tensors are missing or unknown, among them {min(set(expected) ^ set(state))}")
    branch.load_state_dict(dict(state), strict=False)


def _save(network: nn.Module, path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}, path)


def _load(network: nn.Module, path: Path) -> None:
    """Load into float32, whatever precision the file has."""
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path}: it does not fit: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
