"""SeaS: separation and sharing fine-tuning for few-shot industrial anomaly images.

Dai, Zeng, Liu, Li, Xue, Zhou: *SeaS: Few-shot Industrial Anomaly Image Generation with Separation and Sharing
Fine-tuning*, ICCV 2025, arXiv 2410.14987; published code: github.com/HUST-SLOW/SeaS (MIT).

One model a product. Each defect type gets four new words, the product one; ``a ob1 with sks1 sks2 sks3 sks4`` makes a
defect of the first type, ``a ob1`` a normal. Cross-attention of the defect's words is drawn onto the defect and
that of the product's word away from it. A mask head then learns to read the defect's mask off the denoiser's and the
autoencoder's features, so that image and mask come out of one sampling.

``losses.py`` holds the maths, ``mask_head.py`` the mask branch, ``stages.py`` the two trainings, this file the tokens,
the sampling and the weights. Ours, each a named option whose other value is the published code's: LoRA instead of all
weights, new token rows alone, learned batch-norm statistics, random partner normals, no 0/0 on small defects. Ours
without a switch: the autoencoder's draw for the start is seeded; guidance 1 still gives masks; shots with small defects
are cropped around them (``crop="off"`` for the published way).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ias_zoo.data.images import encode_png, write_whole
from ias_zoo.diffusion.base import Base, gaussian, generator, open_base, undisturbed
from ias_zoo.diffusion.sampling import denoise
from ias_zoo.diffusion.taps import FeatureTap
from ias_zoo.diffusion.tokens import NewRows, add_words
from ias_zoo.errors import OptionError, RequestError, WeightsError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.synthesizer import Drawn, Request, Setup
from ias_zoo.training.lora import add_lora, load_lora, save_lora
from ias_zoo.training.report import TrainingReport
from ias_zoo.training.shots import TrainingSet, centre_square, choose_crop
from ias_zoo.training.trainable import FitRun, TrainableSynthesizer
from ias_zoo.training.trainer import PREVIEW, Schedule, train
from ias_zoo_seas.mask_head import MaskHead
from ias_zoo_seas.stages import UNET_FEATURES, VAE_FEATURES, Batches, GeneratorStage, MaskStage

if TYPE_CHECKING:
    import os

    from ias_zoo.hub import Manifest
    from ias_zoo.synthesizer import RGB
    from ias_zoo_seas.options import SeaSOptions

PRODUCT, WORDS = "ob1", 4
SD_SCALE = 0.18215  # scaling factor of Stable Diffusion 1.x's autoencoder
MASK_STEPS = 3  # the last sampling steps whose masks are averaged
LORA = "unet_lora"
TOKENS, HEAD, FULL = "tokens.safetensors", "mask_head.safetensors", "unet.safetensors"

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
EVERYTHING = [*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
EVERYTHING += ["conv1", "conv2", "conv_shortcut", "time_emb_proj"]


class SeaS(TrainableSynthesizer):
    """SeaS (see the module's docstring)."""

    options: SeaSOptions
    devices = ("cpu", "cuda")
    trained_options = ("train_unet", "rank", "alpha", "lora_targets", "lora_start", "train_tokens", "mask_channels")

    def __init__(self, setup: Setup) -> None:
        self._base: Base | None = None
        self._tokens: Any = None
        self._head: MaskHead | None = None
        self._crop: int | None = None
        self._texts: dict[str, torch.Tensor] = {}
        super().__init__(setup)

    def to(self, device: str) -> SeaS:
        """Move to a device."""
        if self._base is not None and self.options.offload:
            raise OptionError("weights that are offloaded stay on their device; load again with device=")
        self._device, self._texts = device, {}
        if self._base is not None:
            from ias_zoo.diffusion.base import pick_device

            place = pick_device(device)
            for part in (self._base.vae, self._base.unet, self._base.text_encoder, self._head):
                if part is not None:
                    part.to(place)
            self._base.device = place
        return self

    # Prompts

    def prompt(self, defect: str, defects: tuple[str, ...]) -> str:
        """``a ob1 with`` and the four words of a defect type."""
        first = WORDS * defects.index(defect)
        return " ".join(["a", PRODUCT, "with", *(f"sks{first + n}" for n in range(1, WORDS + 1))])

    # Training

    def train(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """Both stages, on a base opened anew."""
        options = self.options
        if options.offload:
            raise OptionError("offload=true is for sampling; gradient_checkpointing=true saves memory in training")
        base = self._open(self.setup.base, self.setup.dtype or "float32")
        self._add_tokens(base, data.defects)
        trained = self._prepare_unet(base)
        small = base.small
        crop = choose_crop(data.shots, base.resolution, base.cell, run.crop)
        prompts = {defect: self.prompt(defect, data.defects) for defect in data.defects}
        report = TrainingReport(self.method.name, base.name, base.resolution, crop, data.files, data.defects)
        self._crop = crop

        def schedule(steps: int) -> Schedule:
            return Schedule(
                steps=len(data.defects) * steps,
                accumulate=options.accumulate,
                checkpoint_every=options.checkpoint_every,
                preview_every=run.preview_every,
                mixed_precision=options.mixed_precision,
                ema=options.ema,
            )

        def batches(stage: str) -> Batches:
            seed = seed_for(run.seed, stage)
            return Batches(data, options, base.resolution, crop, prompts, f"a {PRODUCT}", seed)

        head = self._new_head(base)

        def preview(step: int, folder: Path) -> None:
            self._preview(base, head, data, folder / PREVIEW.format(step=step))

        rates = self._rates(trained, small)
        generator_stage = GeneratorStage(base, batches("generator"), options, self._tokens, rates, preview)
        mask_stage = MaskStage(base, batches("mask"), options, head, preview)
        steps = options.steps or (200 if small else 800)
        mask_steps = options.mask_steps or (120 if small else 800)
        for stage, count in ((generator_stage, steps), (mask_stage, mask_steps)):
            plan = schedule(count)

            def told(number: int, loss: float, name: str = stage.name, total: int = plan.steps) -> None:
                run.step(name, number + 1, total, loss)

            report.stages.append(train(stage, plan, base.device, folder=run.folder, resume=run.resume, step=told))
            generator_stage.close()
            base.unet.requires_grad_(False)
            self._tokens.requires_grad_(False)
        self._base, self._head, self._texts = base, mask_stage.head, {}
        return report

    def _preview(self, base: Base, head: MaskHead, data: TrainingSet, path: Path) -> None:
        """One sample a defect type, masks beside, as the model is now; training goes on as if it had not been."""
        tiles = []
        training = [module for module in (base.unet, head) if module.training]
        for module in training:
            module.eval()
        with torch.no_grad(), undisturbed(base.device):
            for number, defect in enumerate(data.defects):
                normal = data.normals.read(number % len(data.normals)).image
                rng = np.random.default_rng(number)
                made = self._sample(base, head, data.defects, defect, normal, rng)
                mask = np.repeat(made.mask[:, :, None].astype(np.uint8) * 255, 3, axis=2)
                tiles.append(np.concatenate([made.image, mask], axis=0))
        for module in training:
            module.train()
        write_whole(path, encode_png(np.concatenate(tiles, axis=1)))

    def _open(self, base: str | os.PathLike[str] | None, dtype: str | None) -> Base:
        options = self.options
        return open_base(
            base,
            self.method.base,
            device=self._device,
            dtype=dtype,
            channels_last=options.channels_last,
            attention_slicing=options.attention_slicing,
        )

    def _add_tokens(self, base: Base, defects: tuple[str, ...]) -> None:
        words = {PRODUCT: "object"}
        words |= {f"sks{n}": "defect" for n in range(1, WORDS * len(defects) + 1)}
        new = add_words(base.tokenizer, base.text_encoder, words)
        if self.options.train_tokens == "all":  # the published code: every row trains, and decays
            merged = torch.nn.Embedding(len(new.weight), new.weight.shape[1], _weight=new.weight.detach().float())
            base.text_encoder.set_input_embeddings(merged.to(base.device))
            self._tokens = merged
        else:
            self._tokens = new

    def _prepare_unet(self, base: Base) -> str:
        """Make the denoiser trainable; gives what trains."""
        options = self.options
        if options.train_unet == "full":
            base.unet.requires_grad_(True)
        else:
            targets = ATTENTION if options.lora_targets == "attention" else EVERYTHING
            add_lora(base.unet, options.rank, targets, alpha=options.alpha, start=options.lora_start)
        if options.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
        return options.train_unet

    def _rates(self, trained: str, small: bool) -> tuple[float, float]:
        lora = trained == "lora"
        if small:
            unet, tokens = (2e-3 if lora else 2e-4), 1e-2
        else:
            unet, tokens = (2e-4, 2e-3) if lora else (4e-6, 4e-5)
        return self.options.lr or unet, self.options.token_lr or tokens

    def _new_head(self, base: Base) -> MaskHead:
        widths = self.options.mask_channels or ((32, 16) if base.small else (128, 64))
        unet = tuple(reversed(base.unet.config.block_out_channels))
        vae = tuple(reversed(base.vae.config.block_out_channels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("mask head"))
            return MaskHead((unet[1], unet[2]), vae[:3], widths).to(base.device)

    # Sampling

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """One image with its mask, at the base's size."""
        defects = self.defects
        assert self._base is not None and self._head is not None  # noqa: S101, PT018 - fitted
        base = self._base
        defect = request.defect or (defects[0] if len(defects) == 1 else None)
        if defect is None or defect not in defects:
            known = ", ".join(defects)
            raise RequestError(f"request.defect is {request.defect!r}; these weights know {known}")
        with undisturbed(base.device):
            return self._sample(base, self._head, defects, defect, request.normal, rng)

    def _sample(
        self, base: Base, head: MaskHead, defects: tuple[str, ...], defect: str, normal: RGB | None,
        rng: np.random.Generator,
    ) -> Drawn:  # fmt: skip
        """Start, denoise, decode; the mask is the mean of the last three steps' predictions, above the threshold."""
        options = self.options
        generators = [generator(int(rng.integers(2**63)))]
        start = self._first_latents(base, normal, rng, generators)
        small = base.small
        guidance = options.guidance or (3.0 if small else 8.0)
        masks: list[torch.Tensor] = []
        with torch.no_grad(), FeatureTap(base.unet, UNET_FEATURES) as unet_tap:
            text, empty = (self._embedded(base, prompt) for prompt in (self.prompt(defect, defects), ""))

            def collect(number: int, timestep: int, latents: torch.Tensor) -> None:
                if number < options.sampling_steps - MASK_STEPS:
                    return
                with FeatureTap(base.vae, VAE_FEATURES) as vae_tap:
                    base.decode(latents)
                features = [feature[-1:].float() for feature in unet_tap.features]  # those of the prompt
                masks.append(self._predict(head, features, [feature.float() for feature in vae_tap.features]))

            latents = denoise(base, start, text, empty, steps=options.sampling_steps, guidance=guidance, before=collect)
            pixels = base.decode(latents)[0]
        probability = torch.stack(masks).mean(dim=0)[0].cpu().numpy()
        image = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        mask = probability > (options.mask_threshold or (0.5 if small else 0.2))
        if options.fill_holes:
            mask = _filled(mask)
        return Drawn(
            image=np.ascontiguousarray(image),
            mask=mask,
            label_map=np.ascontiguousarray(probability, dtype=np.float32),
            drawn={"prompt": self.prompt(defect, defects), "guidance": guidance},
            defect=defect,
        )

    def _embedded(self, base: Base, prompt: str) -> torch.Tensor:
        """A prompt's embedding; those of finished weights are kept, for a run asks for the same few again and again."""
        if base is not self._base:
            return base.embed([prompt])
        if prompt not in self._texts:
            self._texts[prompt] = base.embed([prompt])
        return self._texts[prompt]

    def _first_latents(
        self, base: Base, normal: RGB | None, rng: np.random.Generator, generators: list[torch.Generator]
    ) -> torch.Tensor:
        """x_T = sqrt(a) z_ref + sqrt(1 - a) n: a faint hint of the normal's colours.

        z_ref is unscaled as published: the denoiser's latents over Stable Diffusion's 0.18215. Other bases scale
        their latents by another factor (the embedded one by 1), so dividing by theirs would change the hint.
        """
        shape = (base.unet.config.in_channels, base.resolution // base.cell, base.resolution // base.cell)
        if normal is None:
            return gaussian(shape, generators, base.device)
        picture = centre_square(normal, base.resolution, self._crop, rng)
        pixels = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
        with torch.no_grad():
            reference = base.encode(pixels, generators) / SD_SCALE
        alpha = start_alpha(self.options.start_step)
        start: torch.Tensor = alpha**0.5 * reference + (1 - alpha) ** 0.5 * gaussian(shape, generators, base.device)
        return start

    def _predict(
        self, head: MaskHead, unet_features: list[torch.Tensor], vae_features: list[torch.Tensor]
    ) -> torch.Tensor:
        if self.options.batch_norm == "eval":
            alone: torch.Tensor = head.eval().predict(unet_features, vae_features)
            return alone
        kept = {name: buffer.clone() for name, buffer in head.named_buffers()}
        try:
            joint: torch.Tensor = head.train().predict(unet_features, vae_features)
            return joint
        finally:  # the statistics of one sample must not reach the next
            for name, buffer in head.named_buffers():
                buffer.copy_(kept[name])
            head.eval()

    # Weights

    def base_identity(self) -> tuple[str, str | None]:
        """Name and commit of the base."""
        assert self._base is not None  # noqa: S101 - fitted
        return self._base.name, self._base.revision

    def write_parts(self, folder: Path) -> None:
        """The adapter in peft's format (or the whole denoiser), the new rows, the mask head."""
        assert self._base is not None and self._head is not None  # noqa: S101, PT018 - fitted
        unet = self._base.unet
        if self.options.train_unet == "lora":
            save_lora(unet, folder / LORA)
        else:
            save_file({name: tensor.cpu().contiguous() for name, tensor in unet.state_dict().items()}, folder / FULL)
        rows = self._tokens.rows if isinstance(self._tokens, NewRows) else self._tokens.weight
        save_file({"rows": rows.detach().cpu().contiguous()}, folder / TOKENS)
        save_file({name: t.detach().cpu().contiguous() for name, t in self._head.state_dict().items()}, folder / HEAD)

    def read_parts(self, folder: Path, manifest: Manifest) -> None:
        """Open the manifest's base and put on it what was trained."""
        base = self._open(self.base_of(manifest), self.setup.dtype)
        self._add_tokens(base, manifest.defects)
        self._crop = manifest.facts.get("crop")
        try:
            if self.options.train_unet == "lora":
                load_lora(base.unet, folder / LORA)
            else:
                base.unet.load_state_dict(load_file(folder / FULL))
            rows = load_file(folder / TOKENS)["rows"]
            target = self._tokens.rows if isinstance(self._tokens, NewRows) else self._tokens.weight
            with torch.no_grad():
                if target.shape != rows.shape:
                    raise ValueError(
                        f"the new words have {tuple(rows.shape)} numbers, this base takes {tuple(target.shape)}"
                    )
                target.copy_(rows)
            self._head = self._new_head(base)
            self._head.load_state_dict(load_file(folder / HEAD))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WeightsError(f"{folder}: the weights do not fit base {base.name}: {first}") from error
        base.unet.requires_grad_(False).eval()
        self._tokens.requires_grad_(False)
        self._head.requires_grad_(False).eval()
        if self.options.offload:
            base.offload()
        self._base = base


def start_alpha(step: int) -> float:
    """The cumulative product of a scaled-linear schedule with ``step`` points on Stable Diffusion's range of betas.

    1500 points give sqrt(alpha) = 0.017841; 0 points give 1: the reference itself.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, max(step, 1), dtype=torch.float64) ** 2
    return float((1 - betas).prod()) if step else 1.0


def _filled(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Fill every hole that does not touch the border."""
    padded = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(padded, None, (0, 0), 2)
    return np.asarray(padded[1:-1, 1:-1] != 2, dtype=np.bool_)
