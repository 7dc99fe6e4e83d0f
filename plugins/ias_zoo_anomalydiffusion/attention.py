"""Adaptive attention re-weighting: more of the anomaly's words where the picture still looks like the normal.

Two forms. The published code's weighs the logits, by latent differences under a dilated mask; the paper's weighs the
probabilities, by differences of decoded pixels under the mask. Neither is trained.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.diffusion.taps import attend

Mode = Literal["code", "paper"]
LARGEST = 1.5  # the code's clamp


def radius(timestep: int, steps: int, side: int = 32) -> int:
    """How far the code dilates the mask before the denoiser runs at ``timestep``, in latent cells.

    floor((t + 100) 8 / 1000), with 16 for 8 where there are exactly 50 steps; on latents of another side than 32 in
    proportion (ours).
    """
    factor = 16 if steps == 50 else 8
    return int((timestep + 100) * factor / 1000 * side / 32)


def dilate(masks: torch.Tensor, cells: int) -> torch.Tensor:
    """Grow B x 1 x h x w masks of 0 and 1 by a square of 2 cells + 1."""
    return F.max_pool2d(masks, 2 * cells + 1, 1, cells) if cells else masks


def code_weights(noisy: torch.Tensor, normal: torch.Tensor, dilated: torch.Tensor) -> torch.Tensor:
    """The published code's weight map.

    |M| (1/d) / sum(1/d) over the dilated mask M, with d = mean over channels of (M (z_t - y))^2, within [1, 1.5];
    1 outside.

    Parameters
    ----------
    noisy, normal:
        B x C x h x w: the noisy latents z_t and the normal's clean ones y.
    dilated:
        B x 1 x h x w of 0 and 1.

    Returns
    -------
    B x h x w.
    """
    distance = (dilated * (noisy - normal)).square().mean(dim=1)
    inside = dilated[:, 0] > 0
    inverse = torch.where(inside & (distance > 0), 1 / distance.clamp(min=torch.finfo(distance.dtype).tiny), 0.0)
    total = inverse.sum(dim=(1, 2), keepdim=True)
    count = dilated.sum(dim=(1, 2, 3))[:, None, None]
    weights = torch.where(total > 0, count * inverse / total, 1.0)
    return torch.where(inside, weights, 1.0).clamp(1, LARGEST)


def paper_weights(decoded: torch.Tensor, normal: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The paper's weight map: ||M||_1 Softmax over the mask of 1 / ||M y - M x0||^2; 1 outside.

    Where the paper leaves it open: the difference is the mean square over a latent cell's pixels and colours, so that
    the map is the latents' size.

    Parameters
    ----------
    decoded, normal:
        B x 3 x H x W pixels in [-1, 1]: the decoded prediction of the clean picture, and the normal.
    masks:
        B x 1 x h x w of 0 and 1.

    Returns
    -------
    B x h x w, of mean 1 over the mask.
    """
    square = (normal - decoded).square().mean(dim=1, keepdim=True)
    distance = F.adaptive_avg_pool2d(square, (masks.shape[-2], masks.shape[-1]))[:, 0].clamp(min=1e-6)
    inside = masks[:, 0] > 0
    scores = (1 / distance).masked_fill(~inside, float("-inf")).flatten(1)
    shares = torch.where(inside.flatten(1).any(dim=1, keepdim=True), scores, 0.0).softmax(dim=1).view_as(distance)
    count = masks.sum(dim=(1, 2, 3))[:, None, None]
    return torch.where(inside, count * shares, 1.0)


class Reweighting(threading.local):
    """Weighs the columns of some words in every cross-attention layer while it is entered.

    Threads that share the network have weights and spans of their own.

    Attributes
    ----------
    weights:
        B x h x w for the next run of the denoiser in this thread; None runs it unchanged.
    spans:
        Where the words are, [first, last) for each of the B prompts.
    """

    weights: torch.Tensor | None = None
    spans: Sequence[tuple[int, int]] = ()

    def __init__(self, network: nn.Module, mode: Mode) -> None:
        self.mode = mode
        self._layers: list[Any] = [module for name, module in network.named_modules() if name.endswith("attn2")]
        self._kept: list[Any] = []

    def __enter__(self) -> Self:
        self._kept = [layer.processor for layer in self._layers]
        for layer, processor in zip(self._layers, self._kept, strict=True):
            layer.set_processor(_Weighing(self, processor))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for layer, processor in zip(self._layers, self._kept, strict=True):
            layer.set_processor(processor)

    def columns(self, pixels: int, keys: int) -> torch.Tensor:
        """Factors of a layer with ``pixels`` queries: B x pixels x keys, 1 but in the anomaly's columns.

        The code also weighs the first column, the text's start.
        """
        assert self.weights is not None  # noqa: S101 - asked for with weights only
        side = round(pixels**0.5)
        weights = F.interpolate(self.weights[:, None], (side, side), mode="bilinear", align_corners=False).flatten(1)
        factors = weights.new_ones(len(weights), pixels, keys)
        for row, (first, last), weight in zip(factors, self.spans, weights, strict=True):
            row[:, first:last] = weight[:, None]
            if self.mode == "code":
                row[:, 0] = weight
        return factors


class _Weighing:
    """The attention processor."""

    def __init__(self, owner: Reweighting, usual: Any) -> None:
        self.owner, self.usual = owner, usual

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        if self.owner.weights is None or encoder_hidden_states is None:
            unchanged: torch.Tensor = self.usual(attn, hidden_states, encoder_hidden_states, attention_mask)
            return unchanged
        factors = self.owner.columns(hidden_states.shape[1], encoder_hidden_states.shape[1])[:, None]

        def weighed(values: torch.Tensor) -> torch.Tensor:
            return values * factors

        if self.owner.mode == "code":
            return attend(attn, hidden_states, encoder_hidden_states, scores=weighed)
        return attend(attn, hidden_states, encoder_hidden_states, probabilities=weighed)
