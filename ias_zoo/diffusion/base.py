"""Open a text-to-image latent-diffusion model in parts.

Any model of the Stable Diffusion 1.x/2.x architecture in diffusers' format, or of the older LDM text-to-image one with
its BERT-like text encoder (CompVis/ldm-text2im-large-256): a folder, a Hub repository, or ``tiny``, the one that comes
with the zoo. safetensors only; nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from ias_zoo.diffusion.fetch import fetch_base
from ias_zoo.errors import OptionError, WeightsError
from ias_zoo.training.devices import gaussian, generator, pick_device, undisturbed

if TYPE_CHECKING:
    from ias_zoo.method import Base as BaseId

__all__ = ["Base", "gaussian", "generator", "open_base", "pick_device", "undisturbed"]

# The part of each role, by the name of its folder, and its class.
_STABLE_DIFFUSION = {
    "vae": ("vae", "AutoencoderKL"),
    "unet": ("unet", "UNet2DConditionModel"),
    "text_encoder": ("text_encoder", "CLIPTextModel"),
    "tokenizer": ("tokenizer", "CLIPTokenizer"),
}
_LDM = {
    "vae": ("vqvae", "AutoencoderKL"),
    "unet": ("unet", "UNet2DConditionModel"),
    "text_encoder": ("bert", "LDMBertModel"),
    "tokenizer": ("tokenizer", "BertTokenizer"),
}
SMALL = 128
"""Pixels. On bases of this size and below methods may have other defaults: fewer steps, smaller networks."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Base:
    """The parts of a latent-diffusion model, on one device, frozen and in eval mode.

    Attributes
    ----------
    name, revision:
        What it was opened as: a repository id, ``tiny`` or a folder's name; and the commit, where there is one.
    scheduler:
        The noise schedule the model was trained with; samplers are made from its configuration.
    """

    name: str
    revision: str | None
    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: DDPMScheduler
    device: torch.device
    dtype: torch.dtype

    @property
    def cell(self) -> int:
        """Pixels a latent cell is wide (8 for Stable Diffusion)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def resolution(self) -> int:
        """The side of the square pictures the model was made for, in pixels."""
        return int(self.unet.config.sample_size) * self.cell

    @property
    def small(self) -> bool:
        """Whether it is a base to try things on, such as ``tiny``."""
        return self.resolution <= SMALL

    @property
    def text_length(self) -> int:
        """How many tokens the text encoder takes (77)."""
        return int(min(self.text_encoder.config.max_position_embeddings, self.tokenizer.model_max_length))

    def encode(self, pixels: torch.Tensor, generators: list[torch.Generator] | None) -> torch.Tensor:
        """Draw scaled latents from the autoencoder's posterior, one generator an image; without generators, its mean.

        Parameters
        ----------
        pixels:
            B x 3 x H x W in [-1, 1].

        Returns
        -------
        B x C x H/8 x W/8 float32, as the denoiser expects them.
        """
        posterior = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist
        latents: torch.Tensor = posterior.mean.float()
        if generators is not None:
            noise = gaussian(latents.shape[1:], generators, self.device)
            latents = latents + posterior.std.float() * noise
        return latents * float(self.vae.config.scaling_factor)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels of scaled latents: B x 3 x H x W, about [-1, 1], float32."""
        scaled = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        pixels: torch.Tensor = self.vae.decode(scaled).sample.float()
        return pixels

    def offload(self) -> None:
        """Let all weights wait on the CPU and visit the device layer by layer (accelerate's ``cpu_offload``).

        For sampling only, and last: nothing can be loaded or trained afterwards.
        """
        from accelerate import cpu_offload

        for part in (self.vae, self.unet, self.text_encoder):
            cpu_offload(part.to("cpu"), execution_device=self.device, offload_buffers=True)

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the denoiser was trained to tell of noisy latents: the noise, or v (Salimans and Ho, ICLR 2022).

        v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) latents, with a timestep for each image; B x C x h x w.
        """
        if self.predicts == "epsilon":
            return noise
        velocity: torch.Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
        return velocity

    def noise_of(self, output: torch.Tensor, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The noise in noisy latents by the denoiser's output, whichever of the two it tells; B x C x h x w."""
        if self.predicts == "epsilon":
            return output
        kept = self.scheduler.alphas_cumprod.to(noisy.device)[timesteps][:, None, None, None]
        noise: torch.Tensor = kept.sqrt() * output + (1 - kept).sqrt() * noisy
        return noise

    @property
    def predicts(self) -> str:
        """``epsilon`` or ``v_prediction``."""
        return str(self.scheduler.config.prediction_type)

    def token_ids(self, prompts: list[str]) -> torch.Tensor:
        """Prompts padded to the model's length, B x 77 int64. Longer ones are an error, not cut."""
        length = self.text_length
        with _TOKENIZING:
            ids = self.tokenizer(
                prompts, padding="max_length", max_length=length, truncation=False, return_tensors=None
            )
        for prompt, row in zip(prompts, ids["input_ids"], strict=True):
            if len(row) > length:
                raise OptionError(f"the prompt {prompt!r} has {len(row)} tokens; the text encoder takes {length}")
        return torch.tensor(ids["input_ids"], device=self.device)

    def word_ids(self, words: str) -> list[int]:
        """Token ids of words by themselves: no begin, no end, no padding."""
        with _TOKENIZING:
            ids: list[int] = self.tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    def embed(self, prompts: list[str]) -> torch.Tensor:
        """Text embeddings, B x 77 x D."""
        embeddings: torch.Tensor = self.text_encoder(self.token_ids(prompts))[0]
        return embeddings


