"""Which defect is it: the accuracy of a small classifier on crops around the largest part of real defects held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from ias_zoo.data.images import is_grey
from ias_zoo.errors import DataError
from ias_zoo.evaluation.encoders import with_encoder
from ias_zoo.evaluation.protocols import Protocol
from ias_zoo.evaluation.segmenter import library, relit, to_tensor, to_unit
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.devices import pick_device

if TYPE_CHECKING:
    from ias_zoo.evaluation.pictures import TestItem
    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo.training.shots import Shot

MARGIN = 1.5
"""Side of the crop, as a multiple of the longer side of the defect's bounding box."""
SMALLEST = 32
"""Least side of the crop, in the picture's pixels."""
BATCH = 16
RATE, HEAD_RATE = 1e-3, 1e-2
"""The learning rate of the whole network, and of the last layer where the encoder stays as it is."""


def type_accuracy(
    shots: Sequence[Shot],
    synthetic: Sequence[Shot],
    test: Sequence[TestItem],
    names: Sequence[str],
    protocol: Protocol,
    seed: int,
    *,
    device: str = "auto",
) -> tuple[float | None, str | None]:
    """Train on shots and synthetic pictures, drawn half and half, and classify the test pictures' defects.

    The network is the protocol's encoder with a linear layer on its mean features. Types are drawn alike often. Of
    the synthetic pictures those count whose type is in ``names``.

    Parameters
    ----------
    shots, synthetic:
        Empty for the arm without.
    names:
        The types to tell apart.

    Returns
    -------
    tuple
        The mean over the types of the share that is right, 0 to 1 (balanced accuracy), and None; or None and why
        there is no figure.
    """
    pools = [_by_name(shots, names), _by_name(synthetic, names)]
    usable = [pool for pool in pools if pool]
    held = [item for item in test if item.defect in names]
    if not usable or len({item.defect for item in held}) < 2:
        return None, "the test holds fewer than two of the types" if usable else "no picture of these types to train on"
    if len(synthetic) and not pools[1]:  # or the accuracy of the shots alone would pass for that of both
        return None, "no synthetic picture has one of these types"
    if any(len(pool) < len(names) for pool in usable) and len({name for pool in usable for name in pool}) < len(names):
        return None, "the training pictures do not have every type"
    grey = all(is_grey(item.image) for item in held)
    target = pick_device(device)
    grey = grey and protocol.encoder_weights is None
    classifier = _Classifier(protocol, 1 if grey else 3, len(names), seed)
    network = with_encoder(classifier, classifier.encoder, protocol).to(target)
    if protocol.freeze_encoder:
        classifier.encoder.eval()
    rate = HEAD_RATE if protocol.freeze_encoder else RATE
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=protocol.weight_decay)
    steps = protocol.classifier_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=max(steps, 2), pct_start=0.1)
    rng = np.random.default_rng(seed_for(seed, "classifier"))
    for _ in range(steps):
        crops, labels = [], []
        for place in range(BATCH):
            pool = usable[place % len(usable)]
            name = sorted(pool)[int(rng.integers(len(pool)))]
            shot = pool[name][int(rng.integers(len(pool[name])))]
            crops.append(_augmented(shot.image, shot.mask, protocol, rng, grey=grey))
            labels.append(names.index(name))
        loss = torch.nn.functional.cross_entropy(network(to_tensor(crops, target)), torch.tensor(labels).to(target))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    right: dict[str, list[bool]] = {}
    network.eval()
    with torch.inference_mode():
        for item in held:
            crop = to_unit(defect_crop(item.image, item.mask, protocol.classifier_side), grey=grey)
            answer = names[int(network(to_tensor([crop], target)).argmax())]
            right.setdefault(str(item.defect), []).append(answer == item.defect)
    return float(np.mean([np.mean(each) for each in right.values()])), None


def defect_crop(
    image: RGB, mask: Mask, side: int, *, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)
) -> RGB:
    """The square around the largest 8-connected part of a mask, ``side`` x ``side`` x 3 uint8; borders are mirrored.

    Parameters
    ----------
    zoom, shift:
        Make the square smaller by this factor, and move it by these parts of its side (down, right).

    Raises
    ------
    DataError
        If the mask is empty.
    """
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        raise DataError("a defect with an empty mask cannot be classified")
    left, top, width, height = (int(each) for each in stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])), :4])
    extent = max(MARGIN * max(width, height), SMALLEST) / zoom
    y = top + height / 2 + shift[0] * extent
    x = left + width / 2 + shift[1] * extent
    # Shrinking by much is done in two steps, so that no pixel is skipped: linear reads only four.
    fine = side * max(1, round(extent / side))
    scale = extent / fine
    matrix = np.array([[scale, 0, x - extent / 2], [0, scale, y - extent / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, matrix, (fine, fine), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    if fine != side:
        crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, dtype=np.uint8)


class _Classifier(torch.nn.Module):
    """The encoder, the mean of its last features, and a linear layer: B x C x S x S to B x types."""

    def __init__(self, protocol: Protocol, channels: int, types: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(seed, "classifier"))
            self.encoder = library().encoders.get_encoder(protocol.encoder, channels, depth=5, weights=None)
            self.head = torch.nn.Linear(self.encoder.out_channels[-1], types)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.encoder(pictures)[-1]
        return self.head(features.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def _augmented(image: RGB, mask: Mask, protocol: Protocol, rng: np.random.Generator, *, grey: bool) -> Any:
    zoom = float(np.exp(rng.uniform(-1, 1) * np.log(protocol.zoom)))
    shift = (float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1)))
    crop = defect_crop(image, mask, protocol.classifier_side, zoom=zoom, shift=shift)
    if protocol.turn:
        crop = np.rot90(crop, int(rng.integers(4)))
        crop = crop[:, ::-1] if rng.integers(2) else crop
    return relit(to_unit(np.ascontiguousarray(crop), grey=grey), protocol.light, rng)


def _by_name(shots: Sequence[Shot], names: Sequence[str]) -> dict[str, list[Shot]]:
    from ias_zoo.evaluation.pictures import defects_of

    pool: dict[str, list[Any]] = {}
    for number, name in enumerate(defects_of(shots)):
        if name in names:
            pool.setdefault(name, []).append(number)
    return {name: [shots[number] for number in numbers] for name, numbers in pool.items()}
