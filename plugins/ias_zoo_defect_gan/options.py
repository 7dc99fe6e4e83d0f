"""Hyper-parameters of Defect-GAN. Where the default is null, it follows from the base (see the card)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option


@dataclass(frozen=True)
class DefectGANOptions:
    """Options of Defect-GAN; without a base, the published values are the defaults."""

    adapter: Literal["lora", "full"] | None = option(
        None, "on a base: lora trains adapters on the decoder, full everything; null: lora, without a base full"
    )
    rank: Annotated[int, Ge(1)] = option(8, "rank of the adapters")
    alpha: Annotated[float, Gt(0)] | None = option(None, "scale of the adapters is alpha / rank; null: the rank")
    supervision: Literal["labels", "masks"] | None = option(
        None,
        "what of a shot is used: its type alone (published), or its mask too (ours); null: masks on a base",
    )
    steps: Annotated[int, Ge(1)] | None = option(
        None, "discriminator steps; null: 500000 without a base (published), 400 on one (base stage: 2000)"
    )
    discriminator_steps: Annotated[int, Ge(1)] | None = option(
        None, "discriminator steps to one of the generator; null: 5 (published), on a base 1"
    )
    batch: Annotated[int, Ge(1)] = option(4, "normals in a step, beside as many shots")
    lr: Annotated[float, Gt(0)] | None = option(None, "learning rate at the start; null: 2e-4 (published), LoRA 1e-3")
    lr_end: Annotated[float, Ge(0)] = option(1e-6, "learning rate at the end; it falls linearly")
    class_real: Annotated[float, Ge(0)] = option(2.0, "weight of the class loss on real pictures")
    class_fake: Annotated[float, Ge(0)] = option(5.0, "weight of the class loss on made pictures")
    reconstruction: Annotated[float, Ge(0)] = option(5.0, "weight of the reconstruction loss")
    map_cycle: Annotated[float, Ge(0)] = option(5.0, "weight of the cycle loss between maps")
    map_size: Annotated[float, Ge(0)] = option(1.0, "weight of the constraint that maps be small")
    map_target: Annotated[float, Ge(0)] = option(5.0, "weight of the maps' agreement with masks (ours), with masks")
    penalty: Annotated[float, Ge(0)] = option(10.0, "weight of the discriminator's gradient penalty")
    spatial: Annotated[float, Interval(ge=0, le=1)] = option(
        0.5, "with masks: share of steps whose control map is the label inside a mask; else it is the label everywhere"
    )
    restore_control: Literal["negate", "normal_channel"] = option(
        "negate", "without a base: what asks for restoration, minus the control map or a channel of its own"
    )
    classes: Literal["multi", "single"] = option(
        "multi", "without a base: class loss by category, normal all zero; or one of all classes and normal"
    )
    size: Annotated[int, Ge(32)] = option(128, "without a base: height and width of training pictures")
    width: Annotated[int, Ge(1)] = option(64, "without a base: the first layers' channels, of both networks")
    freeze_discriminator: Annotated[int, Ge(0)] = option(0, "on a base: so many of the discriminator's layers stay")
    augment: Annotated[float, Interval(ge=0, le=1)] = option(
        0.0, "probability of each augmentation of what the discriminator sees (StyleGAN2-ADA's; ours)"
    )
    turn: bool = option(True, "turn by quarters and mirror pictures; false: mirror left-right alone (published)")
    light: bool | None = option(
        None, "each picture of few-shot training in the light of a normal (ours); null: on a base, without one not"
    )
    ema: Annotated[float, Interval(ge=0, lt=1)] | None = option(
        None, "decay of a moving average of the generator; null: 0 (published), on a base 0.99"
    )
    grey: bool | None = option(None, "painted in grey (ours); null: if all shots are grey")
    place: Literal["free", "shapes"] | None = option(
        None,
        "control map of a sample: everywhere, or the turned mask of a shot (ours); null: shapes if it learned masks",
    )
    noise: Annotated[float, Ge(0)] = option(1.0, "strength of the noise inserted when a sample is made")
    mask_threshold: Annotated[float, Interval(gt=0, lt=1)] = option(0.5, "map value above which a pixel is mask")
    exact_mask: bool = option(False, "nothing is painted outside the mask (ours); false: the soft map paints there too")
    fade: Annotated[float, Interval(ge=0, le=0.5)] = option(
        0.125, "share of the square's side over which its paint fades out to its border, but where the defect is (ours)"
    )
    output: Literal["normal", "model"] = option(
        "normal", "a sample's size: the normal's, the defect painted onto it; or the square that the model saw"
    )
    checkpoint_every: Annotated[int, Ge(0)] = option(200, "steps between checkpoints; 0: at the end only")
