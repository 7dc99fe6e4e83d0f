"""The embedded base: a small model of Stable Diffusion's architecture that fits in the wheel.

With it, methods that fine-tune a diffusion model run on a CPU in minutes, for trying things out and for tests. How it
was trained, what it can do and what it cannot: README.md beside this file.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """Give the folder of the model, in the layout of diffusers: ``StableDiffusionPipeline.from_pretrained`` reads it.

    Pictures are 128 x 128, latents 8 x 16 x 16. The weights are half precision; ask for ``torch_dtype=torch.float32``
    on a CPU.
    """
    return Path(__file__).parent / "model"