def open_base(
    base: str | os.PathLike[str] | None,
    default: BaseId | None,
    *,
    device: str = "auto",
    dtype: str | None = None,
    channels_last: bool = False,
    attention_slicing: bool = False,
) -> Base:
    """Open a base.

    Parameters
    ----------
    base:
        ``tiny``, a folder, or a repository id with an optional ``@revision``; None takes ``default``.
    device:
        ``auto`` is the GPU when there is one.
    dtype:
        ``float32`` (default on a CPU), ``float16`` (default on a GPU) or ``bfloat16``.
    channels_last, attention_slicing:
        torch's memory format; attention a slice at a time. Less memory or time, by the machine.

    Raises
    ------
    WeightsError
        If it cannot be fetched, or is of another architecture.
    OptionError
        For an unknown device or dtype.
    """
    place = pick_device(device)
    if dtype is not None and dtype not in _DTYPES:
        raise OptionError(f"dtype={dtype!r}: expected one of {', '.join(_DTYPES)}")
    kind = _DTYPES[dtype] if dtype else (torch.float16 if place.type == "cuda" else torch.float32)
    folder, name, revision = fetch_base(base, default)
    parts = _check_architecture(folder, name)
    text_class, tokenizer_class = _text_classes(parts)
    with torch.random.fork_rng(devices=[]), _quiet():  # nobody's random state, no progress bars
        opened = Base(
            name=name,
            revision=revision,
            vae=AutoencoderKL.from_pretrained(folder / parts["vae"][0], use_safetensors=True, torch_dtype=kind),
            unet=UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True, torch_dtype=kind),
            text_encoder=text_class.from_pretrained(
                folder / parts["text_encoder"][0], use_safetensors=True, dtype=kind
            ),
            tokenizer=tokenizer_class.from_pretrained(folder / "tokenizer"),
            scheduler=DDPMScheduler.from_pretrained(folder / "scheduler"),
            device=place,
            dtype=kind,
        )
    if opened.predicts not in ("epsilon", "v_prediction"):
        raise WeightsError(f"base {name}: it predicts {opened.predicts}; expected epsilon or v_prediction")
    for part in (opened.vae, opened.unet, opened.text_encoder):
        part.requires_grad_(False).eval().to(place)
        if channels_last:
            part.to(memory_format=torch.channels_last)
    if attention_slicing:
        opened.unet.set_attention_slice("auto")
    return opened


_TOKENIZING = threading.Lock()  # a tokenizer keeps its padding as a setting: not for two threads at once


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar for reading a few files."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _text_classes(parts: dict[str, tuple[str, str]]) -> tuple[Any, Any]:
    if parts is _STABLE_DIFFUSION:
        return CLIPTextModel, CLIPTokenizer
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertModel
    from transformers import BertTokenizer

    return LDMBertModel, BertTokenizer


def _check_architecture(folder: Path, name: str) -> dict[str, tuple[str, str]]:
    """Refuse what cannot be opened; the parts' folders and classes, by role."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"base {name}: no model_index.json; expected a Stable Diffusion or LDM model in diffusers' format"
        ) from None
    except ValueError as error:
        raise WeightsError(f"base {name}: model_index.json is not JSON ({error})") from error
    parts, kind = (_LDM, "LDM text-to-image") if "bert" in index else (_STABLE_DIFFUSION, "Stable Diffusion 1.x or 2.x")
    for part, wanted in parts.values():
        found = (index.get(part) or [None, None])[1]
        if found is None or found.removesuffix("Fast") != wanted:
            raise WeightsError(f"base {name}: its {part} is {found}; expected {wanted} ({kind})")
    for role in ("vae", "unet", "text_encoder"):
        part = parts[role][0]
        if not list((folder / part).glob("*.safetensors")):
            raise WeightsError(
                f"base {name}: {part} has no safetensors file; pickled weights are not opened. To convert it once: "
                "download the repository, `python tools/convert_base.py DOWNLOADED NEW` in the zoo's sources, base=NEW"
            )
    return parts
