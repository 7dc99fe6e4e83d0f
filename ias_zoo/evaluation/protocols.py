"""How a detector is trained and tested: every number that decides a result, in one record with a name.

The presets' learning rates, augmentation and steps are our choice unless their text says otherwise.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ias_zoo.errors import OptionError, WeightsError

HUB = "hub"
"""In place of an encoder's file: timm's weights, trained on ImageNet, from the Hub."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A downstream protocol. All arms of a comparison share it, and with it the number of steps.

    Attributes
    ----------
    name, about:
        What it is called, where it comes from and where it departs from that.
    architecture, encoder, encoder_depth, decoder_channels:
        The segmenter, by the names of ``segmentation_models_pytorch``. No decoder channels: the library's.
    encoder_weights:
        A local ``.safetensors`` file with the encoder's state dict; ``hub``: timm's, trained on ImageNet; None starts
        from random weights.
    freeze_encoder:
        Train the decoder alone; the encoder keeps its weights and its batch statistics.
    side:
        Side of the square that whole pictures are resized to, in pixels.
    crop:
        ``auto``, ``off`` or a number, as ``fit --crop``: whole pictures resized to ``side``, or crops at native scale.
    tile_side:
        Side of the crops at native scale, a multiple of 32; None takes ``side``. From scratch and within few steps,
        small crops teach more a second than large ones.
    score_side:
        Whole pictures are scored on a square of this side; None scores at each picture's own size.
    steps, batch, rate, optimiser, schedule, weight_decay:
        Training. ``schedule`` is ``cosine`` (5 % linear warm-up, then a half cosine to 0) or ``steps`` (a fifth at
        80 %, another fifth at 90 %). ``optimiser`` is ``adamw`` or ``adam``.
    loss:
        ``bce_dice`` or ``focal_dice`` or ``focal`` (gamma 2).
    defective, context:
        Share of a batch that shows a defect; share of the rest that comes from anywhere on defective pictures
        (at native scale), the remainder being normals.
    augment:
        ``turn`` (flips and quarter turns), ``zoom`` (up to this factor in or out), ``shift`` (of whole pictures, part
        of the side), ``light`` (brightness up to this part of full scale; contrast and gamma up to one plus twice it).
    image_pool:
        The image score is the largest mean probability over a window of this side.
    uses:
        How arm ``both`` may use the synthetic set: ``mix:S`` draws the share S of the defective pictures from it
        throughout; ``pretrain:S`` trains the first S of the steps on it, the rest on the shots.
    folds, rounds, choice_steps:
        The choice among ``uses``: the shots of each type are cut in ``folds`` parts, ``rounds`` of them are held out in
        turn, and ``choice_steps`` are trained on the rest.
    classifier_steps, classifier_side:
        The defect-type classifier; 0 steps leaves it out.
    seeds:
        How many seeds a comparison runs.
    """

    name: str
    about: str
    architecture: str = "unet"
    encoder: str = "resnet18"
    encoder_depth: int = 4
    decoder_channels: tuple[int, ...] = (64, 32, 16, 16)
    encoder_weights: str | None = None
    freeze_encoder: bool = False
    side: int = 128
    crop: str = "auto"
    tile_side: int | None = None
    score_side: int | None = None
    steps: int = 300
    batch: int = 8
    rate: float = 1e-3
    optimiser: str = "adamw"
    schedule: str = "cosine"
    weight_decay: float = 1e-2
    loss: str = "bce_dice"
    defective: float = 0.5
    context: float = 0.5
    turn: bool = True
    zoom: float = 1.25
    shift: float = 0.1
    light: float = 0.2
    image_pool: int = 7
    uses: tuple[str, ...] = ("mix:0.25", "mix:0.5", "pretrain:0.5")
    folds: int = 4
    rounds: int = 1
    choice_steps: int = 150
    classifier_steps: int = 150
    classifier_side: int = 64
    seeds: int = 3

    def __post_init__(self) -> None:
        for use in self.uses:
            kind, _, share = use.partition(":")
            if kind not in ("mix", "pretrain") or not share.replace(".", "", 1).isdigit() or not 0 < float(share) < 1:
                raise OptionError(f"uses={use!r}: expected mix:S or pretrain:S with S between 0 and 1")
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise OptionError(f"{name}={getattr(self, name)!r}: expected {' or '.join(known)}")
        if self.folds < 2 or not 1 <= self.rounds <= self.folds:
            raise OptionError(f"folds={self.folds}, rounds={self.rounds}: expected 2 folds or more, 1 to folds rounds")

    def to_json(self) -> dict[str, Any]:
        """All of it; an encoder's file by name and content, wherever it lies."""
        known = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        if self.encoder_weights not in (None, HUB):
            path = Path(str(self.encoder_weights))
            known["encoder_weights"] = f"{path.name} {_digest(path)}"
        return known


