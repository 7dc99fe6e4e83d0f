"""Train the denoiser and the text encoder together, on latents that are computed first."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import Training, pick_device, read_shards, to_unit
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as nnf
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from words import LENGTH, save_tokenizer, train_tokenizer

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
    # as Stable Diffusion 2.1: learns a picture's brightness and colour far sooner than epsilon, whose loss hardly
    # sees them (at the last timestep an error of z counts alpha_bar / (1 - alpha_bar) = 0.5 % of one of v)
    "prediction_type": "v_prediction",
}
WIDTHS, HEAD = (64, 96, 160, 160), 32


def build_unet(latent_channels: int, text_width: int) -> UNet2DConditionModel:
    """Make the untrained denoiser: Stable Diffusion 1.x's blocks, narrower and with one layer each.

    Residual branches and the output start at zero, as in Dhariwal and Nichol's networks (NeurIPS 2021).
    """
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=text_width,
        # diffusers reads this as the number of heads
        attention_head_dim=tuple(width // HEAD for width in WIDTHS),
    )
    last = [module.conv2 for module in unet.modules() if isinstance(module, ResnetBlock2D)]
    last += [module.proj_out for module in unet.modules() if isinstance(module, Transformer2DModel)]
    for module in (*last, unet.conv_out):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    return unet


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Make the untrained text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            projection_dim=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def encode(autoencoder: AutoencoderKL, images: torch.Tensor, device: torch.device, flips: bool) -> torch.Tensor:
    """Turn pictures into scaled latents (the posterior's means); with flips, both mirrored ways as well."""
    parts = []
    with torch.no_grad():
        for part in images.split(16):
            target = to_unit(part, device)
            for view in (target, target.flip(2), target.flip(3)) if flips else (target,):
                parts.append(autoencoder.encode(view).latent_dist.mean * autoencoder.config.scaling_factor)
    if not flips:
        return torch.cat(parts).cpu()
    return torch.stack([torch.cat(parts[view::3]) for view in range(3)], dim=1).flatten(0, 1).cpu()


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Turn captions into N x 77 token numbers."""
    return tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids


class Denoising:
    """The loss: how well v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) z is told, given z_t and the caption."""

    def __init__(self, unet: UNet2DConditionModel, text: CLIPTextModel, empty: torch.Tensor) -> None:
        self.unet, self.text, self.empty = unet, text, empty
        self.schedule = DDPMScheduler(**SCHEDULE)

    def __call__(
        self, latents: torch.Tensor, tokens: torch.Tensor, rng: torch.Generator, dropout: float
    ) -> torch.Tensor:
        """Give the mean squared error over a batch, each picture at a timestep of its own."""
        device, count = self.unet.device, len(latents)
        steps = torch.randint(1000, (count,), generator=rng)
        noise = torch.randn(latents.shape, generator=rng)
        dropped = torch.rand(count, 1, generator=rng) < dropout
        noisy = self.schedule.add_noise(latents, noise, steps).to(device, memory_format=torch.channels_last)
        words = self.text(torch.where(dropped, self.empty, tokens).to(device)).last_hidden_state
        predicted = self.unet(noisy, steps.to(device), words).sample
        return nnf.mse_loss(predicted, self.schedule.get_velocity(latents, noise, steps).to(device))


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="shards from make_data.py")
    parser.add_argument("--held-out", type=Path, required=True, help="shards to measure on")
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder in which train_autoencoder.py saved it")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, latents and tokenizer")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="stop after this time")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--dropout", type=float, default=0.1, help="share of empty captions, for guidance")
    parser.add_argument("--flips", action="store_true", help="train on mirrored pictures as well")
    parser.add_argument("--checkpoint-every", type=int, default=500)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--start", type=Path, help="folder of another run, whose weights to begin with")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = pick_device(args.device, args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)

    autoencoder = AutoencoderKL.from_pretrained(args.autoencoder / "model").to(device).eval()
    images, captions = read_shards(args.data)
    cache = args.out / "latents.safetensors"
    if not cache.exists():
        save_file({"latents": encode(autoencoder, images, device, args.flips).contiguous()}, cache)
        print("latents are ready", flush=True)
    latents = load_file(cache)["latents"]
    captions = [text for text in captions for _ in range(len(latents) // len(images))]
    tokenizer = train_tokenizer(captions)
    save_tokenizer(tokenizer, args.out / "tokenizer")
    tokens, empty = tokenize(tokenizer, captions), tokenize(tokenizer, [""])
    measured_images, measured_captions = read_shards(args.held_out)
    measured = encode(autoencoder, measured_images[:128], device, flips=False)
    measured_tokens = tokenize(tokenizer, measured_captions[:128])
    del images, measured_images

    unet = build_unet(latents.shape[1], 128).to(device, memory_format=torch.channels_last)
    text = build_text_encoder(tokenizer).to(device)
    training = Training(
        {"unet": unet, "text_encoder": text}, args.out,
        rate=args.rate, steps=args.steps, minutes=args.minutes, average=0.999, start=args.start,
    )  # fmt: skip
    denoising = Denoising(unet, text, empty)
    rng = torch.Generator().manual_seed(args.seed + training.step)
    while training.progress < 1:
        chosen = torch.randint(len(latents), (args.batch,), generator=rng)
        loss = denoising(latents[chosen], tokens[chosen], rng, args.dropout)
        training.advance(loss, {"loss": float(loss.detach())})
        if training.step % args.checkpoint_every == 0 or training.progress >= 1:
            same = torch.Generator().manual_seed(1)  # the same noise each time, so that lines can be compared
            with torch.no_grad():
                pairs = zip(measured.split(32), measured_tokens.split(32), strict=True)
                values = [denoising(part, ids, same, 0.0) for part, ids in pairs]
            training.note({"held_out": round(float(torch.stack(values).mean()), 5)})
            training.save()


if __name__ == "__main__":
    main()
