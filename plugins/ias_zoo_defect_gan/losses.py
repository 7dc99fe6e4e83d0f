"""The losses of Defect-GAN: two translation chains, each a sum over its two processes, means over pictures and pixels.

Chain 1 starts from a normal n: d^ = G(n, A+), then n^ = G(d^, A-). Chain 2 starts from a defective picture d:
n~ = G(d, A-), then d~ = G(n~, A+). Each translation also gives its spatial distribution map m. The adversarial loss,
Wasserstein's with a gradient penalty, is the toolbox's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812

if TYPE_CHECKING:
    from ias_zoo_defect_gan.networks import Architecture


def classification(architecture: Architecture, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Class loss of a batch, a mean over pictures.

    Parameters
    ----------
    logits:
        B x logits.
    labels:
        B x categories; all zero is a normal. ``multi``: binary cross-entropies, summed over the categories as in
        StarGAN. ``single``: cross-entropy, the last class is the normal.
    """
    if architecture.classes == "multi":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(labels)
    normal = labels.sum(dim=1) == 0
    target = torch.where(normal, labels.shape[1], labels.argmax(dim=1))
    return F.cross_entropy(logits, target)


def reconstruction(picture: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
    """||x - x^||_1: what a chain ends with is what it began with."""
    return (picture - back).abs().mean()


def map_cycle(painted: torch.Tensor, erased: torch.Tensor) -> torch.Tensor:
    """Spatial distribution cycle loss, ||m - m'||_1: a defect is painted and erased at the same place."""
    return (painted - erased).abs().mean()


def map_size(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Spatial distribution constraint, the sum of the maps' means: little is painted."""
    return torch.stack([where.abs().mean() for where in maps]).sum()


def map_target(where: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Ours, for shots with masks: binary cross-entropy of a map by a mask, both B x 1 x H x W in [0, 1]."""
    return F.binary_cross_entropy(where.float().clamp(1e-6, 1 - 1e-6), mask)


def weighted(terms: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
    """Each term times its weight; terms of weight 0 are left out."""
    return {name: weights[name] * value for name, value in terms.items() if weights[name]}