@lru_cache(maxsize=8)
def _digest(path: Path) -> str:
    from ias_zoo.data.images import sha256

    return f"sha256:{sha256(path.read_bytes())[:16]}"


_KNOWN = {
    "optimiser": ("adamw", "adam"),
    "schedule": ("cosine", "steps"),
    "loss": ("bce_dice", "focal_dice", "focal"),
}

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="quick",
            about="Minutes on two cores; our design. For comparing methods on one's own data, not with papers.",
            encoder="tu-resnet18",
            side=96,
            tile_side=64,
            steps=1_000,
            light=0.1,
            choice_steps=300,
            classifier_steps=100,
        ),
        Protocol(
            name="quick-imagenet",
            about=(
                "As quick, but the encoder was trained on ImageNet and stays as it is: more is found in fewer steps. "
                "Its weights come from the Hub, or with --weights encoder=FILE."
            ),
            encoder="tu-tf_efficientnet_lite0",
            encoder_weights=HUB,
            freeze_encoder=True,
            side=96,
            tile_side=64,
            steps=400,
            rate=3e-3,
            light=0.1,
            uses=("mix:0.25", "pretrain:0.5"),
            choice_steps=400,
            classifier_steps=100,
        ),
        Protocol(
            name="unet256-third",
            about=(
                "After Hu et al. (AAAI 2024, arXiv 2312.05767) and their public code: a U-Net on whole pictures "
                "at 256, half of them normals, focal loss (gamma 2), Adam at 1e-4, batch 8, 200 x 500 pictures, the "
                "rate to a fifth at 80 % and again at 90 %; the first third of each type for training; the image score "
                "is the largest 21 x 21 mean. Departures: the library's U-Net on a ResNet-34 stands for their plain "
                "one of base width 64; the last weights, where their code keeps those best on the test set; the first "
                "third without the extra picture that their code trains and tests on; our augmentation."
            ),
            encoder="resnet34",
            encoder_depth=5,
            decoder_channels=(),
            side=256,
            crop="off",
            score_side=256,
            steps=12_500,
            rate=1e-4,
            optimiser="adam",
            weight_decay=0.0,
            schedule="steps",
            loss="focal",
            image_pool=21,
            choice_steps=3_000,
            classifier_steps=2_000,
            classifier_side=128,
        ),
        Protocol(
            name="upernet512-third",
            about=(
                "After Dai et al. (ICCV 2025, arXiv 2410.14987): a supervised segmenter, here UPerNet, one of their "
                "three, trained with the synthetic set and tested on the two thirds held out; pixel AUROC, AP, F1-max "
                "and IoU, image AUROC, AP and F1-max. Departures: one model a product, not one for all; our learning "
                "rate, steps and augmentation; ResNet-34 without pretrained weights; whole pictures at 512."
            ),
            architecture="upernet",
            encoder="resnet34",
            encoder_depth=5,
            decoder_channels=(),
            side=512,
            crop="off",
            score_side=512,
            steps=10_000,
            rate=3e-4,
            image_pool=1,
            choice_steps=3_000,
            classifier_steps=2_000,
            classifier_side=128,
        ),
    )
}


def find_protocol(name: str, encoder: Path | None = None) -> Protocol:
    """Look a preset up; ``encoder`` is a file of weights for its encoder.

    Raises
    ------
    OptionError
        For a name that is none, with the nearest.
    WeightsError
        If there is no such file.
    """
    if name in PROTOCOLS:
        found = PROTOCOLS[name]
        if encoder is None:
            return found
        if not encoder.is_file():
            raise WeightsError(
                f"encoder={encoder}: no such file; expected safetensors with the weights of {found.encoder}"
            )
        return replace(found, encoder_weights=str(encoder.expanduser().resolve()))
    near = difflib.get_close_matches(name, PROTOCOLS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}{hint}")
