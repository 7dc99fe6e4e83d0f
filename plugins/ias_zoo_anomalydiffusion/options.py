"""Hyper-parameters of AnomalyDiffusion. Where the default is null, it follows from the base (see the card)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ias_zoo.options import Ge, Gt, Interval, option


@dataclass(frozen=True)
class AnomalyDiffusionOptions:
    """Options of AnomalyDiffusion; the published code's values are the defaults at 256 pixels and above."""

    adapter: Literal["embedding", "lora"] = option(
        "embedding", "what learns: tokens and spatial encoder (published), or LoRA on the denoiser as well (ours)"
    )
    rank: Annotated[int, Ge(1)] = option(8, "rank of the adapters, with adapter=lora")
    lora_targets: Literal["cross", "attention"] = option(
        "cross", "layers with adapters: cross-attention, or all attention"
    )
    tokens: Annotated[int, Interval(ge=1, le=32)] = option(4, "appearance tokens a defect type; the paper says 8")
    spatial_tokens: Annotated[int, Interval(ge=1, le=16)] = option(4, "tokens that tell where the mask is")
    mask_tokens: Annotated[int, Interval(ge=1, le=32)] = option(16, "tokens a defect type's masks; the paper says 4")
    init_word: str = option("anomaly", "word that appearance tokens start from; of several tokens, their mean")
    mask_init_word: str = option("crack", "word that mask tokens start from")
    encoder: Literal["paper", "small"] | None = option(
        None, "spatial encoder: 356 M parameters (published) or 0.3 M (ours); null: paper, at 128 pixels small"
    )
    steps: Annotated[int, Ge(1)] | None = option(
        None, "steps for tokens and encoder in all; null: 300000, at 128 pixels 150 a defect type"
    )
    mask_steps: Annotated[int, Ge(1)] | None = option(
        None, "steps for the mask tokens a defect type; null: 30000, at 128 pixels 100"
    )
    batch: Annotated[int, Ge(1)] = option(4, "shots a step")
    lr: Annotated[float, Gt(0)] = option(2e-2, "tokens' rate: 5e-3 scaled by the batch of 4, as published")
    encoder_lr: Annotated[float, Gt(0)] | None = option(
        None, "spatial encoder's rate; null: 2e-2 (published), at 128 pixels 1e-3"
    )
    lora_lr: Annotated[float, Gt(0)] | None = option(None, "adapters' rate; null: 1e-4, at 128 pixels 1e-3")
    mask_weight_decay: Annotated[float, Ge(0)] = option(0.01, "weight decay of the mask tokens (AdamW)")
    loss_over: Literal["all", "mask"] | None = option(
        None, "masked loss is a mean over all latents (published) or each shot's mask (ours); null: all, at 128 mask"
    )
    augment: Annotated[float, Interval(ge=0, le=1)] = option(
        0.5, "how often a batch is mirrored, turned by up to 20 degrees and cropped"
    )
    fill: Literal["reflect", "grey"] = option("reflect", "what comes in at a turned picture's corners; published: grey")
    mask_augment: Annotated[float, Interval(ge=0, le=1)] = option(0.0, "the same for the mask tokens' training")
    cells: Literal["half", "one", "any"] | None = option(
        None, "latent cells a mask covers: half full (code), or at least one, or any it touches; null: one, at 128 any"
    )
    reweight: Literal["off", "code", "paper"] = option(
        "off", "adaptive attention re-weighting, by the published code's form or the paper's"
    )
    guidance: Annotated[float, Ge(1)] | None = option(
        None, "classifier-free guidance of the images; null: 1, which is none (published), at 128 pixels 7"
    )
    clip: Annotated[float, Gt(0)] | None = option(
        None,
        "predicted clean latents are kept within this, against guidance's overshoot (ours); null: not, at 128 pixels 4",
    )
    sampling_steps: Annotated[int, Ge(2)] | None = option(None, "DDIM steps an image; null: 200, at 128 pixels 25")
    eta: Annotated[float, Interval(ge=0, le=1)] = option(1.0, "noise of the DDIM steps")
    mask_sampling_steps: Annotated[int, Ge(2)] | None = option(None, "DDIM steps a mask; null: 100, at 128 pixels 20")
    mask_guidance: Annotated[float, Ge(1)] = option(5.0, "classifier-free guidance of the masks")
    mask_threshold: Annotated[float, Interval(gt=-1, lt=1)] | None = option(
        None, "a mask picture's pixels above this, of -1 to 1, are mask; null: 0.8, at 128 pixels 0"
    )
    mask_border: Literal["reject", "keep"] | None = option(
        None, "masks that run along the border: drawn again (published) or kept; null: keep where shots were cropped"
    )
    masks: Literal["drawn", "shots"] | None = option(
        None,
        "where none is given: masks drawn by the mask tokens (published), or a shot's, mirrored at random (ours), "
        "without the mask tokens' training; null: drawn, at 128 pixels shots",
    )
    least_seen: Annotated[float, Interval(ge=0, lt=1)] | None = option(
        None,
        "share of the mask that must differ by more than 18 levels from the normal, or it is painted again, up to 4 "
        "times (ours); null: 0, at 128 pixels 0.5",
    )
    mask_tries: Annotated[int, Ge(1)] = option(10, "how often a mask is drawn before it is given up")
    output: Literal["model", "normal"] | None = option(
        None,
        "the model's square, or the normal's own size (pasted in); null: normal with a given mask or region",
    )
    compose: Literal["off", "soft", "mask"] | None = option(
        None,
        "the sample counts everywhere (published), in the painted cells and softly around (ours) or in the mask alone "
        "(ours), the normal elsewhere; null: mask with output=normal and at 128 pixels, else off",
    )
    grey: bool | None = option(None, "samples of grey normals are grey (ours); null: at 128 pixels")
    sampling_batch: Annotated[int, Ge(1)] = option(8, "samples drawn at once")
    ema: Annotated[float, Interval(ge=0, lt=1)] = option(0.0, "decay of a moving average of the weights; 0: none")
    gradient_checkpointing: bool = option(False, "less memory, more time")
    mixed_precision: Literal["no", "fp16", "bf16"] = option("no", "precision of the training steps")
    channels_last: bool = option(False, "pictures channel by channel last in memory: faster on some machines")
    checkpoint_every: Annotated[int, Ge(0)] = option(2000, "steps between checkpoints; 0: at the end only")
