"""Hyper-parameters of DFMGAN. Where the default is null, it follows from the base or the length (see the card)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option

SIZES = ("resolution", "channels", "largest", "latent", "mapping_layers")
"""The options that a base fixes."""


@dataclass(frozen=True)
class DFMGANOptions:
    """Options of DFMGAN; the published values are the defaults at 256 pixels."""

    resolution: Literal[32, 64, 128, 256, 512] = option(256, "side of the pictures; a base fixes it")
    channels: Annotated[int, Ge(64)] = option(16384, "at r x r pixels channels / r, at most largest; a base fixes it")
    largest: Annotated[int, Ge(4)] = option(512, "the most channels of a layer; a base fixes it")
    latent: Annotated[int, Ge(4)] = option(512, "width of the latents; a base fixes it")
    mapping_layers: Annotated[int, Ge(1)] = option(2, "layers of a mapping network; a base fixes it")
    base_kimg: Annotated[float, Gt(0)] = option(3000, "base stage: thousand images to train on")
    adapt_kimg: Annotated[float, Ge(0)] | None = option(
        None, "thousand normals the base goes on with before the shots (ours); null: 0, on tiny 1.2"
    )
    kimg: Annotated[float, Gt(0)] | None = option(None, "thousand images a defect type; null: 400, up to 64 pixels 1.6")
    batch: Annotated[int, Ge(2)] | None = option(None, "images a step, even; null: 4096 / side, 4 to 32; up to 64 px 8")
    lr: Annotated[float, Gt(0)] = option(0.0025, "Adam's rate")
    gamma: Annotated[float, Ge(0)] | None = option(
        None, "weight of R1; null: 0.0002 side^2 / batch, in runs under 10 thousand images 1"
    )
    r1_every: Annotated[int, Ge(1)] = option(16, "steps between R1 steps of a discriminator")
    path_weight: Annotated[float, Ge(0)] = option(2.0, "weight of the path-length regularisation; 0: none")
    path_every: Annotated[int, Ge(1)] = option(4, "steps between its steps")
    mixing: Annotated[float, Interval(ge=0, le=1)] = option(0.9, "probability of style mixing")
    augment: Literal["bgc", "bg", "bc", "b", "c", "none"] | None = option(
        None,
        "what D's pictures are augmented with: blit, geometry, colour; null: bgc; in runs under 10 thousand images bg, "
        "none while a base adapts",
    )
    augment_most: Annotated[float, Gt(0)] | None = option(
        None, "the augmentation's strength at most (ours); null: no limit, in runs under 10 thousand images 0.6"
    )
    augment_turns: bool = option(True, "rotations among them; switch off for products in one pose")
    ada_target: Annotated[float, Interval(ge=-1, le=1)] = option(0.6, "mean sign of D on real pictures to hold")
    ada_kimg: Annotated[float, Gt(0)] | None = option(
        None,
        "thousand images for augmentation from 0 to 1; null: a sixth of base_kimg, a quarter of kimg",
    )
    ema_kimg: Annotated[float, Gt(0)] | None = option(
        None, "half-life of the average that samples; null: 10 batch / 32, at most a fortieth of the run"
    )
    freeze_d: Annotated[int, Ge(0)] = option(0, "so many of D's highest resolutions stay as the base has them")
    adapter: Literal["residual", "lora"] = option(
        "residual", "residual blocks from scratch (published), or LoRA on copies of the base's (ours)"
    )
    rank: Annotated[int, Ge(1)] = option(8, "rank of the adapters of adapter=lora")
    residual_from: Literal[4, 8, 16, 32, 64, 128, 256] | None = option(
        None, "lowest resolution with a residual block; null: a quarter of the side"
    )
    mask_threshold: float = option(0.0, "mask logits from which a pixel is defect")
    mask_sharpness: Annotated[float, Gt(0)] = option(10.0, "losses see tanh of so many times the logits")
    lambda_match: Annotated[float, Ge(0)] = option(1.0, "weight of the matching discriminator's loss")
    match_channels: Annotated[int, Ge(8)] | None = option(None, "its channels; null: a quarter of the base's")
    match_largest: Annotated[int, Ge(4)] | None = option(None, "its most channels; null: a quarter of the base's")
    lambda_ms: Annotated[float, Ge(0)] = option(0.1, "weight of the mode-seeking loss")
    mode_seeking: Literal["w/mask", "w/image", "z/mask", "none"] = option(
        "w/mask", "what is compared: defect styles or latents, over masks or images"
    )
    ms_epsilon: Annotated[float, Ge(0)] = option(1e-5, "added to its denominator; published: 0")
    turn: bool = option(False, "turn and mirror shots at random (ours); for products without a pose")
    psi: Annotated[float, Interval(ge=0, le=1)] = option(1.0, "truncation of the product's styles when sampling")
    defect_psi: Annotated[float, Interval(ge=0, le=1)] = option(1.0, "truncation of the defect's styles when sampling")
    noise: Literal["const", "random"] = option("const", "noise inputs when sampling: the layers' own, or drawn")
    mixed_precision: Literal["no", "bf16"] = option("no", "precision of the training steps; published: fp16 in part")
    checkpoint_every: Annotated[int, Ge(0)] = option(250, "steps between checkpoints; 0: at the end only")
