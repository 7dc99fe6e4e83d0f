"""U2-Net, a salient-object network, for people who have its weights.

Qin, Zhang, Huang, Dehghan, Zaiane, Jagersand: *U2-Net: Going Deeper with Nested U-Structure for Salient Object
Detection*, Pattern Recognition 2020, arXiv 2005.09007: table 1 and figures 2 and 5. No library that we know keeps it.
Parameters have the names of the authors' weights, so that those load once they are converted to safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.synthesizer import RGB

SIDE = 320
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Of each stage: height of its U, or 0 for the flat one with dilations; channels in, middle, out.
ENCODER = (
    (7, 3, 32, 64),
    (6, 64, 32, 128),
    (5, 128, 64, 256),
    (4, 256, 128, 512),
    (0, 512, 256, 512),
    (0, 512, 256, 512),
)
DECODER = ((7, 128, 16, 64), (6, 256, 32, 64), (5, 512, 64, 128), (4, 1024, 128, 256), (0, 1024, 256, 512))
SIDES = (64, 64, 128, 256, 512, 512)


class ConvUnit(nn.Module):
    """3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs x H x W to B x outputs x H x W."""
        return F.relu(self.bn_s1(self.conv_s1(x)))


class Block(nn.Module):
    """A residual U-block: a small U-Net of a given height behind a convolution; flat ones dilate instead of pooling."""

    def __init__(self, height: int, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.flat = height == 0
        self.height = 4 if self.flat else height
        spread = (1, 2, 4, 8) if self.flat else (1,) * (self.height - 1) + (2,)
        self.rebnconvin = ConvUnit(inputs, outputs)
        for level in range(1, self.height + 1):
            self.add_module(f"rebnconv{level}", ConvUnit(outputs if level == 1 else middle, middle, spread[level - 1]))
        for level in range(1, self.height):
            unit = ConvUnit(2 * middle, outputs if level == 1 else middle, spread[level - 1])
            self.add_module(f"rebnconv{level}d", unit)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x inputs x H x W to B x outputs x H x W."""
        x = self.rebnconvin(x)
        here, kept = x, []
        for level in range(1, self.height + 1):
            pooled = not self.flat and 1 < level < self.height
            here = self.get_submodule(f"rebnconv{level}")(_halved(here) if pooled else here)
            kept.append(here)
        here = kept.pop()
        for level in range(self.height - 1, 0, -1):
            beside = kept.pop()
            here = self.get_submodule(f"rebnconv{level}d")(torch.cat([_like(here, beside), beside], dim=1))
        whole: torch.Tensor = here + x
        return whole


class U2Net(nn.Module):
    """The full network, 44.0 million parameters: 3 x 320 x 320 to a saliency of 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        for number, stage in enumerate(ENCODER, start=1):
            self.add_module(f"stage{number}", Block(*stage))
        for number, stage in enumerate(DECODER, start=1):
            self.add_module(f"stage{number}d", Block(*stage))
        for number, channels in enumerate(SIDES, start=1):
            self.add_module(f"side{number}", nn.Conv2d(channels, 1, 3, padding=1))
        self.outconv = nn.Conv2d(len(SIDES), 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x 3 x H x W, normalised, to B x H x W: the fused map."""
        kept = []
        here = x
        for number in range(1, len(ENCODER) + 1):
            here = self.get_submodule(f"stage{number}")(here if number == 1 else _halved(here))
            kept.append(here)
        decoded = [kept.pop()]
        for number in range(len(DECODER), 0, -1):
            beside = kept.pop()
            joined = torch.cat([_like(decoded[-1], beside), beside], dim=1)
            decoded.append(self.get_submodule(f"stage{number}d")(joined))
        maps = [self.get_submodule(f"side{number}")(found) for number, found in enumerate(reversed(decoded), start=1)]
        fused: torch.Tensor = self.outconv(torch.cat([_like(one, maps[0]) for one in maps], dim=1))
        return fused.sigmoid()[:, 0]


def open_u2net(path: str | os.PathLike[str]) -> Callable[[RGB], npt.NDArray[np.float32]]:
    """Open weights; gives a function from H x W x 3 uint8 to saliency, H x W float32 of 0 to 1.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or its tensors are others.
    """
    if not os.path.exists(path):  # noqa: PTH110 - the path is the user's, as it is
        raise FileNotFoundError(path)
    with torch.device("meta"):
        network = U2Net()
    try:
        network.load_state_dict(load_file(path), assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    network.requires_grad_(False).eval()
    return lambda image: saliency(network, image)


def saliency(network: U2Net, image: RGB) -> npt.NDArray[np.float32]:
    """Run the network the way its authors do: 320 x 320, over the brightest value, ImageNet's mean and spread."""
    values = torch.from_numpy(np.array(image.transpose(2, 0, 1), dtype=np.float32))[None]
    values = F.interpolate(values, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    values = values / values.max().clamp(min=1e-6)
    values = (values - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SPREAD)[:, None, None]
    with torch.no_grad():
        found = network(values)
    back = F.interpolate(found[None], size=image.shape[:2], mode="bilinear", align_corners=False)[0, 0]
    return np.asarray(back.numpy(), dtype=np.float32)


def _halved(x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _like(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=other.shape[2:], mode="bilinear", align_corners=False)
