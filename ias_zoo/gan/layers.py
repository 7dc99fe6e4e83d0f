"""Equalised layers, filtered resampling, modulated convolution. Karras et al., CVPR 2020 (StyleGAN2).

Plain PyTorch. Every layer is differentiable twice and has no branch on data, so that penalties on gradients and
``torch.compile`` work.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

ROOT_2 = math.sqrt(2.0)
CLAMP = 256.0  # activations of StyleGAN2-ADA's networks stay within this


class EqualLinear(nn.Linear):
    """Fully connected; weights N(0, 1) / rate, used times rate / sqrt(inputs): the equalised learning rate.

    ``rate`` multiplies the learning rate of weights and bias; ``start`` is the bias's first value.
    """

    def __init__(self, inputs: int, outputs: int, *, start: float = 0.0, rate: float = 1.0) -> None:
        super().__init__(inputs, outputs)
        self.gain, self.rate = rate / math.sqrt(inputs), rate
        with torch.no_grad():
            self.weight.normal_().div_(rate)
            self.bias.fill_(start / rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs to B x outputs."""
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class EqualConv2d(nn.Conv2d):
    """Convolution with weights N(0, 1) used times 1 / sqrt(fan-in). Padding keeps the size; ``stride`` 2 halves it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2 if stride == 1 else 0, bias=bias)
        self.gain = 1 / math.sqrt(inputs * kernel * kernel)
        with torch.no_grad():
            self.weight.normal_()
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs x H x W to B x outputs x H' x W'."""
        return F.conv2d(x, self.weight * self.gain, self.bias, self.stride, self.padding)


def effective_kernel(layer: nn.Module, gain: float) -> torch.Tensor:
    """The kernel of a plain ``Conv2d`` times its gain, and what peft's active adapters add to that.

    Adapters are not scaled: what they add is what peft would merge into the scaled kernel.
    """
    if isinstance(layer, nn.Conv2d):
        return layer.weight * gain
    adapted = cast("Any", layer)
    kernel: torch.Tensor = adapted.get_base_layer().weight * gain
    if not adapted.disable_adapters:
        for name in adapted.active_adapters:
            kernel = kernel + adapted.get_delta_weight(name)
    return kernel


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU of slope 0.2, clamped. The gain sqrt(2) is the caller's: it passes through to what it feeds in."""
    return F.hardtanh(F.leaky_relu(x, 0.2), -CLAMP, CLAMP)  # its gradient takes one pass, clamp's four


def pixel_norm(z: torch.Tensor) -> torch.Tensor:
    """Every vector to mean square 1, B x D."""
    return z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def blur(x: torch.Tensor, before: int, gain: float = 1.0) -> torch.Tensor:
    """Filter with [1, 3, 3, 1] / 8 in both directions, ``before`` zeros on each side: H to H + 2 before - 3."""
    return F.conv2d(x, _tent(x, gain), padding=before, groups=x.shape[1])


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Twice the size: zeros between pixels, filtered with [1, 3, 3, 1] / 4. B x C x H x W to B x C x 2H x 2W."""
    return F.conv_transpose2d(x, _tent(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def downsample(x: torch.Tensor) -> torch.Tensor:
    """Half the size, filtered with [1, 3, 3, 1] / 8. B x C x H x W to B x C x H/2 x W/2."""
    return F.conv2d(x, _tent(x, 1.0), stride=2, padding=1, groups=x.shape[1])


def _tent(x: torch.Tensor, gain: float) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    return (taps[:, None] * (taps * gain)).repeat(x.shape[1], 1, 1, 1)


class ModulatedConv2d(nn.Module):
    """y = demod * conv(x * s) with s = A(w): convolution whose input channels are scaled by a style.

    demod = 1 / sqrt(sum over inputs and kernel of (W s)^2 + 1e-8), for each output channel. StyleGAN2, section 2.2.
    The kernel is a child ``Conv2d``, its equalised gain is here, and A is a child ``EqualLinear``: peft can put
    adapters on both, and the kernel is used with its adapter, here and in the demodulation. (peft builds adapters of a
    convolution from its own class, so that the child is a plain one.)

    Parameters
    ----------
    up:
        Twice the size: a transposed convolution, then the filter.
    """

    def __init__(
        self, inputs: int, outputs: int, styles: int, kernel: int, *, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(styles, inputs, start=1.0)
        self.kernel = nn.Conv2d(inputs, outputs, kernel, bias=False)
        self.gain = 1 / math.sqrt(inputs * kernel * kernel)
        nn.init.normal_(self.kernel.weight)
        self.up, self.demodulate, self.size = up, demodulate, kernel

    def forward(self, x: torch.Tensor, w: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        """B x inputs x H x W and B x styles to B x outputs x H' x W', times ``gain``."""
        style = self.affine(w)
        kernel = effective_kernel(self.kernel, self.gain)
        y = x * style[:, :, None, None]
        if self.up:
            y = F.conv_transpose2d(y, kernel.transpose(0, 1), stride=2)
            y = blur(y, 1, gain=4.0)
        else:
            y = F.conv2d(y, kernel, padding=self.size // 2)
        if self.demodulate:
            power = style.square() @ kernel.square().sum(dim=(2, 3)).t()
            demod: torch.Tensor = (power + 1e-8).rsqrt() * gain
            return y * demod[:, :, None, None]
        return y if gain == 1.0 else y * gain
