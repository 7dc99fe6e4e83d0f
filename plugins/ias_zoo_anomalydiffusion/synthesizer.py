"""AnomalyDiffusion: few-shot anomaly images from a frozen latent-diffusion model.

Hu, Zhang, Yi, Du, Chen, Liu, Wang, Wang: *AnomalyDiffusion: Few-Shot Anomaly Image Generation with Diffusion Model*,
AAAI 2024, arXiv 2312.05767; published code: github.com/sjtuplayer/anomalydiffusion (MIT).

The denoiser stays as it is. Each defect type gets a few vectors that tell its looks; an encoder shared by all types
turns a mask into vectors that tell its place; both stand in a prompt for one word and are trained under a loss that
counts the mask's cells alone. Other vectors, trained on the masks as pictures, make new masks. A sample is painted into
a normal: at every step all but the mask is the noisy normal. Ours, by option, and the defaults of small
bases: guided samples, the shots' masks mirrored in place of drawn ones, the sample in the mask alone, grey for grey
normals, and painting again what shows nothing. Ours on any base: its own masks are moved into a region.

``words.py`` holds the embedding, ``encoder.py`` the spatial encoder, ``attention.py`` the re-weighting, ``pictures.py``
and ``stages.py`` the trainings, ``sampling.py`` the samplers, ``drawing.py`` what a request becomes,
``composing.py`` what goes back into a normal, this file the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ias_zoo.data.images import encode_png, resize_image, write_whole
from ias_zoo.diffusion.base import Base, open_base, pick_device
from ias_zoo.errors import RequestError, WeightsError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.synthesizer import Drawn, Request, Setup
from ias_zoo.training.lora import add_lora, load_lora, save_lora, without_lora
from ias_zoo.training.report import TrainingReport
from ias_zoo.training.shots import TrainingSet, choose_crop
from ias_zoo.training.trainable import FitRun, TrainableSynthesizer
from ias_zoo.training.trainer import Schedule, train
from ias_zoo_anomalydiffusion.drawing import Model, cells_of, draw, masks_of
from ias_zoo_anomalydiffusion.encoder import SIZES, SpatialEncoder
from ias_zoo_anomalydiffusion.pictures import Pictures, shot_masks
from ias_zoo_anomalydiffusion.stages import AnomalyStage, MaskStage
from ias_zoo_anomalydiffusion.words import Vectors, word_vector

if TYPE_CHECKING:
    import os

    from ias_zoo.hub import Manifest
    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo_anomalydiffusion.options import AnomalyDiffusionOptions

LORA, TOKENS, ENCODER, MASKS = "unet_lora", "tokens.safetensors", "encoder.safetensors", "shot_masks.safetensors"
CROSS = ["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"]
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


class AnomalyDiffusion(TrainableSynthesizer):
    """AnomalyDiffusion (see the module's docstring)."""

    options: AnomalyDiffusionOptions
    devices = ("cpu", "cuda")
    trained_options = ("adapter", "rank", "lora_targets", "tokens", "spatial_tokens", "mask_tokens", "encoder", "masks")

    def __init__(self, setup: Setup) -> None:
        self._model: Model | None = None
        super().__init__(setup)

    def to(self, device: str) -> AnomalyDiffusion:
        """Move to a device."""
        self._device = device
        if self._model is not None:
            place, model = pick_device(device), self._model
            for part in (model.base.vae, model.base.unet, model.base.text_encoder):
                part.to(place)
            for trained in (model.tokens, model.encoder, model.mask_tokens):
                trained.to(place)
            model.base.device = place
        return self

    # Training

    def train(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """Both stages, on a base opened anew."""
        options = self.options
        base = self._open(self.setup.base, self.setup.dtype or "float32")
        crop = choose_crop(data.shots, base.resolution, base.cell, run.crop)
        model = self._new_model(base, data.defects, crop)
        if options.adapter == "lora":
            targets = CROSS if options.lora_targets == "cross" else ATTENTION
            add_lora(base.unet, options.rank, targets)
        drawn = masks_of(options, base) == "drawn"
        if not drawn:
            model.shot_masks = shot_masks(data, crop, base.resolution, seed_for(run.seed, "shot masks"))
        if options.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
        report = TrainingReport(self.method.name, base.name, base.resolution, crop, data.files, data.defects)

        def pictures(stage: str, augment: float) -> Pictures:
            return Pictures(
                resolution=base.resolution,
                crop=crop,
                size=options.batch,
                augment=augment,
                fill=options.fill,
                seed=seed_for(run.seed, stage),
            )

        def preview(step: int, folder: Path) -> None:
            self._preview(model, data, folder / f"preview-{step:07d}.png")

        rates = {
            "tokens": options.lr,
            "encoder": options.encoder_lr or (1e-3 if base.small else 2e-2),
            "unet": options.lora_lr or (1e-3 if base.small else 1e-4),
        }
        anomaly = AnomalyStage(
            base,
            data,
            pictures("anomaly", options.augment),
            model.tokens,
            model.encoder,
            rates,
            cells_of(options, base),
            options.loss_over or ("mask" if base.small else "all"),
            preview,
        )
        masks = MaskStage(base, data, pictures("masks", options.mask_augment), model.mask_tokens, options, preview)
        types = len(data.defects)
        steps = options.steps or (150 * types if base.small else 300_000)
        mask_steps = types * (options.mask_steps or (100 if base.small else 30_000))
        for stage, count in ((anomaly, steps), (masks, mask_steps))[: 2 if drawn else 1]:
            schedule = Schedule(
                steps=count,
                checkpoint_every=options.checkpoint_every,
                preview_every=run.preview_every,
                mixed_precision=options.mixed_precision,
                ema=options.ema,
            )

            def told(number: int, loss: float, name: str = stage.name, total: int = count) -> None:
                run.step(name, number + 1, total, loss)

            with without_lora(base.unet) if stage is masks else contextlib.nullcontext():
                report.stages.append(
                    train(stage, schedule, base.device, folder=run.folder, resume=run.resume, step=told)
                )
        for module in (base.unet, model.tokens, model.encoder, model.mask_tokens):
            module.requires_grad_(False).eval()
        self._model = model
        return report

    def _preview(self, model: Model, data: TrainingSet, path: Path) -> None:
        """One sample a defect type, masks beside, as the model is now; training goes on as if it had not been."""
        trained = [m for m in (model.base.unet, model.tokens, model.encoder, model.mask_tokens) if m.training]
        for module in trained:
            module.eval()
        requests, given = [], {shot.defect: shot.mask for shot in data.shots}
        for number, defect in enumerate(data.defects):
            # A shot's mask, for the mask words may not have been trained yet.
            normal = data.normals.read(number % len(data.normals)).image
            mask = cv2.resize(given[defect].astype(np.uint8), normal.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
            requests.append(Request(seed=number, normal=normal, mask=mask if mask.any() else None, defect=defect))
        try:
            made = draw(model, self.options, requests, [np.random.default_rng(request.seed) for request in requests])
        except RequestError:  # a shot's mask may not fit a normal of another shape
            return
        finally:
            for module in trained:
                module.train()
        side = model.base.resolution
        tiles = [
            np.concatenate([resize_image(drawn.image, side, side), _as_picture(drawn.mask, side)]) for drawn in made
        ]
        write_whole(path, encode_png(np.concatenate(tiles, axis=1)))

    def _open(self, base: str | os.PathLike[str] | None, dtype: str | None) -> Base:
        options = self.options
        return open_base(base, self.method.base, device=self._device, dtype=dtype, channels_last=options.channels_last)

    def _new_model(self, base: Base, defects: tuple[str, ...], crop: int | None) -> Model:
        """Everything that trains, as it starts."""
        options = self.options
        start, mask_start = (word_vector(base, word) for word in (options.init_word, options.mask_init_word))
        size = SIZES[options.encoder or ("small" if base.small else "paper")]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("spatial encoder"))
            encoder = SpatialEncoder(options.spatial_tokens, len(start), size)
        return Model(
            base=base,
            defects=defects,
            tokens=Vectors(defects, start, options.tokens).to(base.device),
            encoder=encoder.to(base.device).eval(),
            mask_tokens=Vectors(defects, mask_start, options.mask_tokens).to(base.device),
            crop=crop,
            shot_masks={},
        )

    # Sampling

    @property
    def batch_size(self) -> int:
        """How many samples are drawn at once."""
        return self.options.sampling_batch

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """One image with its mask."""
        return self.draw_many([request], [rng])[0]

    def draw_many(self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]) -> list[Drawn]:
        """A batch of images with their masks."""
        self._fitted()
        assert self._model is not None  # noqa: S101 - fitted
        return draw(self._model, self.options, requests, rngs)

    # Weights

    def base_identity(self) -> tuple[str, str | None]:
        """Name and commit of the base."""
        assert self._model is not None  # noqa: S101 - fitted
        return self._model.base.name, self._model.base.revision

    def write_parts(self, folder: Path) -> None:
        """The vectors, the encoder; the shots' masks and the adapters in peft's format where there are any."""
        model = self._model
        assert model is not None  # noqa: S101 - fitted
        vectors = {
            f"{kind}.{number}": row.detach().cpu().contiguous()
            for kind, table in (("anomaly", model.tokens), ("masks", model.mask_tokens))
            for number, row in enumerate(table.rows)
        }
        save_file(vectors, folder / TOKENS)
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in model.encoder.state_dict().items()}, folder / ENCODER
        )
        if model.shot_masks:
            kept = {
                f"{model.defects.index(defect)}.{number}": torch.from_numpy(mask)
                for defect, masks in model.shot_masks.items()
                for number, mask in enumerate(masks)
            }
            save_file(kept, folder / MASKS)
        if self.options.adapter == "lora":
            save_lora(model.base.unet, folder / LORA)

    def read_parts(self, folder: Path, manifest: Manifest) -> None:
        """Open the manifest's base and put on it what was trained."""
        base = self._open(self.base_of(manifest), self.setup.dtype)
        model = self._new_model(base, manifest.defects, manifest.facts.get("crop"))
        try:
            vectors = load_file(folder / TOKENS)
            for kind, table in (("anomaly", model.tokens), ("masks", model.mask_tokens)):
                table.load_state_dict({f"rows.{n}": vectors[f"{kind}.{n}"] for n in range(len(manifest.defects))})
            model.encoder.load_state_dict(load_file(folder / ENCODER))
            if masks_of(self.options, base) == "shots":
                for name, mask in sorted(load_file(folder / MASKS).items(), key=_by_numbers):
                    defect = manifest.defects[int(name.split(".")[0])]
                    model.shot_masks.setdefault(defect, []).append(mask.bool().numpy())
            if self.options.adapter == "lora":
                load_lora(base.unet, folder / LORA)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = " ".join(str(error).split()) or type(error).__name__
            raise WeightsError(f"{folder}: the weights do not fit base {base.name}: {first[:300]}") from error
        for module in (base.unet, model.tokens, model.encoder, model.mask_tokens):
            module.requires_grad_(False).eval()
        self._model = model


def _by_numbers(entry: tuple[str, torch.Tensor]) -> list[int]:
    return [int(part) for part in entry[0].split(".")]


def _as_picture(mask: Mask, side: int) -> RGB:
    small = cv2.resize(mask.astype(np.uint8) * 255, (side, side), interpolation=cv2.INTER_NEAREST)
    return np.repeat(np.asarray(small, dtype=np.uint8)[:, :, None], 3, axis=2)
