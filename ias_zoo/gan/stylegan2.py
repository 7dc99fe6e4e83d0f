"""StyleGAN2's generator and discriminator in plain PyTorch, written from the papers.

Karras et al.: *Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020; the sizes as of *Training Generative
Adversarial Networks with Limited Data*, NeurIPS 2020. No custom kernels; every layer is differentiable twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import nn

from ias_zoo.gan.layers import (
    ROOT_2,
    EqualConv2d,
    EqualLinear,
    ModulatedConv2d,
    blur,
    downsample,
    leaky,
    pixel_norm,
    upsample,
)

Change = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]
"""``change(resolution, before, features)``: the features that a block goes on with; ``before`` is what came into it."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a generator and its discriminator. Channels at a resolution r: min(base / r, largest).

    The defaults are those of StyleGAN2-ADA at 256 pixels.
    """

    resolution: int = 256
    base: int = 16384
    largest: int = 512
    latent: int = 512
    mapping_layers: int = 2

    def __post_init__(self) -> None:
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution {self.resolution}: expected a power of two >= 8")

    def channels(self, resolution: int) -> int:
        """The channels at a resolution."""
        return min(self.base // resolution, self.largest)

    @property
    def resolutions(self) -> list[int]:
        """4, 8, ... to the pictures' own."""
        return [2**n for n in range(2, int(math.log2(self.resolution)) + 1)]

    @property
    def styles(self) -> int:
        """How many styles a picture takes: one a convolution, one for the last RGB."""
        return 2 * len(self.resolutions)

    def to_dict(self) -> dict[str, int]:
        """The fields."""
        return asdict(self)


class MappingNetwork(nn.Module):
    """The mapping network: z, normalised, through fully connected layers with a hundredth of the learning rate."""

    average: torch.Tensor

    def __init__(self, latent: int, layers: int, copies: int) -> None:
        super().__init__()
        self.copies = copies
        self.layers = nn.ModuleList(EqualLinear(latent, latent, rate=0.01) for _ in range(layers))
        self.register_buffer("average", torch.zeros(latent))

    def forward(self, z: torch.Tensor, psi: float = 1.0) -> torch.Tensor:
        """B x latent to B x copies x latent; ``psi`` below 1 moves them towards the average."""
        w = pixel_norm(z)
        for layer in self.layers:
            w = leaky(layer(w) * ROOT_2)
        if psi != 1.0:
            w = self.average.lerp(w, psi)
        return w[:, None].expand(-1, self.copies, -1)

    @torch.no_grad()
    def track(self, w: torch.Tensor, decay: float = 0.995) -> None:
        """Move the average towards the mean of a batch of styles, B x latent."""
        self.average.copy_(w.detach().mean(dim=0).lerp(self.average, decay))


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution, noise of a learned strength, bias, leaky ReLU times sqrt(2)."""

    noise: torch.Tensor

    def __init__(self, inputs: int, outputs: int, styles: int, resolution: int, *, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, styles, 3, up=up)
        self.strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(resolution, resolution))

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        """``noise`` B x 1 x H x W; None takes the layer's own, the same for every picture."""
        drawn = self.noise[None, None] if noise is None else noise
        y = self.conv(x, w, ROOT_2)
        return leaky(y + (drawn * (self.strength * ROOT_2) + (self.bias * ROOT_2)[:, None, None]))


