"""The two networks of Defect-GAN (Zhang et al., WACV 2021, arXiv 2103.15158).

The generator encodes a picture with a stride of 4 and decodes it to its size; the control map steers the decoder alone,
through spatially-adaptive normalisation (SPADE, Park et al., CVPR 2019). It gives a foreground and a spatial
distribution map, and its output is the foreground laid over the input through that map. The discriminator is StarGAN's
(Choi et al., CVPR 2018): patch scores and class logits over one trunk without normalisation.

Shapes: B pictures of H x W pixels, H and W multiples of 4; C control channels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

STRIDE = 4
"""How much smaller than the picture the encoder's features are."""

RestoreControl = Literal["negate", "normal_channel"]


@dataclass(frozen=True)
class Architecture:
    """Sizes of both networks. The defaults are the published ones, where the sources tell, and StarGAN's elsewhere.

    Attributes
    ----------
    categories:
        Names of the defect categories, one control channel and one class each.
    size:
        Height and width that the discriminator's class head is made for; the generator takes any.
    width, hidden:
        Channels of the generator's first layer (then twice and four times as many), and of SPADE's shared layer.
    discriminator_width, discriminator_layers, discriminator_limit:
        Channels of the discriminator's first layer, how many layers halve the size, and the most channels of one.
    restore_control:
        What asks for the removal of a defect: the negative of its control map, or a channel of its own.
    classes:
        ``multi``: a logit a category, the normal is all zero. ``single``: one more logit, for the normal.
    """

    categories: tuple[str, ...]
    size: int = 128
    width: int = 64
    hidden: int = 128
    discriminator_width: int = 64
    discriminator_layers: int = 6
    discriminator_limit: int = 2048
    restore_control: RestoreControl = "negate"
    classes: Literal["multi", "single"] = "multi"

    def __post_init__(self) -> None:
        if not self.categories:
            raise ValueError("no category")
        if self.size % STRIDE or self.size >> self.discriminator_layers < 1:
            raise ValueError(
                f"size={self.size}: expected a multiple of {STRIDE}, at least {2**self.discriminator_layers} "
                f"for {self.discriminator_layers} discriminator layers"
            )

    @property
    def channels(self) -> int:
        """Channels of a control map."""
        return len(self.categories) + (self.restore_control == "normal_channel")

    @property
    def logits(self) -> int:
        """Class logits of the discriminator."""
        return len(self.categories) + (self.classes == "single")

    def to_json(self) -> str:
        """What :meth:`from_json` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read an architecture.

        Raises
        ------
        ValueError, TypeError
            If the text is something else.
        """
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "categories": tuple(values["categories"])})

    # Control maps

    def label(self, category: int) -> torch.Tensor:
        """The label vector of a category, float32 [C_defects]."""
        return F.one_hot(torch.tensor(category), len(self.categories)).float()

    def deface(self, labels: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
        """The control of the defacement process.

        Parameters
        ----------
        labels:
            B x number of categories, 0 or 1; several may be 1.
        where:
            B x 1 x H x W in [0, 1]: positions at which the defect is asked for. None: all (as in the paper's training).

        Returns
        -------
        B x C where it is the same everywhere, else B x C x H x W.
        """
        spare = self.channels - len(self.categories)
        control = F.pad(labels, (0, spare))
        return control if where is None else control[:, :, None, None] * where

    def restore(self, labels: torch.Tensor) -> torch.Tensor:
        """The control of the restoration process, B x C, the same everywhere."""
        if self.restore_control == "negate":
            return -labels
        return F.one_hot(torch.full((len(labels),), self.channels - 1, device=labels.device), self.channels).float()


class Spade(nn.Module):
    """Spatially-adaptive normalisation: (1 + gamma(A)) IN(x) + beta(A)."""

    def __init__(self, channels: int, control: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(control, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, control: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` (B x channels x h x w) by a control of B x C or B x C x H x W."""
        gamma, beta = self.modulation(control, (x.shape[2], x.shape[3]))
        modulated: torch.Tensor = torch.addcmul(beta, self.norm(x), 1 + gamma)
        return modulated

    def modulation(self, control: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Gamma and beta at a size.

        A control that is the same everywhere gives two convolutions of a constant: away from the zero-padded border,
        which reaches two pixels in, all places are equal. They are computed once, on 5 x 5 places, and repeated.
        """
        if control.ndim == 4:
            return self._convolved(F.interpolate(control, size=size, mode="area"))
        small = (min(size[0], 5), min(size[1], 5))
        gamma, beta = self._convolved(control[:, :, None, None].expand(-1, -1, *small))
        return _stretched(gamma, size), _stretched(beta, size)

    def _convolved(self, control: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shared = F.relu(self.shared(control))
        return self.gamma(shared), self.beta(shared)


def _stretched(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Repeat the middle row and column of a 5 x 5 map up to a size."""
    for dim, length in ((2, size[0]), (3, size[1])):
        if length > 5:
            first, middle, last = torch.split(values, [2, 1, 2], dim=dim)
            shape = list(middle.shape)
            shape[dim] = length - 4
            values = torch.cat([first, middle.expand(shape), last], dim=dim)
    return values


class Noise(nn.Module):
    """Adaptive noise insertion: x + s N, one plane of noise a sample, s learned for each channel and 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """``x`` is B x channels x h x w, ``noise`` B x 1 x h x w."""
        return x + self.scale[:, None, None] * noise


class SpadeBlock(nn.Module):
    """SPADE residual block: twice SPADE, leaky ReLU, convolution, noise; a 1 x 1 shortcut where widths differ."""

    def __init__(self, inputs: int, outputs: int, control: int, hidden: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.spade1, self.spade2 = Spade(inputs, control, hidden), Spade(middle, control, hidden)
        self.conv1 = nn.Conv2d(inputs, middle, 3, padding=1)
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=1)
        self.noise1, self.noise2 = Noise(middle), Noise(outputs)
        self.shortcut_spade = Spade(inputs, control, hidden) if inputs != outputs else None
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x: torch.Tensor, control: torch.Tensor, noise: Sequence[torch.Tensor]) -> torch.Tensor:
        """``noise`` holds two planes of the block's size."""
        kept = x
        if self.shortcut is not None and self.shortcut_spade is not None:
            kept = self.shortcut(self.shortcut_spade(x, control))
        x = self.noise1(self.conv1(F.leaky_relu(self.spade1(x, control), 0.2)), noise[0])
        x = self.noise2(self.conv2(F.leaky_relu(self.spade2(x, control), 0.2)), noise[1])
        return kept + x


class ResidualBlock(nn.Module):
    """Conv, IN, ReLU, conv, IN, and the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape."""
        y: torch.Tensor = x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return y


class Layer(NamedTuple):
    """What the generator paints: a foreground, B x 3 x H x W in [-1, 1], and its map, B x 1 x H x W in [0, 1]."""

    foreground: torch.Tensor
    where: torch.Tensor

    def over(self, picture: torch.Tensor) -> torch.Tensor:
        """Layer-wise composition: the picture where the map is 0, the foreground where it is 1."""
        return picture * (1 - self.where) + self.foreground * self.where


class Generator(nn.Module):
    """One generator for both processes; the control says which, and for defacement what and where."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, control, hidden = architecture.width, architecture.channels, architecture.hidden
        self.encoder = nn.Sequential(
            *_down(3, width, 7, 1, 3),
            *_down(width, 2 * width, 4, 2, 1),
            *_down(2 * width, 4 * width, 4, 2, 1),
            *(ResidualBlock(4 * width) for _ in range(3)),
        )
        wide = [(4 * width, 4 * width)] * 3 + [(4 * width, 2 * width), (2 * width, width)]
        self.decoder = nn.ModuleList(SpadeBlock(inputs, outputs, control, hidden) for inputs, outputs in wide)
        self.foreground = nn.Conv2d(width, 3, 7, padding=3)
        self.where = nn.Conv2d(width, 1, 7, padding=3)
        self.grey = False
        """Whether foregrounds are grey, for products of which all pictures are."""

    def forward(self, picture: torch.Tensor, control: torch.Tensor, noise: Sequence[torch.Tensor]) -> Layer:
        """Paint a layer.

        Parameters
        ----------
        picture:
            B x 3 x H x W in [-1, 1].
        control:
            B x C, or B x C x H x W.
        noise:
            As :func:`noise_shapes` says.
        """
        x = self.encoder(picture)
        for number, block in enumerate(self.decoder):
            if number >= 3:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x, control, noise[2 * number : 2 * number + 2])
        x = F.leaky_relu(x, 0.2)
        heads = (self.foreground, self.where)  # one call: a convolution to a single channel is slow
        weight = torch.cat([head.weight for head in heads])
        bias = torch.cat([head.bias for head in heads if head.bias is not None])
        painted = F.conv2d(x, weight, bias, padding=3)
        foreground = torch.tanh(painted[:, :3])
        if self.grey:
            foreground = foreground.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return Layer(foreground, torch.sigmoid(painted[:, 3:]))


def noise_shapes(height: int, width: int) -> list[tuple[int, int, int]]:
    """The planes of noise that a picture of a size takes: two for each of the five decoder blocks, 1 x h x w."""
    sides = [(height // factor, width // factor) for factor in (4, 4, 4, 2, 1)]
    return [(1, *side) for side in sides for _ in range(2)]


def _down(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return [conv, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU()]


class Judged(NamedTuple):
    """What the discriminator says: patch scores B x 1 x h x w (unbounded), class logits B x classes."""

    scores: torch.Tensor
    logits: torch.Tensor


class Discriminator(nn.Module):
    """StarGAN's discriminator: 4 x 4 convolutions of stride 2 with leaky ReLU 0.01, no normalisation, two heads."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, outputs = 3, architecture.discriminator_width
        for _ in range(architecture.discriminator_layers):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.01)]
            inputs, outputs = outputs, min(2 * outputs, architecture.discriminator_limit)
        self.trunk = nn.Sequential(*layers)
        left = architecture.size >> architecture.discriminator_layers
        self.scores = nn.Conv2d(inputs, 1, 3, padding=1, bias=False)
        self.classes = nn.Conv2d(inputs, architecture.logits, left, bias=False)
        # PyTorch's own start shrinks the signal by a factor of about 2 a layer (the sources do not say how they start):
        # without normalisation the heads then see next to nothing of the picture, and neither learns for a long time.
        for layer in self.trunk:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, a=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, picture: torch.Tensor) -> Judged:
        """Judge B x 3 x size x size pictures in [-1, 1]."""
        features = self.trunk(picture)
        return Judged(self.scores(features), self.classes(features).flatten(1))
