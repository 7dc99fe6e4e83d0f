"""Hyper-parameters of SeaS. Where the default is null, it follows from the base (see the card)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option


@dataclass(frozen=True)
class SeaSOptions:
    """Options of SeaS; the published values are the defaults at 512 pixels."""

    train_unet: Literal["lora", "full"] = option(
        "lora", "adapters on the denoiser (ours), or all its weights (published)"
    )
    rank: Annotated[int, Ge(1)] = option(16, "rank of the adapters")
    lora_targets: Literal["attention", "all"] = option(
        "all", "layers with adapters: attention alone, or also feed-forward, projection and residual layers"
    )
    alpha: Annotated[float, Gt(0)] | None = option(None, "scale of the adapters is alpha / rank; null: the rank")
    lora_start: Literal["gaussian", "kaiming"] = option("gaussian", "how the adapters' A starts; B is 0")
    train_tokens: Literal["new", "all"] = option("new", "rows of the token embedding that train; published code: all")
    turn: bool = option(True, "turn and mirror shots at random; switch off for products in one pose")
    partner: Literal["random", "fixed"] = option(
        "random", "normal beside a shot: any, or always the same (published code)"
    )
    normals: Annotated[int, Ge(1)] = option(60, "how many normals take part")
    steps: Annotated[int, Ge(1)] | None = option(None, "generator steps a defect type; null: 800, at 128 pixels 200")
    mask_steps: Annotated[int, Ge(1)] | None = option(
        None, "mask head steps a defect type; null: 800, at 128 pixels 120"
    )
    lr: Annotated[float, Gt(0)] | None = option(
        None, "denoiser's rate; null: 4e-6 for all weights, 2e-4 for LoRA, at 128 pixels 2e-4 and 2e-3"
    )
    token_lr: Annotated[float, Gt(0)] | None = option(
        None, "new tokens' rate; null: 4e-5, with LoRA 2e-3, at 128 pixels 1e-2"
    )
    mask_lr: Annotated[float, Gt(0)] = option(5e-4, "mask head's learning rate")
    batch: Annotated[int, Ge(1)] = option(2, "shots in a micro-batch, beside as many normals")
    accumulate: Annotated[int, Ge(1)] = option(2, "micro-batches a step")
    normalise: Literal["batch", "image"] = option(
        "batch", "attention maps are scaled to 0..1 over the micro-batch or each"
    )
    attention_maps: Literal["encoder", "both"] = option(
        "encoder", "layers aligned: the encoder's, or the decoder's too"
    )
    defect_cells: Literal["any", "full"] = option(
        "any", "cells the normal token must leave: any defect in it, or all (code)"
    )
    mask_noise: Annotated[int, Interval(ge=1, le=1000)] | None = option(
        None, "the mask head trains on timesteps below this; null: 1000 (published), at 128 pixels 200"
    )
    mask_target: Literal["half", "full"] = option(
        "half", "target pixels that are defect: above one half, or exactly 1 (code)"
    )
    mask_channels: tuple[int, int] | None = option(None, "mask head's widths; null: [128, 64], at 128 pixels [32, 16]")
    batch_norm: Literal["eval", "batch"] = option(
        "eval", "mask head's statistics: learned, or the batch's (published code)"
    )
    sampling_steps: Annotated[int, Ge(3)] = option(25, "DPM-Solver++ steps")
    guidance: Annotated[float, Ge(1)] | None = option(None, "classifier-free guidance; null: 8, at 128 pixels 3")
    start_step: Annotated[int, Ge(0)] = option(1500, "noise level of the start, in steps of the extended schedule")
    mask_threshold: Annotated[float, Interval(gt=0, lt=1)] | None = option(
        None, "mean defect probability above which it is mask; null: 0.2, at 128 pixels 0.5"
    )
    fill_holes: bool = option(False, "fill holes of the mask (ours)")
    ema: Annotated[float, Interval(ge=0, lt=1)] = option(0.0, "decay of a moving average of the weights; 0: none")
    gradient_checkpointing: bool = option(False, "less memory, more time")
    mixed_precision: Literal["no", "fp16", "bf16"] = option("no", "precision of the training steps")
    channels_last: bool = option(False, "pictures channel by channel last in memory: faster on some machines")
    attention_slicing: bool = option(False, "less memory for attention, more time")
    offload: bool = option(False, "for sampling: weights wait on the CPU until they are used")
    checkpoint_every: Annotated[int, Ge(0)] = option(200, "steps between checkpoints; 0: at the end only")