class ToPixels(nn.Module):
    """Modulated 1 x 1 convolution without demodulation, and a bias: to RGB, or to any other map."""

    def __init__(self, inputs: int, outputs: int, styles: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, styles, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """B x inputs x H x W to B x outputs x H x W."""
        return cast("torch.Tensor", self.conv(x, w) + self.bias[:, None, None])


class Convs(nn.Module):
    """The convolutions of a block: conv0 doubles the size (the first block has none), conv1 keeps it."""

    def __init__(self, sizes: Sizes, resolution: int) -> None:
        super().__init__()
        outputs = sizes.channels(resolution)
        self.count = 1 if resolution == 4 else 2
        if self.count == 2:
            self.conv0 = StyledConv(sizes.channels(resolution // 2), outputs, sizes.latent, resolution, up=True)
        self.conv1 = StyledConv(outputs, outputs, sizes.latent, resolution, up=False)

    def forward(self, x: torch.Tensor, ws: torch.Tensor, noise: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Features of half the size to features; ``ws`` B x count x latent, ``noise`` one a convolution."""
        if self.count == 2:
            x = self.conv0(x, ws[:, 0], noise[0])
        return cast("torch.Tensor", self.conv1(x, ws[:, self.count - 1], noise[self.count - 1]))


def count_of(convs: nn.Module) -> int:
    """How many convolutions a block has: so many styles and noises it takes."""
    return cast("Convs", convs).count


class Synthesis(nn.Module):
    """Styles to pictures: a learned 4 x 4 start, a block a resolution, RGB summed over the blocks."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.start = nn.Parameter(torch.randn(sizes.channels(4), 4, 4))
        self.convs = nn.ModuleDict({str(r): Convs(sizes, r) for r in sizes.resolutions})
        self.to_rgb = nn.ModuleDict({str(r): ToPixels(sizes.channels(r), 3, sizes.latent) for r in sizes.resolutions})

    def forward(
        self, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None = None, change: Change | None = None
    ) -> torch.Tensor:
        """B x styles x latent to B x 3 x R x R, about [-1, 1].

        Parameters
        ----------
        noise:
            What :func:`draw_noise` gives; None: each layer's own.
        change:
            May replace the features of any block.
        """
        x = self.start.expand(len(ws), -1, -1, -1)
        rgb, used = None, 0
        for name, convs in self.convs.items():
            count = count_of(convs)
            drawn: Sequence[torch.Tensor | None] = [None] * count if noise is None else noise[used : used + count]
            features = convs(x, ws[:, used : used + count], drawn)
            used += count
            x = features if change is None else change(int(name), x, features)
            pixels = self.to_rgb[name](x, ws[:, used])  # the style that the next block starts with
            rgb = pixels.clamp(-256, 256) if rgb is None else upsample(rgb) + pixels.clamp(-256, 256)
        return cast("torch.Tensor", rgb)


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.mapping = MappingNetwork(sizes.latent, sizes.mapping_layers, sizes.styles)
        self.synthesis = Synthesis(sizes)

    def forward(self, z: torch.Tensor, noise: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """B x latent to B x 3 x R x R."""
        return cast("torch.Tensor", self.synthesis(self.mapping(z), noise))


class Down(nn.Module):
    """A block of the discriminator: 3 x 3, 3 x 3 to half the size, and a 1 x 1 way past them; both times sqrt(0.5)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = EqualConv2d(inputs, inputs, 3)
        self.conv1 = EqualConv2d(inputs, outputs, 3, stride=2)
        self.skip = EqualConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs x H x W to B x outputs x H/2 x W/2."""
        past = self.skip(downsample(x))
        y = leaky(self.conv0(x) * ROOT_2)
        y = leaky(self.conv1(blur(y, 2)))  # sqrt(2) of the activation and sqrt(0.5) of the sum are one
        return torch.add(y, past, alpha=math.sqrt(0.5))


class Discriminator(nn.Module):
    """Residual discriminator with the minibatch's standard deviation as a last channel.

    Parameters
    ----------
    channels:
        Of its input: 3 for pictures.
    group:
        How many samples of a batch share a standard deviation.
    """

    def __init__(self, sizes: Sizes, channels: int = 3, group: int = 4) -> None:
        super().__init__()
        self.sizes, self.group = sizes, group
        last = sizes.channels(4)
        self.from_pixels = EqualConv2d(channels, sizes.channels(sizes.resolution), 1)
        self.blocks = nn.ModuleDict(
            {str(r): Down(sizes.channels(r), sizes.channels(r // 2)) for r in reversed(sizes.resolutions[1:])}
        )
        self.conv = EqualConv2d(last + 1, last, 3)
        self.full = EqualLinear(last * 16, last)
        self.out = EqualLinear(last, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """B x channels x R x R to B x 1 logits."""
        x = leaky(self.from_pixels(images) * ROOT_2)
        for block in self.blocks.values():
            x = block(x)
        x = torch.cat([x, spread_of_groups(x, self.group)], dim=1)
        x = leaky(self.conv(x) * ROOT_2)
        x = leaky(self.full(x.flatten(1)) * ROOT_2)
        return cast("torch.Tensor", self.out(x))


def spread_of_groups(x: torch.Tensor, group: int) -> torch.Tensor:
    """The mean over features of their standard deviation within a group of the batch, as a channel: B x 1 x H x W.

    A group is ``group`` samples, or as many as the batch has; samples n, n + B/g, ... share one.
    """
    batch, _, height, width = x.shape
    size = math.gcd(batch, group) if batch % min(group, batch) else min(group, batch)
    y = x.reshape(size, -1, *x.shape[1:])
    y = y - y.mean(dim=0)
    spread = (y.square().mean(dim=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return spread.repeat(size)[:, None, None, None].expand(-1, -1, height, width)


def draw_noise(sizes: Sizes, batch: int, generator: torch.Generator, device: torch.device) -> list[torch.Tensor]:
    """Noise for every convolution of a synthesis, in order: B x 1 x r x r each."""
    counts = [4, *(r for r in sizes.resolutions[1:] for _ in range(2))]
    return [torch.randn(batch, 1, r, r, generator=generator).to(device) for r in counts]


def mixed_styles(
    mapping: nn.Module, batch: int, latent: int, probability: float, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """Styles of a batch; with a probability, a sample's styles from a random layer on come from a second latent.

    Returns
    -------
    B x layers x latent, as the mapping gives them.
    """
    z = torch.randn(2, batch, latent, generator=generator).to(device)
    ws = mapping(z[0])
    if probability <= 0:
        return cast("torch.Tensor", ws)
    layers = ws.shape[1]
    cuts = torch.randint(1, max(layers, 2), (batch,), generator=generator)
    mixed = torch.rand(batch, generator=generator) < probability
    cuts = torch.where(mixed, cuts, layers).to(device)
    second = torch.arange(layers, device=device)[None, :] >= cuts[:, None]
    return torch.where(second[:, :, None], mapping(z[1]), ws)


def seeded(make: Callable[[], nn.Module], seed: int) -> Any:
    """Build a network with a start of its own, leaving the global random state alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def parameter_count(network: nn.Module) -> int:
    """How many numbers train, buffers not counted."""
    return sum(parameter.numel() for parameter in network.parameters())


def sizes_from(values: Mapping[str, Any]) -> Sizes:
    """Sizes from what :meth:`Sizes.to_dict` gave."""
    return Sizes(**{name: int(values[name]) for name in Sizes().to_dict()})
