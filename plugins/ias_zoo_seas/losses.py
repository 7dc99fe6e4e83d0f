"""The losses of SeaS: decoupled attention alignment for the generator, focal loss for the mask head.

Shapes: B images, r x r the side of an attention map. Numbers refer to the published code where the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional as F  # noqa: N812

OBJECT = 2
"""Position of the product's token in ``<start> a <ob> with <df1> <df2> <df3> <df4> <end>``."""

DEFECT = (4, 5, 6, 7)
"""Positions of the defect's tokens."""


def token_maps(maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean attention of the defect's and of the product's tokens.

    Parameters
    ----------
    maps:
        One a layer, all of one resolution: B x heads x r^2 x 77, rows sum to 1.

    Returns
    -------
    A_df and A_ob, each B x r x r: means over layers and heads, and over the four defect tokens.
    """
    mean = torch.stack([layer.mean(dim=1) for layer in maps]).mean(dim=0)
    side = round(mean.shape[1] ** 0.5)
    defect = mean[:, :, list(DEFECT)].mean(dim=2)
    return defect.reshape(-1, side, side), mean[:, :, OBJECT].reshape(-1, side, side)


def min_max(values: torch.Tensor, over: Literal["batch", "image"]) -> torch.Tensor:
    """Scale to 0..1 over the whole micro-batch (published) or each image; a constant map becomes 0."""
    dims = tuple(range(values.ndim)) if over == "batch" else tuple(range(1, values.ndim))
    low, high = values.amin(dims, keepdim=True), values.amax(dims, keepdim=True)
    return (values - low) / (high - low).clamp(min=1e-12)


def mask_pyramid(masks: torch.Tensor, latent: int) -> list[torch.Tensor]:
    """Targets at half and a quarter of the latents' side.

    B x S x S masks are brought to the latents' side bilinearly (no antialiasing), then max-pooled 2 x 2, twice.
    """
    small = F.interpolate(masks[:, None], size=(latent, latent), mode="bilinear", align_corners=False)
    half = F.max_pool2d(small, 2)
    return [half[:, 0], F.max_pool2d(half, 2)[:, 0]]


def alignment(
    maps: Sequence[torch.Tensor],
    target: torch.Tensor,
    *,
    normalise: Literal["batch", "image"] = "batch",
    cells: Literal["any", "full"] = "any",
) -> torch.Tensor:
    """Decoupled anomaly alignment loss at one resolution.

    mean (A_df - M)^2 over all cells, plus the mean of (A_ob - (1 - M))^2 over the defect's cells: there the product's
    token has to vanish. Nothing constrains it elsewhere. The defect's cells are those with M > 0, or M = 1 (``full``,
    published); where there are none the second term is left out instead of being 0/0.

    Parameters
    ----------
    maps:
        As :func:`token_maps`.
    target:
        B x r x r, M in [0, 1].
    """
    defect, product = (min_max(values, normalise) for values in token_maps(maps))
    loss = (defect - target).square().mean()
    chosen = target > 0 if cells == "any" else target == 1
    if chosen.any():
        loss = loss + (product - (1 - target))[chosen].square().mean()
    return loss


def focal(probabilities: torch.Tensor, target: torch.Tensor, *, gamma: float = 2.0) -> torch.Tensor:
    """Focal loss over two classes, mean of -(1 - p_t)^gamma log p_t.

    Parameters
    ----------
    probabilities:
        B x 2 x H x W, channel 1 is the defect.
    target:
        B x H x W bool.
    """
    smooth = 1e-5  # as published: keeps the logarithm finite
    wanted = target.to(probabilities.dtype)
    classes = torch.stack([1 - wanted, wanted], dim=1).clamp(smooth, 1 - smooth)
    p = (classes * probabilities).sum(dim=1) + smooth
    return (-((1 - p).clamp(min=0) ** gamma) * p.log()).mean()
