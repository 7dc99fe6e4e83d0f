"""The spatial encoder E: a binary mask in, n tokens out that tell where it is.

The backbone is the published code's: a 50-layer improved residual network with a feature pyramid (the paper calls it
ResNet-50 with FPN), then a head of strided convolutions for each token, all on the pyramid's finest level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True)
class Size:
    """How large an encoder is.

    ``side`` of the mask it looks at, pixels; ``stem`` channels of the first convolution; ``widths`` and ``units`` of
    the four groups; ``pyramid`` channels of the pyramid; ``head`` channels of the heads, None: as many as a token has.
    """

    side: int
    stem: int
    widths: tuple[int, int, int, int]
    units: tuple[int, int, int, int]
    pyramid: int
    head: int | None


PAPER = Size(256, 64, (64, 128, 256, 512), (3, 4, 14, 3), 512, None)
SMALL = Size(128, 8, (8, 16, 32, 64), (1, 1, 1, 1), 32, 32)
"""Ours, for small bases: the same plan with a unit a group and an eighth of the channels, on 128 pixels."""

SIZES = {"paper": PAPER, "small": SMALL}


class Unit(nn.Module):
    """BN, conv 3x3, PReLU, conv 3x3 (strided), BN, plus the shortcut; nothing after the sum, no biases."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = (
            nn.MaxPool2d(1, stride)
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs x h x w to B x outputs x h/stride x w/stride."""
        summed: torch.Tensor = self.body(x) + self.shortcut(x)
        return summed


class EqualLinear(nn.Module):
    """A linear layer whose weights are N(0, 1), scaled by 1 / sqrt(inputs) when it runs (Karras et al., 2018)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs to B x outputs."""
        return F.linear(x, self.weight * self.scale, self.bias)


class Head(nn.Module):
    """Halves a map down to one pixel, then a linear layer: one token."""

    def __init__(self, inputs: int, side: int, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(int(math.log2(side))):
            layers += [nn.Conv2d(inputs if number == 0 else channels, channels, 3, 2, padding=1), nn.LeakyReLU(0.01)]
        self.convolutions = nn.Sequential(*layers)
        self.linear = EqualLinear(channels, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs x side x side to B x width."""
        token: torch.Tensor = self.linear(self.convolutions(x).flatten(1))
        return token


class SpatialEncoder(nn.Module):
    """Masks to tokens.

    Parameters
    ----------
    tokens, width:
        How many tokens, and their length: the text encoder's width.
    size:
        ``PAPER`` has 356,019,392 parameters for 4 tokens of 1280.
    """

    def __init__(self, tokens: int, width: int, size: Size = PAPER) -> None:
        super().__init__()
        self.size = size
        self.stem = nn.Sequential(
            nn.Conv2d(3, size.stem, 3, padding=1, bias=False), nn.BatchNorm2d(size.stem), nn.PReLU(size.stem)
        )
        self.groups = nn.ModuleList()
        inputs = size.stem
        for channels, count in zip(size.widths, size.units, strict=True):
            units = [Unit(inputs, channels, 2), *(Unit(channels, channels, 1) for _ in range(count - 1))]
            self.groups.append(nn.Sequential(*units))
            inputs = channels
        self.lateral_2 = nn.Conv2d(size.widths[2], size.pyramid, 1)
        self.lateral_1 = nn.Conv2d(size.widths[1], size.pyramid, 1)
        # The pyramid's top is the last group as it is, so both have to be as wide.
        self.top: nn.Module = (
            nn.Identity() if size.widths[3] == size.pyramid else nn.Conv2d(size.widths[3], size.pyramid, 1)
        )
        self.heads = nn.ModuleList(Head(size.pyramid, size.side // 4, size.head or width, width) for _ in range(tokens))

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """B x S x S masks of 0 and 1, of any side, to B x n x width."""
        side = self.size.side
        if masks.shape[-1] != side:
            masks = (F.interpolate(masks[:, None], (side, side), mode="bilinear", align_corners=False) >= 0.5)[:, 0]
        x = self.stem((2 * masks.float() - 1)[:, None].expand(-1, 3, -1, -1))
        taps = []
        for group in self.groups:
            x = group(x)
            taps.append(x)
        _, c1, c2, c3 = taps
        p2 = _doubled(self.top(c3), c2) + self.lateral_2(c2)
        p1 = _doubled(p2, c1) + self.lateral_1(c1)
        return torch.stack([head(p1) for head in self.heads], dim=1)


def _doubled(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
