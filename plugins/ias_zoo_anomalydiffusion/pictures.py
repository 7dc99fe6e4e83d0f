"""What the two trainings see: shots and their masks, now and then mirrored, turned and cropped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from ias_zoo.diffusion.base import generator
from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.shots import Shot, TrainingSet, Window, see, see_mask, shot_window

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

LARGEST_ANGLE = 20


@dataclass(frozen=True, eq=False)
class Batch:
    """B shots: ``pixels`` B x 3 x S x S in [-1, 1], ``masks`` B x S x S of 0 and 1, their types, a generator each."""

    pixels: torch.Tensor
    masks: torch.Tensor
    defects: list[str]
    generators: list[torch.Generator]
    rng: np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Batch ``(step, micro)`` of a stage.

    Attributes
    ----------
    augment:
        The probability that a batch is augmented.
    fill:
        ``reflect`` or ``grey``: what comes in at the corners of a turned picture.
    """

    resolution: int
    crop: int | None
    size: int
    augment: float
    fill: str
    seed: int

    def make(self, shots: Sequence[Shot], step: int, micro: int) -> Batch:
        """Draw a batch of the given shots, without repeats where there are enough."""
        seed = seed_for(self.seed, step, micro)
        rng = np.random.default_rng(seed)
        chosen = [shots[i] for i in rng.choice(len(shots), size=self.size, replace=len(shots) < self.size)]
        augmented = bool(rng.random() < self.augment)
        side = 2 * self.resolution if augmented else self.resolution
        windows = [shot_window(shot, self.crop, rng) for shot in chosen]
        images = [see(shot.image, window, side) for shot, window in zip(chosen, windows, strict=True)]
        masks = [see_mask(shot.mask, window, side) for shot, window in zip(chosen, windows, strict=True)]
        if augmented:
            images, masks = augment(images, masks, self.resolution, self.fill, rng)
        return Batch(
            pixels=torch.stack([signed(image) for image in images]),
            masks=torch.from_numpy(np.stack(masks)).float(),
            defects=[shot.defect for shot in chosen],
            generators=[generator(seed_for(seed, number)) for number in range(self.size)],
            rng=rng,
        )


def shot_masks(data: TrainingSet, crop: int | None, resolution: int, seed: int) -> dict[str, list[Mask]]:
    """The masks of all shots as a model of this resolution sees them, S x S, by defect type."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Mask]] = {}
    for shot in data.shots:
        seen = see_mask(shot.mask, shot_window(shot, crop, rng), resolution)
        found.setdefault(shot.defect, []).append(seen)
    return found


def augment(
    images: Sequence[RGB], masks: Sequence[Mask], resolution: int, fill: str, rng: np.random.Generator
) -> tuple[list[RGB], list[Mask]]:
    """Mirror and turn each picture with its mask, then cut one random square out of all.

    Mirrored top to bottom and left to right with probability 1/2 each, turned by 0 to 20 whole degrees. The square
    holds the masks of the whole batch, as in the published code; that it is a square is ours: nothing is stretched.
    """
    turned = [_turned(image, mask, fill, rng) for image, mask in zip(images, masks, strict=True)]
    together = np.any([mask for _, mask in turned], axis=0)
    window = _square_around(together, rng)
    return [see(image, window, resolution) for image, _ in turned], [
        see_mask(mask, window, resolution) for _, mask in turned
    ]


def _turned(image: RGB, mask: Mask, fill: str, rng: np.random.Generator) -> tuple[RGB, Mask]:
    for axis in (0, 1):
        if rng.random() < 0.5:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
    angle = int(rng.integers(LARGEST_ANGLE + 1))
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1.0)
    reflect = fill == "reflect"
    outside: Any = {"borderMode": cv2.BORDER_REFLECT_101} if reflect else {"borderValue": (128, 128, 128)}
    new = cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), flags=cv2.INTER_LINEAR, **outside)
    outside = {"borderMode": cv2.BORDER_REFLECT_101} if reflect else {}
    where = cv2.warpAffine(mask.astype(np.uint8), matrix, (side, side), flags=cv2.INTER_NEAREST, **outside)
    return np.asarray(new, dtype=np.uint8), np.asarray(where > 0, dtype=np.bool_)


def _square_around(mask: Mask, rng: np.random.Generator) -> Window:
    """A random square of the picture that holds the mask; the whole picture where the mask is empty."""
    side = mask.shape[0]
    if not mask.any():
        return Window(0, 0, side)
    spans = []
    for axis in (1, 0):
        found = np.flatnonzero(mask.any(axis=axis))
        spans.append((int(found[0]), int(found[-1]) + 1))
    needed = max(last - first for first, last in spans)
    chosen = int(rng.integers(needed, side + 1))
    corner = [int(rng.integers(max(0, last - chosen), min(first, side - chosen) + 1)) for first, last in spans]
    return Window(corner[0], corner[1], chosen)


def signed(image: RGB) -> torch.Tensor:
    """H x W x 3 uint8 to 3 x H x W float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 127.5 - 1


def to_cells(masks: torch.Tensor, side: int, how: str) -> torch.Tensor:
    """Masks at the latents' size.

    Parameters
    ----------
    masks:
        B x S x S of 0 and 1.
    how:
        ``half``: resized bilinearly, at least one half (published); small and thin defects vanish. ``one``: the same,
        but the fullest cell of a mask that vanishes stays. ``any``: every cell the mask touches.

    Returns
    -------
    B x 1 x side x side of 0 and 1.
    """
    whole = masks[:, None]
    if how == "any":
        return (F.adaptive_max_pool2d(whole, side) > 0).float()
    found = F.interpolate(whole, (side, side), mode="bilinear", align_corners=False) >= 0.5
    if how == "one":
        shares = F.adaptive_avg_pool2d(whole, side).flatten(1)
        fullest = F.one_hot(shares.argmax(dim=1), side * side).bool().view_as(found)
        lost = ~found.flatten(1).any(dim=1) & (shares.amax(dim=1) > 0)
        found = found | (fullest & lost[:, None, None, None])
    return found.float()
