"""Adaptive discriminator augmentation (ADA).

Karras et al.: *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020. What the discriminator sees,
real and generated, is augmented with a probability that follows how far it overfits: the mean sign of its logits on
real pictures is held at a target.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""Low-pass filter of the symlet wavelet of order 6 (Daubechies 1992): orthogonal to its even shifts."""


class Augment(nn.Module):
    """The pipe ``bgc``: blit, geometry, colour. Each operation is applied with the probability ``strength``.

    Parameters
    ----------
    pipe:
        Letters of the groups that take part: ``b`` (flip, quarter turns, shifts by whole pixels), ``g`` (scales,
        rotations, shifts) and ``c`` (brightness, contrast, luma flip, hue, saturation). Empty: nothing is changed.
    turns:
        Without, no quarter turns and no rotations, for products in one pose.
    """

    strength: torch.Tensor
    signs: torch.Tensor

    def __init__(self, pipe: str = "bgc", *, turns: bool = True) -> None:
        super().__init__()
        self.pipe, self.turns = pipe, turns
        self.register_buffer("strength", torch.zeros([]))
        self.register_buffer("signs", torch.zeros(2))  # how many logits were seen, and the sum of their signs

    @torch.no_grad()
    def observe(self, real: torch.Tensor) -> None:
        """Note the logits of real pictures."""
        self.signs += torch.stack([torch.ones_like(real).sum(), real.detach().float().sign().sum()]).to(self.signs)

    @torch.no_grad()
    def adjust(self, *, target: float, images: float, span: float, most: float = math.inf) -> float:
        """Move the strength by images / span, up where the mean sign is above the target; at least 0.

        Parameters
        ----------
        images:
            How many were seen since the last call.
        span:
            In so many images the strength goes from 0 to 1.
        most:
            Where the strength stops; the published code does not stop it, even above 1.

        Returns
        -------
        The mean sign since the last call.
        """
        mean = float(self.signs[1] / self.signs[0].clamp(min=1))
        step = math.copysign(1.0, mean - target) if mean != target else 0.0
        self.strength.add_(step * images / span).clamp_(0, most)
        self.signs.zero_()
        return mean

    def forward(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """B x 3 x R x R in about [-1, 1] to the same; what an image drew no operation of is passed on untouched."""
        p = float(self.strength)
        if p <= 0 or not self.pipe:
            return images
        batch, size = len(images), images.shape[-1]
        if {"b", "g"} & set(self.pipe):
            inverse, moved = self.draw_geometry(batch, size, p, generator)
            if bool(moved.any()):
                moved_images = resampled(images, inverse.to(images))
                images = torch.where(moved.to(images.device)[:, None, None, None], moved_images, images)
        if "c" in self.pipe:
            matrix = self.draw_colour(batch, p, generator).to(images)
            pixels = matrix[:, :3, :3] @ images.flatten(2) + matrix[:, :3, 3:]
            images = pixels.reshape(images.shape)
        return images

    def draw_geometry(
        self, batch: int, size: int, p: float, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inverse transforms (B x 3 x 3, of places in [-1, 1]) and which pictures they move (B bool)."""
        draw = _Draws(batch, generator)
        inverse, moved = torch.eye(3).repeat(batch, 1, 1), torch.zeros(batch, dtype=torch.bool)

        def apply(chosen: torch.Tensor, matrix: torch.Tensor) -> None:
            nonlocal inverse, moved
            inverse = torch.where(chosen[:, None, None], inverse @ matrix, inverse)
            moved = moved | chosen

        ones = torch.ones(batch)
        if "b" in self.pipe:
            apply(draw.chosen(p) & draw.chosen(0.5), _scale(-ones, ones))
            if self.turns:
                quarters = torch.floor(draw.uniform() * 4)
                apply(draw.chosen(p) & (quarters > 0), _rotation(quarters * (math.pi / 2)))
            shift = [torch.round((draw.uniform() * 2 - 1) * 0.125 * size) * (2 / size) for _ in range(2)]
            apply(draw.chosen(p), _shift(-shift[0], -shift[1]))
        if "g" in self.pipe:
            either = 1 - math.sqrt(1 - min(p, 1.0))  # so that with probability p at least one rotation happens
            scale = torch.exp2(-draw.normal() * 0.2)
            apply(draw.chosen(p), _scale(scale, scale))
            if self.turns:
                apply(draw.chosen(either), _rotation((draw.uniform() * 2 - 1) * math.pi))
            wide = torch.exp2(-draw.normal() * 0.2)
            apply(draw.chosen(p), _scale(wide, 1 / wide))
            if self.turns:
                apply(draw.chosen(either), _rotation((draw.uniform() * 2 - 1) * math.pi))
            apply(draw.chosen(p), _shift(-draw.normal() * 0.25, -draw.normal() * 0.25))  # 0.125 of a width of 2
        return inverse, moved

    def draw_colour(self, batch: int, p: float, generator: torch.Generator) -> torch.Tensor:
        """Colour transforms, B x 4 x 4: brightness, contrast, luma flip, hue, saturation, in this order."""
        draw = _Draws(batch, generator)
        grey = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
        luma = torch.outer(grey, grey)
        unit = torch.eye(4)
        matrix = unit.repeat(batch, 1, 1)

        def apply(chosen: torch.Tensor, change: torch.Tensor) -> None:
            nonlocal matrix
            matrix = torch.where(chosen[:, None, None], change @ matrix, matrix)

        brightness = unit.repeat(batch, 1, 1)
        brightness[:, :3, 3] = (draw.normal() * 0.2)[:, None]
        apply(draw.chosen(p), brightness)
        contrast = unit.repeat(batch, 1, 1)
        contrast[:, :3, :3] *= torch.exp2(draw.normal() * 0.5)[:, None, None]
        apply(draw.chosen(p), contrast)
        apply(draw.chosen(p) & draw.chosen(0.5), (unit - 2 * luma).repeat(batch, 1, 1))
        apply(draw.chosen(p), _about_grey((draw.uniform() * 2 - 1) * math.pi))
        tail = torch.outer(unit[3], unit[3])
        colours = unit - tail - luma
        apply(draw.chosen(p), luma + tail + colours * torch.exp2(draw.normal())[:, None, None])
        return matrix


class _Draws:
    """Random numbers, one a picture."""

    def __init__(self, batch: int, generator: torch.Generator) -> None:
        self._batch, self._generator = batch, generator

    def uniform(self) -> torch.Tensor:
        return torch.rand(self._batch, generator=self._generator)

    def normal(self) -> torch.Tensor:
        return torch.randn(self._batch, generator=self._generator)

    def chosen(self, p: float) -> torch.Tensor:
        return self.uniform() < p


def resampled(images: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """Move pictures by affine transforms: reflected at the borders, at twice the size between two low-pass filters.

    Parameters
    ----------
    images:
        B x C x R x R.
    inverse:
        B x 3 x 3: where in [-1, 1] the value of a place comes from.
    """
    large = _to_double(images)
    # The filter's weight is not in its middle: at twice the size, pictures lie a little beside where they should.
    delay = (len(SYM6) - 1) / 2 - sum(n * tap for n, tap in enumerate(SYM6)) / sum(SYM6)
    beside = torch.full((1,), delay / images.shape[-1], dtype=inverse.dtype)
    back, there = _shift(-beside, -beside).to(inverse), _shift(beside, beside).to(inverse)
    places = F.affine_grid((back @ inverse @ there)[:, :2], list(large.shape), align_corners=False)
    return _to_half(_bilinear(large, places))


def _bilinear(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Values between pixels at places (B x H x W x 2, x before y, in [-1, 1]); reflected at the borders.

    As ``grid_sample`` does, which many versions of torch cannot differentiate twice.
    """
    batch, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    first_row = torch.arange(batch, device=images.device)[:, None, None] * height

    def corners(place: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        along = torch.remainder((place + 1) * (size / 2), 2 * size)
        along = (torch.minimum(along, 2 * size - along) - 0.5).clamp(0, size - 1)
        first = along.floor()
        return first.long(), (first.long() + 1).clamp(max=size - 1), along - first

    left, right, across = corners(places[..., 0], width)
    top, bottom, down = corners(places[..., 1], height)

    def value(y: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        index = ((first_row + y) * width + x).flatten()
        return pixels.index_select(0, index) * weight.reshape(-1, 1)

    total = value(top, left, (1 - down) * (1 - across)) + value(top, right, (1 - down) * across)
    total = total + value(bottom, left, down * (1 - across)) + value(bottom, right, down * across)
    return total.reshape(*places.shape[:3], channels).permute(0, 3, 1, 2).contiguous()


def _to_double(images: torch.Tensor) -> torch.Tensor:
    """Twice the size, by the filter: even shifts are orthogonal, so :func:`_to_half` gives the pictures back."""

    def along(x: torch.Tensor, kernel: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
        return F.conv_transpose2d(x, kernel, stride=stride, groups=x.shape[1])

    padded = F.pad(images, (6, 6, 6, 6), mode="reflect")
    large = _filtered(padded, math.sqrt(2), along)
    height, width = 2 * images.shape[2], 2 * images.shape[3]
    return large[:, :, 17 : 17 + height, 17 : 17 + width]  # 12 of the padding, 5 of the filter's middle


def _to_half(images: torch.Tensor) -> torch.Tensor:
    def along(x: torch.Tensor, kernel: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
        return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])

    return _filtered(F.pad(images, (5, 5, 5, 5), mode="reflect"), 1 / math.sqrt(2), along)


def _filtered(
    images: torch.Tensor, gain: float, along: Callable[[torch.Tensor, torch.Tensor, tuple[int, int]], torch.Tensor]
) -> torch.Tensor:
    taps = torch.tensor(SYM6, dtype=images.dtype, device=images.device) * gain
    taps = taps.repeat(images.shape[1], 1, 1, 1)  # channels x 1 x 1 x 12
    return along(along(images, taps, (1, 2)), taps.transpose(2, 3), (2, 1))


def _scale(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _shift(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    matrix = torch.eye(3).repeat(len(x), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return matrix


def _rotation(angle: torch.Tensor) -> torch.Tensor:
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = cos, sin, -sin, cos
    return matrix


def _about_grey(angle: torch.Tensor) -> torch.Tensor:
    """Rotation of colours about the grey axis, B x 4 x 4 (Rodrigues' formula)."""
    matrix = torch.eye(4).repeat(len(angle), 1, 1)
    third = math.sqrt(1 / 3)
    cross = torch.tensor([[0, -third, third], [third, 0, -third], [-third, third, 0]])
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    matrix[:, :3, :3] = cos * torch.eye(3) + sin * cross + (1 - cos) / 3
    return matrix
