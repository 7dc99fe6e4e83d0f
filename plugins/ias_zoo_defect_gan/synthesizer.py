"""Defect-GAN: defects painted onto pictures of good parts by a generator that also learns to take them off.

Gongjie Zhang, Kaiwen Cui, Tzu-Yi Hung, Shijian Lu: *Defect-GAN: High-Fidelity Defect Synthesis for Automated Defect
Inspection*, WACV 2021, arXiv 2103.15158.

One generator does both processes, steered by a control map: defacement (normal to defect) and restoration (defect to
normal). It gives a foreground and a spatial distribution map, and its output is the foreground laid over the input
through that map. The discriminator tells real from made and names the category. There is no code of the authors.

Ours, each an option, and named in the card: few-shot fitting from a base (LoRA on the decoder), masks of shots as
targets of the maps and as control maps, and the mask of a sample, which is where its map exceeds a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ias_zoo.data.images import is_grey
from ias_zoo.errors import OptionError, RequestError, WeightsError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.synthesizer import Drawn, Request, Setup
from ias_zoo.training.bases import fetch_trained_base
from ias_zoo.training.devices import pick_device, undisturbed
from ias_zoo.training.lora import add_lora, load_lora, save_lora
from ias_zoo.training.report import TrainingReport
from ias_zoo.training.shots import TrainingSet, choose_crop
from ias_zoo.training.trainable import FitRun, TrainableSynthesizer
from ias_zoo.training.trainer import Schedule, train
from ias_zoo_defect_gan.base import CONFIG, GENERATOR, Networks, for_defects, new_networks, read_base, save_base
from ias_zoo_defect_gan.drawn import DrawnDefects
from ias_zoo_defect_gan.networks import STRIDE, Architecture
from ias_zoo_defect_gan.painting import Painter
from ias_zoo_defect_gan.shapes import cut_shapes, shapes_from_tensors, shapes_to_tensors
from ias_zoo_defect_gan.stages import Batches, Objective, Source, Stage

if TYPE_CHECKING:
    from ias_zoo.hub import Manifest
    from ias_zoo.synthesizer import RGB
    from ias_zoo_defect_gan.options import DefectGANOptions

ADAPTED = ("conv1", "conv2", "gamma", "beta", "shortcut")
"""The decoder's layers with adapters. What else of it trains: SPADE's shared layers, noise scales, both heads."""

LORA, PARTS, SHAPES = "decoder_lora", "parts.safetensors", "shapes.safetensors"
PUBLISHED_STEPS, STEPS, BASE_STEPS = 500_000, 400, 2000


class DefectGAN(TrainableSynthesizer):
    """Defect-GAN (see the module's docstring)."""

    options: DefectGANOptions
    devices = ("cpu", "cuda")
    trained_options = ("adapter", "rank", "alpha", "restore_control", "classes", "size", "width", "grey")

    def __init__(self, setup: Setup) -> None:
        self._device = torch.device("cpu")
        self._networks: Networks | None = None
        self._painter: Painter | None = None
        self._base: tuple[str | None, str | None] = (None, None)
        super().__init__(setup)

    def to(self, device: str) -> DefectGAN:
        """Move to a device."""
        self._device = pick_device(device)
        for part in (self._networks, self._painter):
            if part is not None:
                part.generator.to(self._device)
        if self._painter is not None:
            self._painter.device = self._device
        return self

    # Training

    def train(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """On a base: adapters, or everything. Without one: both networks from nothing, as published."""
        asked = self.options
        networks = self._start_from(data.defects, run.seed)
        based = self._base[0] is not None
        options = self.options = replace(
            self.options,
            adapter=asked.adapter or ("lora" if based else "full"),
            supervision=asked.supervision or ("masks" if based else "labels"),
            light=asked.light if asked.light is not None else based,
            grey=asked.grey if asked.grey is not None else all(is_grey(shot.image) for shot in data.shots),
        )
        if options.adapter == "lora" and not based:
            raise OptionError("adapter='lora' adapts a base: give base='tiny' or another, or leave the adapter out")
        self._prepare(networks)
        crop = choose_crop(data.shots, networks.architecture.size, STRIDE, run.crop)
        masks = options.supervision == "masks"
        batches = Batches(data, options, networks.architecture, crop, run.seed, self._device, masks=masks)
        stage = self._stage("few-shot", networks, batches, STEPS if based else PUBLISHED_STEPS, masks=masks)
        report = self._report(networks, crop, data)
        self._run(stage, run, report)
        placed = options.place == "shapes" or (options.place is None and masks)
        shapes = cut_shapes(data.shots) if placed else []
        self._networks = networks
        self._painter = self._new_painter(networks, crop, shapes)
        return report

    def train_base(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """Both networks on normals of the user's own and defects drawn onto them (ours), from nothing or a base."""
        networks = self._start_from(DrawnDefects.KINDS, run.seed)
        self.options = replace(
            self.options,
            adapter="full",
            supervision=self.options.supervision or "masks",
            grey=bool(self.options.grey),
        )
        crop = None if run.crop in ("off", "auto") else choose_crop((), networks.architecture.size, STRIDE, run.crop)
        masks = self.options.supervision == "masks"
        batches = DrawnDefects(data, self.options, networks.architecture, crop, run.seed, self._device, masks=masks)
        stage = self._stage("base", networks, batches, BASE_STEPS if self._base[0] else PUBLISHED_STEPS, masks=masks)
        report = self._report(networks, crop, data)
        self._run(stage, run, report)
        self._networks = networks
        self._painter = self._new_painter(networks, crop, [])
        self._normals = data.normals
        return report

    def _start_from(self, defects: Sequence[str], seed: int) -> Networks:
        """The base with these categories, or new networks; sizes become the options'."""
        options, given = self.options, self.setup.given
        if self.setup.base is None:
            architecture = Architecture(
                tuple(defects),
                size=options.size,
                width=options.width,
                hidden=2 * options.width,
                discriminator_width=options.width,
                discriminator_limit=32 * options.width,
                restore_control=options.restore_control,
                classes=options.classes,
            )
            networks = new_networks(architecture, seed_for(seed, self.method.name))
        else:
            found = fetch_trained_base(self.setup.base, self.method)
            networks = for_defects(read_base(found.folder, found.name), defects)
            self._base = (found.name, found.revision)
            for name in ("size", "width", "restore_control", "classes"):
                has = getattr(networks.architecture, name)
                if name in given and getattr(options, name) != has:
                    raise OptionError(f"{name}={getattr(options, name)!r}: base {found.name} has {has!r}; leave it out")
        made = networks.architecture
        self.options = replace(
            options, size=made.size, width=made.width, restore_control=made.restore_control, classes=made.classes
        )
        return networks

    def _prepare(self, networks: Networks) -> None:
        """Say what trains, and attach the adapters."""
        generator, options = networks.generator, self.options
        generator.grey = bool(options.grey)
        if options.adapter == "lora":
            add_lora(generator.decoder, options.rank, ADAPTED, alpha=options.alpha)
            _only_adapted(generator)
        frozen = options.freeze_discriminator if self._base[0] else 0
        for layer in [layer for layer in networks.discriminator.trunk if isinstance(layer, nn.Conv2d)][:frozen]:
            layer.requires_grad_(False)
        generator.to(self._device)
        networks.discriminator.to(self._device)

    def _stage(self, name: str, networks: Networks, batches: Source, steps: int, *, masks: bool) -> Stage:
        options, based = self.options, self._base[0] is not None
        objective = Objective(networks.architecture, networks.generator, networks.discriminator, options, masks=masks)
        rate = options.lr or (1e-3 if options.adapter == "lora" else 2e-4)
        every = options.discriminator_steps or (1 if based else 5)
        return Stage(name, objective, batches, options.steps or steps, (rate, options.lr_end), every)

    def _report(self, networks: Networks, crop: int | None, data: TrainingSet) -> TrainingReport:
        size = networks.architecture.size
        return TrainingReport(self.method.name, self._base[0] or "none", size, crop, data.files, data.defects)

    def _run(self, stage: Stage, run: FitRun, report: TrainingReport) -> None:
        def told(number: int, loss: float) -> None:
            run.step(stage.name, number + 1, stage.steps, loss)

        options = self.options
        ema = options.ema if options.ema is not None else (0.99 if self._base[0] else 0.0)
        schedule = Schedule(
            steps=stage.steps,
            checkpoint_every=options.checkpoint_every,
            preview_every=max(1, stage.steps // 12) if run.preview_every is None else run.preview_every,
            ema=ema,
        )
        report.stages.append(train(stage, schedule, self._device, folder=run.folder, resume=run.resume, step=told))
        for network in (stage.objective.generator, stage.objective.discriminator):
            network.requires_grad_(False).eval()

    def _new_painter(self, networks: Networks, crop: int | None, shapes: Sequence[Any]) -> Painter:
        generator = networks.generator.requires_grad_(False).eval().to(self._device)
        generator.grey = bool(self.options.grey)
        return Painter(networks.architecture, generator, self.options, crop, shapes, self._device)

    # Sampling

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paint a defect of the request's type onto its normal.

        A type may be several, joined by ``+``. ``drawn`` says where the defect was asked for (``place``: the request's
        ``mask``, a ``shape`` of a shot, or ``free``) and the ``square`` that the model saw (top, left, side).
        """
        defects = self.defects
        assert self._painter is not None and request.normal is not None  # noqa: S101, PT018 - fitted, and it is needed
        defect = request.defect or (defects[0] if len(defects) == 1 else None)
        names = [defect] if defect in defects else (defect or "").split("+")
        if defect is None or not set(names) <= set(defects):
            known = ", ".join(defects)
            raise RequestError(f"request.defect is {request.defect!r}; these weights know {known}")
        categories = [defects.index(str(name)) for name in names]
        with undisturbed(self._device):
            made = self._painter.paint(request.normal, categories, rng, region=request.region, mask=request.mask)
        return Drawn(image=made.image, mask=made.mask, label_map=made.map, drawn=made.drawn, defect=defect)

    # Bases

    def base_identity(self) -> tuple[str | None, str | None]:
        """Name and commit of the base that training started from."""
        return self._base

    def write_base(self, folder: Path) -> None:
        """Both networks and their architecture."""
        assert self._networks is not None  # noqa: S101 - trained
        save_base(self._networks, folder)

    def draw_normals(self, count: int, seed: int) -> Sequence[RGB]:
        """Normals of the base stage with a defect of each kind."""
        assert self._painter is not None  # noqa: S101 - trained
        made = []
        for number in range(count):
            normal = self._normals.read(number % len(self._normals)).image
            rng = np.random.default_rng(seed_for(seed, "normal", number))
            category = number % len(self._painter.architecture.categories)
            with undisturbed(self._device):
                made.append(self._painter.paint(normal, [category], rng).image)
        return made

    # Weights

    def write_parts(self, folder: Path) -> None:
        """The adapter in peft's format and what trained beside it, or the whole generator; shapes of the shots."""
        assert self._painter is not None  # noqa: S101 - fitted
        painter = self._painter
        (folder / CONFIG).write_text(painter.architecture.to_json(), encoding="utf-8")
        if self.options.adapter == "lora":
            (folder / LORA).mkdir()
            save_lora(painter.generator.decoder, folder / LORA)
            save_file(_own(painter.generator), folder / PARTS)
        else:
            state = {name: tensor.cpu().contiguous() for name, tensor in painter.generator.state_dict().items()}
            save_file(state, folder / GENERATOR)
        save_file(shapes_to_tensors(painter.shapes), folder / SHAPES)

    def read_parts(self, folder: Path, manifest: Manifest) -> None:
        """Load what :meth:`write_parts` wrote, for adapters on top of the manifest's base."""
        lora = self.options.adapter == "lora"
        self._base = (manifest.base, manifest.base_revision)
        try:
            architecture = Architecture.from_json((folder / CONFIG).read_text(encoding="utf-8"))
            if lora:
                networks = for_defects(self._open_for(manifest), architecture.categories)
                if networks.architecture != architecture:
                    raise ValueError(f"they are for {architecture}, the base is {networks.architecture}")
                load_lora(networks.generator.decoder, folder / LORA)
                _fill(networks.generator, load_file(folder / PARTS))
            else:
                networks = new_networks(architecture, 0)
                networks.generator.load_state_dict(load_file(folder / GENERATOR))
            shapes = shapes_from_tensors(load_file(folder / SHAPES))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(f"{folder}: the weights do not fit base {manifest.base}: {first}") from error
        if self.options.place == "free":
            shapes = []
        elif self.options.place == "shapes" and not shapes:
            raise OptionError(
                "place='shapes': these weights were fitted without masks and hold no shapes; leave it out"
            )
        self._networks = networks
        self._painter = self._new_painter(networks, manifest.facts.get("crop"), shapes)

    def _open_for(self, manifest: Manifest) -> Networks:
        found = fetch_trained_base(self.base_of(manifest), self.method)
        self._base = (found.name, found.revision)
        return read_base(found.folder, found.name)


def _only_adapted(generator: nn.Module) -> None:
    """Adapters, SPADE's shared layers, noise scales and heads train; the encoder and the adapted layers do not."""
    for name, parameter in generator.named_parameters():
        adapter = ".lora_" in name
        beside = name.startswith(("foreground.", "where.")) or ".shared." in name or name.endswith(".scale")
        parameter.requires_grad_(adapter or beside)


def _own(generator: nn.Module) -> dict[str, torch.Tensor]:
    """What trained beside the adapters."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in generator.state_dict().items()
        if name.startswith(("foreground.", "where.")) or ".shared." in name or name.endswith(".scale")
    }


def _fill(generator: nn.Module, state: dict[str, torch.Tensor]) -> None:
    if different := sorted(set(_own(generator)) ^ set(state)):
        raise ValueError(f"tensors are missing or unknown, among them {different[0]}")
    generator.load_state_dict(state, strict=False)
