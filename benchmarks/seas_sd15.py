"""What SeaS takes at Stable Diffusion 1.5's size: trainable parameters, and the peak memory of one LoRA step on a CPU.

Random weights of the true shapes; 512 x 512 pictures; the published micro-batch of 2 shots and 2 normals unless
``--batch`` says otherwise. One step takes minutes::

    python benchmarks/seas_sd15.py --dtype bfloat16 --checkpointing
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import ias_zoo
from ias_zoo import tiny
from ias_zoo.diffusion.base import Base
from ias_zoo.testing.subject import toy_set
from ias_zoo.training.shots import load_shots
from ias_zoo_seas.stages import Batches, GeneratorStage


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def random_base(dtype: torch.dtype) -> Base:
    """Stable Diffusion 1.5's parts, untrained."""
    tokenizer = CLIPTokenizer.from_pretrained(tiny.path() / "tokenizer")  # 77 tokens a prompt, as any
    torch.set_default_dtype(dtype)
    parts = {
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            sample_size=512,
        ),
        "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=768,
                intermediate_size=3072,
                num_hidden_layers=12,
                num_attention_heads=12,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        ),
    }
    torch.set_default_dtype(torch.float32)
    for part in parts.values():
        part.requires_grad_(False).eval()
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return Base(
        "random", None, **parts, tokenizer=tokenizer, scheduler=scheduler, device=torch.device("cpu"), dtype=dtype
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=2, help="shots in the micro-batch, beside as many normals")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    made = ias_zoo.load("seas", base="tiny", device="cpu", batch=args.batch, gradient_checkpointing=args.checkpointing)
    with TemporaryDirectory() as scratch:
        data = load_shots(toy_set(Path(scratch)), shots=4)
        empty = peak_mb()
        base = random_base(dtype)
        print(f"weights: {peak_mb() - empty:.0f} MB above {empty:.0f} MB of libraries")
        made._add_tokens(base, data.defects)
        made._prepare_unet(base)
        base.unet.train()
        prompts = {"scratch": made.prompt("scratch", data.defects)}
        batches = Batches(data, made.options, 512, None, prompts, "a ob1", 0)
        stage = GeneratorStage(base, batches, made.options, made._tokens, (2e-4, 2e-3))
        trained = sum(p.numel() for group in stage.parameter_groups() for p in group["params"])
        print(f"trainable: {trained:,} of {sum(p.numel() for p in base.unet.parameters()):,}")
        optimizer = torch.optim.AdamW(stage.parameter_groups())
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = torch.stack(list(stage.loss(0, 0).values())).sum()
        loss.backward()
        optimizer.step()
        print(
            f"one step: loss {float(loss.detach()):.3f}, {time.perf_counter() - started:.0f} s, peak {peak_mb():.0f} MB"
        )


if __name__ == "__main__":
    main()
