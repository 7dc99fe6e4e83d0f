"""Hyper-parameters of DualAnoDiff. Where the default is null, it follows from the base (see the card)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option


@dataclass(frozen=True)
class DualAnoDiffOptions:
    """Options of DualAnoDiff; the published values are the defaults at 512 pixels."""

    models: Literal["each", "joint"] = option(
        "each", "one set of adapters a defect type (published), or one for all, its name in the prompt (ours)"
    )
    rank: Annotated[int, Ge(1)] = option(32, "rank of all adapters; they count once (alpha is the rank)")
    saim_start: Literal["default", "zero"] | None = option(
        None, "interaction layers start as torch starts them, or at zero (ours); null: default, at 128 pixels zero"
    )
    bcm: Literal["off", "code", "paper"] = option(
        "off", "background compensation: off, mixed in as the code does, or added as the paper says"
    )
    bcm_latents: Literal["unscaled", "scaled"] = option(
        "unscaled",
        "the background's latents: as strong as the autoencoder gives them (published), or as the denoiser's",
    )
    foreground: Literal["otsu", "u2net"] = option("otsu", "bcm: how the product is told from the background")
    flip: bool = option(True, "mirror shots at random, both ways; switch off for products in one pose")
    steps: Annotated[int, Ge(1)] | None = option(None, "training steps a defect type; null: 5000, at 128 pixels 200")
    lr: Annotated[float, Gt(0)] | None = option(None, "adapters' rate; null: 2e-5, at 128 pixels 2e-3")
    saim_lr: Annotated[float, Gt(0)] | None = option(
        None, "interaction and background layers' rate; null: 2e-5, at 128 pixels 1e-3"
    )
    defect_share: Annotated[float, Interval(ge=0, lt=1)] | None = option(
        None,
        "least share of the loss that the defect's latent cells have (ours); null: 0 (published), at 128 pixels 0.05",
    )
    batch: Annotated[int, Ge(1)] | None = option(None, "pairs in a micro-batch; null: 4, with bcm or at 128 pixels 2")
    accumulate: Annotated[int, Ge(1)] = option(1, "micro-batches a step")
    sampling_steps: Annotated[int, Ge(1)] | None = option(None, "PNDM steps; null: 100, with bcm 50, at 128 pixels 25")
    guidance: Annotated[float, Ge(1)] | None = option(
        None,
        "classifier-free guidance; 1: none; null: 2.5, with bcm 2 (the authors took 1.2 for screws), at 128 px 1",
    )
    sampling_batch: Annotated[int, Ge(1)] | None = option(
        None, "pairs that are drawn at once; null: 1, at 128 pixels 8"
    )
    masks: Literal["distance", "u2net"] = option(
        "distance", "reads masks off the anomaly: its distance from grey (ours), or a U2-Net with u2net=FILE"
    )
    mask_threshold: Annotated[float, Interval(gt=0, lt=1)] | None = option(
        None,
        "distance from grey, or saliency, above which it is mask; null: half the anomaly's, 0.06 to 0.2; U2-Net 0.5",
    )
    u2net: str | None = option(None, "a safetensors file with the weights of the full U2-Net")
    ema: Annotated[float, Interval(ge=0, lt=1)] = option(0.0, "decay of a moving average of the weights; 0: none")
    gradient_checkpointing: bool = option(False, "less memory, more time")
    mixed_precision: Literal["no", "fp16", "bf16"] = option("no", "precision of the training steps")
    channels_last: bool = option(False, "pictures channel by channel last in memory: faster on some machines")
    checkpoint_every: Annotated[int, Ge(0)] | None = option(
        None, "steps between checkpoints; 0: at the end only; null: 1000, with bcm 500, at 128 pixels 100"
    )
