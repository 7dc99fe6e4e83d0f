"""A small supervised segmenter: what a defect data set is made for, and the yardstick of its worth.

The networks are those of ``segmentation_models_pytorch`` (Iakubovskii, MIT licence). The same seed, pictures and
number of threads give the same weights on one CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from ias_zoo.data.cache import PictureCache
from ias_zoo.data.images import is_grey, resize_image, to_grey
from ias_zoo.errors import DataError, MissingDependency, TrainingError
from ias_zoo.evaluation.encoders import with_encoder
from ias_zoo.evaluation.pictures import numbers_by_defect
from ias_zoo.evaluation.protocols import Protocol
from ias_zoo.evaluation.tiles import MARGIN, View
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.devices import pick_device

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.evaluation.tiles import ScoreMap
    from ias_zoo.generation.requests import Normals
    from ias_zoo.synthesizer import RGB
    from ias_zoo.training.shots import Shot

    Floats = npt.NDArray[np.float32]

CACHE_BYTES = 1 << 30
PREDICT_BATCH = 8


@dataclass(frozen=True)
class Phase:
    """A part of training: so many steps, with this share of the defective pictures from the synthetic set."""

    steps: int
    share: float


@dataclass
class Segmenter:
    """A trained network and the scale it sees pictures at. ``losses`` holds the loss of every step."""

    network: torch.nn.Module
    view: View
    grey: bool
    losses: list[float] = field(default_factory=list)

    def score_map(self, image: RGB) -> ScoreMap:
        """Logit of each pixel being defective, H x W float32, for a picture of any size, H x W x 3 uint8."""
        return self.view.score_map(image, self._predict)

    def _predict(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> list[ScoreMap]:
        self.network.eval()
        maps: list[ScoreMap] = []
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            for start in range(0, len(pictures), PREDICT_BATCH):
                part = [to_unit(picture, grey=self.grey) for picture in pictures[start : start + PREDICT_BATCH]]
                maps += list(self.network(to_tensor(part, device))[:, 0].float().cpu().numpy())
        return maps


def train_segmenter(
    shots: Sequence[Shot],
    synthetic: Sequence[Shot],
    normals: Normals,
    protocol: Protocol,
    view: View,
    phases: Sequence[Phase],
    seed: int,
    *,
    device: str = "auto",
    step: Callable[[int, int, float], None] = lambda number, steps, loss: None,
) -> Segmenter:
    """Train from the start and keep the last weights.

    Raises
    ------
    DataError
        If a phase needs shots or synthetic pictures and there are none.
    TrainingError
        If the loss is no longer a number.
    MissingDependency, WeightsError
    """
    grey = protocol.encoder_weights is None and all(is_grey(shot.image) for shot in shots)
    network: Any = build_network(protocol, channels=1 if grey else 3, seed=seed).to(pick_device(device))
    sampler = Sampler(shots, synthetic, normals, protocol, view, grey=grey)
    steps = sum(phase.steps for phase in phases)
    optimiser, schedule = _optimiser(network, protocol, steps)
    segmenter = Segmenter(network, view, grey)
    loss_of = _loss(protocol.loss)
    network.train()
    if protocol.freeze_encoder:
        network.encoder.eval()  # its statistics stay as well
    for number, (pictures, masks) in enumerate(sampler.batches(phases, seed)):
        target = next(network.parameters()).device
        logits = network(to_tensor(pictures, target))[:, 0]
        loss = loss_of(logits, torch.from_numpy(masks).to(target))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"the segmenter's loss is {value} at step {number}; try a smaller rate")
        segmenter.losses.append(value)
        step(number + 1, steps, value)
    return segmenter


def build_network(protocol: Protocol, *, channels: int, seed: int) -> torch.nn.Module:
    """Make the network, initialised from the seed; no global random state changes.

    Raises
    ------
    MissingDependency
        Without ``segmentation_models_pytorch``.
    WeightsError
        If the encoder's weights file does not fit.
    """
    smp = library()
    more: dict[str, Any] = {"encoder_depth": protocol.encoder_depth}
    if protocol.decoder_channels:
        more["decoder_channels"] = tuple(protocol.decoder_channels)
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "segmenter"))
        network: torch.nn.Module = smp.create_model(
            protocol.architecture, protocol.encoder, encoder_weights=None, in_channels=channels, classes=1, **more
        )
    network = with_encoder(network, network.encoder, protocol)
    return network.to(memory_format=torch.channels_last)


class Sampler:
    """Batches: half of the pictures around defects, the others from anywhere on defective pictures and normals.

    Defect types are drawn alike often, then their pictures alike often. What is drawn (shot or synthetic, defective
    or not) follows fixed quotas instead of chance, so that arms differ in nothing but their pictures.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        synthetic: Sequence[Shot],
        normals: Normals,
        protocol: Protocol,
        view: View,
        *,
        grey: bool,
    ) -> None:
        self._pools = (shots, synthetic)
        self._kinds = tuple(list(numbers_by_defect(pool).values()) for pool in self._pools)
        self._normals, self._protocol, self._view, self._grey = normals, protocol, view, grey
        self._small: PictureCache[tuple[Any, Any]] = PictureCache(
            CACHE_BYTES, lambda pair: int(pair[0].nbytes + pair[1].nbytes)
        )

    def batches(self, phases: Sequence[Phase], seed: int) -> Iterator[tuple[list[Floats], Floats]]:
        """Pictures (each S x S x C float32, zero mean, unit scale) and masks (B x S x S float32 in [0, 1])."""
        rng = np.random.default_rng(seed_for(seed, "batches"))
        for phase in phases:
            self._check(phase)
            defective, drawn, other, context = (_Quota(share) for share in self._shares(phase))
            for _ in range(phase.steps):
                pairs = []
                for _ in range(self._protocol.batch):
                    if defective.take():
                        pairs.append(self._defective(drawn.take(), rng, centred=True))
                    elif context.take():
                        pairs.append(self._defective(other.take(), rng, centred=False))
                    else:
                        pairs.append(self._normal(rng))
                yield [picture for picture, _ in pairs], np.stack([mask for _, mask in pairs])

    def _shares(self, phase: Phase) -> tuple[float, float, float, float]:
        context = self._protocol.context if self._view.native else 0.0
        return self._protocol.defective, phase.share, phase.share, context

    def _check(self, phase: Phase) -> None:
        if phase.share < 1 and not self._pools[0]:
            raise DataError("no shots to train the segmenter on")
        if phase.share > 0 and not self._pools[1]:
            raise DataError("no synthetic pictures to train the segmenter on")

    def _defective(self, synthetic: bool, rng: np.random.Generator, *, centred: bool) -> tuple[Floats, Floats]:
        kinds = self._kinds[synthetic]
        kind = kinds[int(rng.integers(len(kinds)))]
        number = kind[int(rng.integers(len(kind)))]
        image, mask = self._picture(("synthetic" if synthetic else "shot"), number)
        return self._augmented(image, mask, rng, centred=centred)

    def _normal(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        image, mask = self._picture("normal", int(rng.integers(len(self._normals))))
        return self._augmented(image, mask, rng, centred=False)

    def _picture(self, source: str, number: int) -> tuple[Any, Any]:
        """Picture and soft mask at the network's scale: H x W x 3 uint8 and H x W float32 (empty for a normal)."""
        if self._view.native:
            return self._read(source, number)

        def small() -> tuple[Any, Any]:
            image, mask = self._read(source, number)
            side = self._view.side
            shrunk = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) if mask.size else mask
            return resize_image(image, side, side), shrunk

        return self._small.get((source, number), small)

    def _read(self, source: str, number: int) -> tuple[Any, Any]:
        if source == "normal":
            return self._normals.read(number).image, np.zeros((0, 0), np.float32)
        shot = self._pools[source == "synthetic"][number]
        return shot.image, shot.mask.astype(np.float32)

    def _augmented(self, image: Any, mask: Any, rng: np.random.Generator, *, centred: bool) -> tuple[Floats, Floats]:
        side, protocol = self._view.side, self._protocol
        zoom = float(np.exp(rng.uniform(-1, 1) * np.log(protocol.zoom)))
        centre = self._centre(image.shape[:2], mask if centred else None, side / zoom, rng)
        # From a pixel of the crop to where it lies on the picture; borders are mirrored.
        matrix = np.array([[1 / zoom, 0, centre[1] - side / zoom / 2], [0, 1 / zoom, centre[0] - side / zoom / 2]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop: Any = cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
        truth: Any = np.zeros((side, side), np.float32)
        if mask.size:
            truth = cv2.warpAffine(mask, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
        if protocol.turn:
            quarter, mirror = int(rng.integers(4)), bool(rng.integers(2))
            crop, truth = np.rot90(crop, quarter), np.rot90(truth, quarter)
            if mirror:
                crop, truth = crop[:, ::-1], truth[:, ::-1]
        lit = relit(to_unit(np.ascontiguousarray(crop), grey=self._grey), protocol.light, rng)
        return lit, np.ascontiguousarray(truth)

    def _centre(self, shape: Any, mask: Any, extent: float, rng: np.random.Generator) -> list[float]:
        """The crop's centre, row and column: around a random pixel of the mask, or anywhere (mask None)."""
        if not self._view.native:
            away = self._protocol.shift * self._view.side
            return [self._view.side / 2 + float(rng.uniform(-away, away)) for _ in range(2)]
        if mask is None:
            place = [float(rng.uniform(0, length)) for length in shape]
        else:
            pixels = np.flatnonzero(mask)
            place = [float(each) for each in divmod(int(pixels[rng.integers(pixels.size)]), mask.shape[1])]
            place = [each + float(rng.uniform(-0.25, 0.25)) * extent for each in place]
        # A crop may reach over the picture's border by as much as tiles do when testing.
        most = [max(length + 2 * MARGIN - extent, 0) / 2 for length in shape]
        return [
            min(max(each, length / 2 - reach), length / 2 + reach)
            for each, length, reach in zip(place, shape, most, strict=True)
        ]


class _Quota:
    """Says yes to a share of the calls, spread evenly."""

    def __init__(self, share: float) -> None:
        self._share, self._calls = share, 0

    def take(self) -> bool:
        self._calls += 1
        # a little more than rounding errors of the product: 0.1 * 10 must count as 1
        return math.floor(self._calls * self._share + 1e-9) > math.floor((self._calls - 1) * self._share + 1e-9)


def to_unit(picture: npt.NDArray[np.uint8], *, grey: bool) -> Floats:
    """H x W x C float32 in [-2, 2]: one channel where all shots are grey, so that colour gives nothing away."""
    array = to_grey(picture)[:, :, None] if grey else picture
    return np.asarray(array.astype(np.float32) / 63.75 - 2.0, dtype=np.float32)


def relit(picture: Floats, light: float, rng: np.random.Generator) -> Floats:
    """Other exposure: brightness, contrast about the mean, and gamma."""
    brightness = rng.uniform(-light, light)
    contrast, gamma = np.exp(rng.uniform(-1, 1, size=2) * np.log1p(2 * light))
    unit = np.clip(picture / 4 + 0.5, 0, 1) ** np.float32(gamma)
    mean = unit.mean()
    changed = np.clip((unit - mean) * np.float32(contrast) + mean + np.float32(brightness), 0, 1)
    return np.asarray(changed * 4 - 2, dtype=np.float32)


def to_tensor(pictures: Sequence[Floats], device: torch.device) -> torch.Tensor:
    """H x W x C arrays of one size as B x C x H x W, channels last in memory: faster on CPUs and GPUs alike."""
    batch = torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))
    return batch.to(device, memory_format=torch.channels_last)


def _optimiser(network: torch.nn.Module, protocol: Protocol, steps: int) -> tuple[Any, Any]:
    kind = torch.optim.AdamW if protocol.optimiser == "adamw" else torch.optim.Adam
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = kind(trained, lr=protocol.rate, weight_decay=protocol.weight_decay)
    warm = max(1, steps // 20)

    def factor(step: int) -> float:
        if protocol.schedule == "steps":
            return 0.2 ** ((step >= 0.8 * steps) + (step >= 0.9 * steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _loss(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    losses = library().losses
    focal, dice = losses.FocalLoss("binary", gamma=2.0), losses.DiceLoss("binary", smooth=1.0)
    entropy = torch.nn.BCEWithLogitsLoss()
    terms = {"bce_dice": (entropy, dice), "focal_dice": (focal, dice), "focal": (focal,)}[name]

    def total(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return torch.stack([term(logits[:, None], masks[:, None]) for term in terms]).sum()

    return total


def library() -> Any:
    """``segmentation_models_pytorch``.

    Raises
    ------
    MissingDependency
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise MissingDependency(
            "downstream gain needs segmentation_models_pytorch; install it with: pip install 'ias-zoo[evaluation]'"
        ) from error
    return smp
