"""Two branches through one denoiser: adapters by row, self-attention between the branches, background compensation.

Rows come in pairs (b f): row 2b is the whole picture of pair b (the global branch), row 2b + 1 its anomaly on grey. An
attention layer runs on all rows, each with its branch's adapter; :class:`Interaction` then lets the two outputs at each
position see each other. No layer mixes pairs. Shapes: B pairs, N positions, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

Mix = Literal["code", "paper"]
HIDDEN = 320
"""Width of the background compensation's hidden layer, the same for every layer."""


class Interaction(nn.Module):
    """The self-attention interaction module (SAIM) of one attention layer; both branches share its weights.

    s = W_in LN(y); single-head attention of the two tokens (s_0, s_1) at each position; y_f + W_out(attention)_f.
    Published: every layer starts as torch starts linear layers, so that the network is another one at step 0.
    ``zero`` starts W_out at zero instead: at step 0 the network is the base (ours).
    """

    def __init__(self, channels: int, start: Literal["default", "zero"] = "default") -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.to_in = nn.Linear(channels, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.Linear(channels, channels)
        if start == "zero":
            nn.init.zeros_(self.to_out.weight)
            nn.init.zeros_(self.to_out.bias)

    def weights(self, y: torch.Tensor) -> torch.Tensor:
        """How much each branch attends to itself, B x 2 x N x 1; the rest goes to the other branch."""
        return self._attend(self.to_in(self.norm(y)))[0]

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """B x 2 x N x C, same out."""
        own, value = self._attend(self.to_in(self.norm(y)))
        other = value.flip(1)
        mixed: torch.Tensor = self.to_out(other + own * (value - other))
        return y + mixed

    def _attend(self, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # The softmax over two tokens is a sigmoid of the difference of their scores.
        query, key = self.to_q(s), self.to_k(s)
        scores = (query * (key - key.flip(1))).sum(dim=-1, keepdim=True) * s.shape[-1] ** -0.5
        return torch.sigmoid(scores), self.to_v(s)


class Background(nn.Module):
    """The background compensation module (BCM) of one self-attention layer.

    Changes what the global branch takes its keys and values from: the tokens h, with those of the background h_b.
    ``code``: (1 - a) h + a MLP(h_b), a starts at 0. ``paper``: h + a MLP(h_b), a starts at 0.1. The MLP is two linear
    layers with nothing in between.
    """

    def __init__(self, channels: int, mix: Mix = "code") -> None:
        super().__init__()
        self.down = nn.Linear(channels, HIDDEN)
        self.up = nn.Linear(HIDDEN, channels)
        self.amount = nn.Parameter(torch.tensor([0.0 if mix == "code" else 0.1]))
        self.mix = mix

    def forward(self, tokens: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """B x N x C each, same out."""
        told: torch.Tensor = self.amount * self.up(self.down(background))
        return (1 - self.amount) * tokens + told if self.mix == "code" else tokens + told


class Projections(Protocol):
    """How an attention layer's linear layers run with the adapters of the branches."""

    def __call__(self, layer: Any, values: torch.Tensor, branch: int | None) -> torch.Tensor:
        """Rows of pairs where ``branch`` is None, else rows of that branch alone."""
        ...


@dataclass(frozen=True)
class ByPeft:
    """peft's own routing: each row names its adapter."""

    names: tuple[str, str]

    def __call__(self, layer: Any, values: torch.Tensor, branch: int | None) -> torch.Tensor:
        """See :class:`Projections`."""
        rows = len(values)
        names = [self.names[branch]] * rows if branch is not None else list(self.names) * (rows // 2)
        projected: torch.Tensor = layer(values, adapter_names=names)
        return projected


@dataclass
class Flow:
    """What one pass through the denoiser does; the attention layers are handed it with the call.

    Attributes
    ----------
    project:
        Runs the linear layers.
    interactions:
        One an attention layer; None: a pass of the global branch alone (the background's).
    backgrounds:
        One a self-attention layer, by the layer's number; None: no compensation.
    tokens:
        What the background's pass leaves for the pairs' pass: the input of each self-attention layer, by number.
    """

    project: Projections
    interactions: nn.ModuleList | None
    backgrounds: nn.ModuleDict | None = None
    tokens: dict[int, torch.Tensor] = field(default_factory=dict)


class DualProcessor:
    """An attention layer's part in a :class:`Flow`; diffusers calls it in place of its own processor."""

    def __init__(self, number: int, selfattention: bool) -> None:
        self.number, self.selfattention = number, selfattention

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        flow: Flow | None = None,  # diffusers drops keywords that are not in the signature
    ) -> torch.Tensor:
        """Rows x N x C, same out."""
        if flow is None:
            raise RuntimeError("a denoiser with two branches runs through DualModel.predict")
        branch = 0 if flow.interactions is None else None
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if self.selfattention and flow.backgrounds is not None:
            if branch == 0:
                flow.tokens[self.number] = hidden_states
            else:
                pairs = in_pairs(context)
                mixed = flow.backgrounds[str(self.number)](pairs[:, 0], flow.tokens[self.number])
                context = torch.stack([mixed, pairs[:, 1]], dim=1).flatten(0, 1)
        query, key, value = (
            _by_head(flow.project(layer, values, branch), attn.heads)
            for layer, values in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        heads = F.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        y = flow.project(attn.to_out[0], heads.transpose(1, 2).flatten(2), branch)
        if flow.interactions is not None:
            y = flow.interactions[self.number](in_pairs(y)).flatten(0, 1)
        return y


def in_pairs(rows: torch.Tensor) -> torch.Tensor:
    """2B x N x C to B x 2 x N x C."""
    return rows.reshape(-1, 2, *rows.shape[1:])


def _by_head(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows x N x C to rows x heads x N x C / heads."""
    return values.reshape(*values.shape[:2], heads, -1).transpose(1, 2)


def attention_layers(unet: nn.Module) -> list[tuple[str, Any]]:
    """The attention layers of a Stable-Diffusion denoiser's transformer blocks, in order, with their names."""
    return [(name, layer) for name, layer in unet.named_modules() if name.endswith((".attn1", ".attn2"))]
