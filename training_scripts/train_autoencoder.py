"""Train the autoencoder: 128 x 128 pictures to 16 x 16 latents and back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from common import Training, averaged, pick_device, read_shards, to_unit
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn import functional as nnf

GUIDED_UNTIL, LED_UNTIL = 0.15, 0.6  # see Principal
FULL_SIZE_FROM = 0.8  # small crops are quick; the last part is trained on whole pictures


def build(latent_channels: int) -> AutoencoderKL:
    """Make the untrained autoencoder.

    The initial weights are our choice: orthogonal convolutions with weak residual branches, and a posterior that
    starts out narrow instead of as wide as the latents.
    """
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(24, 48, 96, 128),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=128,
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight.view(len(module.weight), -1))
                nn.init.zeros_(module.bias)
        for module in model.modules():
            if isinstance(module, ResnetBlock2D):
                module.conv2.weight *= 0.1
        model.quant_conv.weight[latent_channels:] = 0
        model.quant_conv.bias[latent_channels:] = -8  # the logarithm of the variance
    return model


class Principal:
    """Principal components of 8 x 8 patches, as a first idea of what the latents should say (our design).

    Left alone, the latents spend thousands of steps as many copies of the mean brightness. So at first the decoder
    decodes these components while the encoder learns to tell them; then both train together, and the pull towards
    the components fades.
    """

    def __init__(self, images: torch.Tensor, channels: int, device: torch.device) -> None:
        sample = to_unit(images[:: max(1, len(images) // 1000)], device)
        patches = nnf.pixel_unshuffle(sample, 8).transpose(0, 1).flatten(1)
        self.mean = patches.mean(dim=1)
        values, vectors = torch.linalg.eigh(torch.cov(patches))
        self.rows = (vectors[:, -channels:] / values[-channels:].sqrt()).T.contiguous()

    def __call__(self, target: torch.Tensor) -> torch.Tensor:
        """Give the components, each of mean 0 and spread 1 over the data."""
        patches = nnf.pixel_unshuffle(target, 8) - self.mean[:, None, None]
        return torch.einsum("cp,bphw->bchw", self.rows, patches)


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Absolute error of the pixels, of their differences to the neighbours, and of two reduced sizes; squared error."""
    error = output - target
    loss = error.abs().mean() + 4 * error.square().mean()
    loss = loss + 0.25 * (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean())
    for factor in (2, 4):
        loss = loss + 0.5 * nnf.avg_pool2d(error, factor).abs().mean()
    return loss


def draw_batch(images: torch.Tensor, batch: int, side: int, rng: torch.Generator) -> torch.Tensor:
    """Cut random squares out of random pictures, mirrored and transposed at random."""
    top, left = torch.randint(0, images.shape[-1] - side + 1, (2, batch), generator=rng).tolist()
    chosen = torch.randint(len(images), (batch,), generator=rng).tolist()
    crops = []
    for index, y, x in zip(chosen, top, left, strict=True):
        crop = images[index, :, y : y + side, x : x + side]
        flip_y, flip_x, transpose = torch.randint(2, (3,), generator=rng).tolist()
        crop = crop.flip([axis for axis, on in ((1, flip_y), (2, flip_x)) if on])
        crops.append(crop.transpose(1, 2) if transpose else crop)
    return torch.stack(crops)


def psnr(model: AutoencoderKL, images: torch.Tensor, device: torch.device) -> float:
    """Mean over pictures of the reconstruction's peak signal-to-noise ratio in dB."""
    values = []
    with torch.no_grad():
        for part in images.split(16):
            target = to_unit(part, device)
            output = model.decode(model.encode(target).latent_dist.mode()).sample.clamp(-1, 1)
            values.append(-10 * torch.log10(((output - target) / 2).square().mean(dim=(1, 2, 3)) + 1e-12))
    return float(torch.cat(values).mean())


def latents_of(model: AutoencoderKL, images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Encode pictures to the posterior's means."""
    with torch.no_grad():
        return torch.cat([model.encode(to_unit(part, device)).latent_dist.mode() for part in images.split(16)])


def centre(model: AutoencoderKL, latents: torch.Tensor) -> None:
    """Give every latent channel mean 0 and the same spread, without changing what is decoded.

    Diffusion starts from noise of mean 0 and tells channels of equal spread best. Both convolutions next to the
    latents are 1 x 1, so the shift and the scale fold into them exactly.
    """
    count = latents.shape[1]
    mean, spread = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    before, after = model.quant_conv, model.post_quant_conv
    with torch.no_grad():
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= spread[None, :, None, None]
        before.bias[:count] = (before.bias[:count] - mean) / spread
        before.weight[:count] /= spread[:, None, None, None]
        before.bias[count:] -= 2 * spread.log()


def finish(model: AutoencoderKL, images: torch.Tensor, out: Path, device: torch.device) -> None:
    """Load the averaged weights, centre the latents, set the scaling factor so that their spread is 1, and save."""
    model.load_state_dict(averaged(out, "autoencoder"))
    model.eval()
    sample = images[:: max(1, len(images) // 1000)]
    raw = latents_of(model, sample, device)
    centre(model, raw)
    latents = latents_of(model, sample, device)
    model.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    model.save_pretrained(out / "model")
    facts = {"latent_std": float(latents.std()), "raw_channel_std": raw.std(dim=(0, 2, 3)).tolist()}
    (out / "latents.json").write_text(json.dumps(facts, indent=1))
    print(facts)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="shards from make_data.py")
    parser.add_argument("--held-out", type=Path, required=True, help="shards to measure on")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, and at the end the model")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="stop after this time")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--kl", type=float, default=1e-4, help="weight of the KL term, a mean over latents")
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--checkpoint-every", type=int, default=400)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = pick_device(args.device, args.threads)
    torch.manual_seed(args.seed)
    images, _ = read_shards(args.data)
    held_out, _ = read_shards(args.held_out)
    model = build(args.latent_channels).to(device, memory_format=torch.channels_last)
    training = Training(
        {"autoencoder": model}, args.out, rate=args.rate, steps=args.steps, minutes=args.minutes, average=0.995
    )
    principal = Principal(images, args.latent_channels, device)
    rng = torch.Generator().manual_seed(args.seed + training.step)
    while training.progress < 1:
        side, batch = (64, args.batch) if training.progress < FULL_SIZE_FROM else (128, max(1, args.batch // 4))
        target = to_unit(draw_batch(images, batch, side, rng), device)
        posterior, latents = model.encode(target).latent_dist, principal(target)
        guided = training.progress < GUIDED_UNTIL
        code = latents + 0.05 * torch.randn_like(latents) if guided else posterior.sample()
        loss = reconstruction_loss(model.decode(code.contiguous(memory_format=torch.channels_last)).sample, target)
        pull = nnf.smooth_l1_loss(posterior.mean, latents)
        strength = max(0.0, 1 - training.progress / LED_UNTIL)
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        shown = {"loss": float(loss.detach()), "pull": float(pull.detach()), "kl": float(kl.detach())}
        training.advance(loss + strength * pull + args.kl * kl, shown)
        if training.step % args.checkpoint_every == 0 or training.progress >= 1:
            training.note({"psnr_held_out": round(psnr(model, held_out[:64], device), 2)})
            training.save()
    finish(model, images, args.out, device)


if __name__ == "__main__":
    main()
