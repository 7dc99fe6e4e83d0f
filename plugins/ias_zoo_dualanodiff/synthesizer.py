"""DualAnoDiff: dual-interrelated diffusion for few-shot anomaly images.

Jin, Peng, He, Hu, Wu, Chen, Wang, Zhu, Chi, Liu, Wang: *Dual-Interrelated Diffusion Model for Few-Shot Anomaly Image
Generation*, CVPR 2025, arXiv 2408.13509; published code: github.com/yinyjin/DualAnoDiff (no licence).

Two branches of one denoiser are sampled together: ``a vfx with sks`` gives the whole picture, ``sks`` its anomaly on
mid-grey. Each branch has LoRA adapters of its own on every attention layer, and after each attention layer the two
attend to each other. The mask is read off the anomaly. One training a defect type, as published.

``interaction.py`` holds what happens in an attention layer, ``model.py`` the sets of adapters, ``stages.py`` the data
and the loss, ``sampling.py`` the joint sampler, ``masks.py`` the masks, this file the runs and the weights. Where the
paper and its code differ, the code is followed and the paper's form is an option. Ours, named options: one set for all
types (``models="joint"``), interaction layers that start at zero, a least share of the loss for small defects, masks by
distance from grey. Ours without a switch: the split is strict (the first third of the groups, rounded down), pictures
that are not square are cut around the defect, small defects are seen in crops (``crop="off"`` for the published way),
everything is seeded, and an anomaly whose contrast stays under an autoencoder's error has no mask.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ias_zoo.data.images import encode_png, write_whole
from ias_zoo.diffusion.base import Base, generator, open_base, pick_device, undisturbed
from ias_zoo.diffusion.rows import share_out
from ias_zoo.errors import DataError, RequestError, WeightsError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.synthesizer import Drawn, Request, Setup
from ias_zoo.training.report import TrainingReport
from ias_zoo.training.shots import TrainingSet, centre_square, choose_crop
from ias_zoo.training.trainable import FitRun, TrainableSynthesizer
from ias_zoo.training.trainer import Schedule, train
from ias_zoo_dualanodiff.masks import foreground, mask_reader
from ias_zoo_dualanodiff.model import ANOMALY_PROMPT, GLOBAL_PROMPT, DualModel
from ias_zoo_dualanodiff.sampling import Condition, Merged, denoise_pairs
from ias_zoo_dualanodiff.stages import Batches, PairStage, background_latents, signed, without_product

if TYPE_CHECKING:
    import os

    from ias_zoo.hub import Manifest
    from ias_zoo.synthesizer import RGB
    from ias_zoo_dualanodiff.options import DualAnoDiffOptions

CLIP = 1.0
"""The norm that gradients are clipped to."""


class DualAnoDiff(TrainableSynthesizer):
    """DualAnoDiff (see the module's docstring)."""

    options: DualAnoDiffOptions
    devices = ("cpu", "cuda")
    trained_options = ("models", "rank", "bcm", "bcm_latents")

    def __init__(self, setup: Setup) -> None:
        self._model: DualModel | None = None
        self._crop: int | None = None
        self._texts: dict[tuple[int, str], torch.Tensor] = {}
        self._merged: tuple[int, Merged] | None = None
        super().__init__(setup)

    def to(self, device: str) -> DualAnoDiff:
        """Move to a device."""
        self._device = device
        if self._model is not None:
            self._model.to(pick_device(device))
        self._forget()
        return self

    # Training

    def train(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """One training a defect type, or one for all, on a base opened anew."""
        options = self.options
        mask_reader(options)  # before hours of training: are the weights there that masks need?
        base = self._open(self.setup.base, self.setup.dtype or "float32")
        model = DualModel(base, options)
        crop = choose_crop(data.shots, base.resolution, base.cell, run.crop)
        report = TrainingReport(self.method.name, base.name, base.resolution, crop, data.files, data.defects)
        self._crop = crop
        small, bcm = base.small, options.bcm != "off"
        if options.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
        groups = [(name,) for name in data.defects] if options.models == "each" else [data.defects]
        schedule = Schedule(
            steps=(options.steps or (200 if small else 5000)) * len(groups[0]),
            accumulate=options.accumulate,
            checkpoint_every=_or(options.checkpoint_every, 100 if small else 500 if bcm else 1000),
            preview_every=run.preview_every,
            mixed_precision=options.mixed_precision,
            max_grad_norm=CLIP,
            ema=options.ema,
        )
        rates = (options.lr or (2e-3 if small else 2e-5), options.saim_lr or (1e-3 if small else 2e-5))
        for number, group in enumerate(groups):
            model.add_set()
            shots = [shot for shot in data.shots if shot.defect in group]
            backgrounds = [self._without_product(shot.image, shot.id) for shot in shots] if bcm else None
            seed = seed_for(run.seed, "pairs", *group)
            size = options.batch or (2 if bcm or small else 4)
            batches = Batches(shots, backgrounds, base.resolution, crop, size, seed, flip=options.flip)

            def preview(step: int, folder: Path, group: tuple[str, ...] = group) -> None:
                self._preview(model, data, group, folder / f"preview-{step:07d}.png")

            stage = PairStage(_stage_name(number, group), model, number, batches, self._prompts, rates, preview)

            def told(step: int, loss: float, name: str = stage.name) -> None:
                run.step(name, step + 1, schedule.steps, loss)

            done = train(stage, schedule, base.device, folder=run.folder, resume=run.resume, step=told)
            report.stages.append(done)
        model.rest()
        if options.gradient_checkpointing:
            base.unet.disable_gradient_checkpointing()
        self._model = model
        self._forget()
        return report

    def _prompts(self, defect: str) -> tuple[str, str]:
        """For the whole picture and for its anomaly; the first ends in the second."""
        if self.options.models == "each":
            return GLOBAL_PROMPT, ANOMALY_PROMPT
        words = " ".join(re.findall(r"\w+", defect.replace("_", " ").lower()))
        return f"{GLOBAL_PROMPT} {words}", f"{ANOMALY_PROMPT} {words}"

    def _without_product(self, image: RGB, name: str) -> RGB:
        found = foreground(image, self.options)
        if found.all() and found.min() == 255:
            raise DataError(
                f"{name}: product and background cannot be told apart, and bcm={self.options.bcm} compensates the "
                "background; textures need bcm=off"
            )
        return without_product(image, found)

    def _preview(self, model: DualModel, data: TrainingSet, group: tuple[str, ...], path: Path) -> None:
        """A pair a defect type, its mask below, as the model is now; training goes on as if it had not been."""
        networks = [model.base.unet, model.base.text_encoder, *model.sets[-1].modules.values()]
        training = [network for network in networks if network.training]
        for network in training:
            network.eval()
        tiles = []
        with undisturbed(model.base.device), torch.no_grad():
            for number, defect in enumerate(group):
                request = Request(seed=number, normal=data.normals.read(number % len(data.normals)).image)
                (made,), (anomaly,) = self._sample(
                    model, len(model.sets) - 1, [request], [np.random.default_rng(number)], [defect], project=None
                )
                mask = np.repeat(made.mask[:, :, None].astype(np.uint8) * 255, 3, axis=2)
                tiles.append(np.concatenate([made.image, anomaly, mask], axis=0))
        for network in training:
            network.train()
        write_whole(path, encode_png(np.concatenate(tiles, axis=1)))

    def _open(self, base: str | os.PathLike[str] | None, dtype: str | None) -> Base:
        return open_base(
            base, self.method.base, device=self._device, dtype=dtype, channels_last=self.options.channels_last
        )

    # Sampling

    @property
    def batch_size(self) -> int:
        """How many pairs are drawn at once."""
        small = self._model is not None and self._model.base.small
        return self.options.sampling_batch or (8 if small else 1)

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """One image with its mask, at the base's size."""
        return self.draw_many([request], [rng])[0]

    def draw_many(self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]) -> list[Drawn]:
        """A batch of images with their masks."""
        defects = [self._defect(request) for request in requests]
        model = self._model
        assert model is not None  # noqa: S101 - fitted
        by_set: dict[int, list[int]] = {}
        for place, defect in enumerate(defects):
            number = self.defects.index(defect) if self.options.models == "each" else 0
            by_set.setdefault(number, []).append(place)
        drawn: dict[int, Drawn] = {}
        with undisturbed(model.base.device) as threads:
            for number, places in by_set.items():
                project = self._projections(number)

                def part(of: slice, number: int = number, places: list[int] = places, project: Any = project) -> Any:
                    mine = places[of]
                    chosen = [requests[place] for place in mine], [rngs[place] for place in mine]
                    return self._sample(model, number, *chosen, [defects[place] for place in mine], project=project)[0]

                with torch.no_grad():
                    for prompt in {"", *(prompt for place in places for prompt in self._prompts(defects[place]))}:
                        self._embedded(model, number, prompt)  # adapters of the text encoder are switched, not routed
                made = share_out(part, len(places), threads, model.base.device)
                drawn |= dict(zip(places, made, strict=True))
        return [drawn[place] for place in range(len(requests))]

    def _defect(self, request: Request) -> str:
        known = self.defects
        defect = request.defect or (known[0] if len(known) == 1 else None)
        if defect is None or defect not in known:
            raise RequestError(f"request.defect is {request.defect!r}; these weights know {', '.join(known)}")
        if self.options.bcm != "off" and request.normal is None:
            raise RequestError("weights with background compensation need a normal, and the request has none")
        return defect

    def _sample(
        self, model: DualModel, number: int, requests: Sequence[Request], rngs: Sequence[np.random.Generator],
        defects: Sequence[str], *, project: Any,
    ) -> tuple[list[Drawn], list[RGB]]:  # fmt: skip
        """Samples of one set of adapters, and their anomalies on grey."""
        options, base = self.options, model.base
        bcm = options.bcm != "off"
        guidance = options.guidance or (1.0 if base.small else 2.0 if bcm else 2.5)
        generators = [generator(int(rng.integers(2**63))) for rng in rngs]
        text = torch.cat([self._embedded(model, number, prompt) for name in defects for prompt in self._prompts(name)])
        condition = self._condition(model, requests, rngs, generators) if bcm else None
        latents = denoise_pairs(
            model, number, text, self._embedded(model, number, ""), generators,
            steps=options.sampling_steps or (25 if base.small else 50 if bcm else 100),
            guidance=guidance, condition=condition, project=project,
        )  # fmt: skip
        pixels = ((base.decode(latents).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        read = mask_reader(options)
        images, anomalies = (np.ascontiguousarray(pixels[branch::2]) for branch in (0, 1))
        drawn = []
        for place, defect in enumerate(defects):
            prompts = self._prompts(defect)
            told = {"prompts": prompts, "guidance": guidance}
            drawn.append(Drawn(image=images[place], mask=read(anomalies[place]), drawn=told, defect=defect))
        return drawn, list(anomalies)

    def _condition(
        self, model: DualModel, requests: Sequence[Request], rngs: Sequence[np.random.Generator],
        generators: list[torch.Generator],
    ) -> Condition:  # fmt: skip
        """The normals without their products, cut as shots are."""
        base = model.base
        scaled = self.options.bcm_latents == "scaled"
        pictures = []
        for request, rng in zip(requests, rngs, strict=True):
            assert request.normal is not None  # noqa: S101 - checked with the request
            empty = self._without_product(request.normal, request.normal_id or "request.normal")
            pictures.append(signed(centre_square(empty, base.resolution, self._crop, rng)))
        background = background_latents(base, torch.stack(pictures), generators, scaled=scaled)
        grey = background_latents(base, torch.zeros_like(pictures[0])[None], [generator(0)], scaled=scaled)
        return Condition(background, grey)

    def _embedded(self, model: DualModel, number: int, prompt: str) -> torch.Tensor:
        """A prompt's embedding; those of finished weights are kept, for a run asks for the same few again and again."""
        if model is not self._model:
            return model.embed(number, [prompt])
        if (number, prompt) not in self._texts:
            self._texts[number, prompt] = model.embed(number, [prompt])
        return self._texts[number, prompt]

    def _projections(self, number: int) -> Merged:
        """Merged weights of the set that was used last."""
        assert self._model is not None  # noqa: S101 - fitted
        if self._merged is None or self._merged[0] != number:
            self._merged = number, Merged(self._model.sets[number].branches)
        return self._merged[1]

    def _forget(self) -> None:
        """Drop what was computed from weights that have changed or moved."""
        self._texts, self._merged = {}, None

    # Weights

    def base_identity(self) -> tuple[str, str | None]:
        """Name and commit of the base."""
        assert self._model is not None  # noqa: S101 - fitted
        return self._model.base.name, self._model.base.revision

    def write_parts(self, folder: Path) -> None:
        """A folder a set: adapters in peft's format, interaction and background layers beside them."""
        assert self._model is not None  # noqa: S101 - fitted
        for number in range(len(self._model.sets)):
            self._model.save_set(number, folder / _folder(number))

    def read_parts(self, folder: Path, manifest: Manifest) -> None:
        """Open the manifest's base and put on it what was trained."""
        base = self._open(self.base_of(manifest), self.setup.dtype)
        model = DualModel(base, replace(self.options, saim_start="default"))
        self._crop = manifest.facts.get("crop")
        try:
            for number in range(len(manifest.defects) if self.options.models == "each" else 1):
                model.load_set(folder / _folder(number))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(f"{folder}: the weights do not fit base {model.base.name}: {first}") from error
        self._model = model
        self._forget()


def _folder(number: int) -> str:
    return f"set-{number}"


def _stage_name(number: int, group: tuple[str, ...]) -> str:
    """A word for reports and folders of checkpoints: the defect type's, or ``pairs``."""
    if len(group) > 1:
        return "pairs"
    return f"{number}-{re.sub(r'[^A-Za-z0-9_-]', '_', group[0])[:60]}"


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
