"""Look at chosen attention maps and feature maps while a network runs; nothing else is kept.

::

    with AttentionTap(unet, ["down_blocks.1.attentions.0.transformer_blocks.0.attn2"]) as tap:
        unet(...)
        maps = tap.maps[0]          # B x heads x pixels x keys, with their gradient
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn


class AttentionTap:
    """Keeps softmax(Q K^T / sqrt(d)) of the named attention layers, as of the last forward pass.

    Attributes
    ----------
    maps:
        In the order of the names: B x heads x pixels x keys float32, on the device they are on, differentiable.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self._layers: list[Any] = [network.get_submodule(name) for name in names]
        self._found: list[torch.Tensor | None] = [None] * len(names)
        self._kept: list[Any] = []

    @property
    def maps(self) -> list[torch.Tensor]:
        """The maps of the last forward pass."""
        missing = [number for number, found in enumerate(self._found) if found is None]
        if missing:
            raise RuntimeError("the network has not run since the tap was set")
        return [found for found in self._found if found is not None]

    def keep(self, number: int, probabilities: torch.Tensor) -> None:
        """Called by a layer's processor."""
        self._found[number] = probabilities

    def __enter__(self) -> Self:
        self._kept = [layer.processor for layer in self._layers]
        for number, layer in enumerate(self._layers):
            layer.set_processor(_Keeping(self, number))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for layer, processor in zip(self._layers, self._kept, strict=True):
            layer.set_processor(processor)
        self._found = [None] * len(self._found)


class _Keeping:
    """An attention processor that computes the same as the usual one, in the open."""

    def __init__(self, tap: AttentionTap, number: int) -> None:
        self.tap, self.number = tap, number

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        def keep(probabilities: torch.Tensor) -> torch.Tensor:
            self.tap.keep(self.number, probabilities)
            return probabilities

        return attend(attn, hidden_states, encoder_hidden_states, probabilities=keep)


def attend(
    attn: Any,
    hidden_states: torch.Tensor,
    context: torch.Tensor | None = None,
    *,
    scores: Callable[[torch.Tensor], torch.Tensor] | None = None,
    probabilities: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """What an attention layer of diffusers computes, in the open: what comes in between can be looked at or changed.

    Parameters
    ----------
    hidden_states, context:
        B x pixels x C and B x keys x D; without a context it is self-attention.
    scores, probabilities:
        Called with Q K^T / sqrt(d) and with its softmax, B x heads x pixels x keys float32; what they give goes on.
    """
    context = hidden_states if context is None else context
    query, key, value = (
        tensor.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for tensor in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
    )
    found = query.float() @ key.float().transpose(-1, -2) * attn.scale
    found = (found if scores is None else scores(found)).softmax(dim=-1)
    found = found if probabilities is None else probabilities(found)
    mixed = (found.to(value.dtype) @ value).transpose(1, 2).flatten(-2)
    output: torch.Tensor = attn.to_out[1](attn.to_out[0](mixed))
    return output


class FeatureTap:
    """Keeps the outputs of the named modules, as of the last forward pass."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self._modules = [network.get_submodule(name) for name in names]
        self._handles: list[Any] = []
        self.features: list[torch.Tensor] = []

    def __enter__(self) -> Self:
        self.features = [torch.empty(0)] * len(self._modules)
        for number, module in enumerate(self._modules):
            self._handles.append(module.register_forward_hook(self._hook(number)))
        return self

    def _hook(self, number: int) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            self.features[number] = output[0] if isinstance(output, tuple) else output

        return keep

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
