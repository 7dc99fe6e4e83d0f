"""Refined mask prediction: the branch of SeaS that says where the defect is.

Coarse: two feature maps of the denoiser's decoder, joined and mixed by self-attention at the latents' size. Refined:
three times doubled in size, each time gated by a feature map of the autoencoder's decoder. One head reads the mask from
either. The published module creates one convolution a step that nothing calls (996,480 parameters in all); it is left
out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn
from torch.nn import functional as F  # noqa: N812


def _conv(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; same size out."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Refinement(nn.Module):
    """One doubling: u = upsampled c, m = C4 C3 C2 u, g = m + C5 u + C9 C8 C7 m, out = u + C1(V) * g."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.gate_features = _conv(features, width, 1)  # C1
        self.middle = nn.Sequential(_conv(width, width, 1), _conv(width, width, 3), _conv(width, width, 1))  # C2 C3 C4
        self.straight = _conv(width, width, 1)  # C5
        self.deeper = nn.Sequential(_conv(width, width, 1), _conv(width, width, 3), _conv(width, width, 1))  # C7 C8 C9

    def forward(self, coarse: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """B x width x h x w and B x features x 2h x 2w to B x width x 2h x 2w."""
        up = F.interpolate(coarse, size=features.shape[-2:], mode="bilinear", align_corners=True)
        middle = self.middle(up)
        gate = middle + self.straight(up) + self.deeper(middle)
        refined: torch.Tensor = up + self.gate_features(features) * gate
        return refined


class SelfAttention(nn.Module):
    """Group norm, projection, layers of self-attention and GEGLU feed-forward over all pixels, projection, residual."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32 if width % 32 == 0 else 16, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.layers = nn.ModuleList(
            BasicTransformerBlock(width, heads, width // heads, activation_fn="geglu") for _ in range(layers)
        )
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """B x width x h x w, same out."""
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        mixed: torch.Tensor = self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[-2:]))
        return x + mixed


class MaskHead(nn.Module):
    """The whole branch.

    Parameters
    ----------
    unet_channels:
        Channels of the outputs of the denoiser's second and third decoder blocks (Stable Diffusion 1.x: 1280, 640).
    vae_channels:
        Channels of the outputs of the autoencoder's first three decoder blocks (512, 512, 256).
    widths:
        Channels the two denoiser maps are reduced to (128, 64 as published).
    """

    def __init__(
        self, unet_channels: tuple[int, int], vae_channels: Sequence[int], widths: tuple[int, int] = (128, 64)
    ) -> None:
        super().__init__()
        width = sum(widths)
        heads = 8 if width % 64 == 0 else 4
        self.reduce_low = nn.Conv2d(unet_channels[0], widths[0], 1, bias=False)
        self.reduce_high = nn.Conv2d(unet_channels[1], widths[1], 1, bias=False)
        self.mix = SelfAttention(width, heads, layers=4)
        self.refinements = nn.ModuleList(Refinement(width, channels) for channels in vae_channels)
        self.head = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 2, 3, padding=1))

    def coarse(self, unet_features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Denoiser features at h/2 and h to B x width x h x h."""
        low, high = unet_features
        raised = F.interpolate(self.reduce_low(low), size=high.shape[-2:], mode="bilinear", align_corners=False)
        mixed: torch.Tensor = self.mix(torch.cat([raised, self.reduce_high(high)], dim=1))
        return mixed

    def refine(self, coarse: torch.Tensor, vae_features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Through all refinements: B x width x S x S."""
        for refinement, features in zip(self.refinements, vae_features, strict=True):
            coarse = refinement(coarse, features)
        return coarse

    def forward(
        self, unet_features: Sequence[torch.Tensor], vae_features: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training path: the first B of 2B images are shots and have autoencoder features, the others are normals.

        Returns
        -------
        Probabilities 2B x 2 x S x S and 2B x 2 x h x h. Both halves pass the head together, as published: its batch
        norm sees them jointly.
        """
        coarse = self.coarse(unet_features)
        shots = len(vae_features[0])
        fine = self.refine(coarse[:shots], vae_features)
        plain = F.interpolate(coarse[shots:], size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.head(torch.cat([fine, plain])).softmax(1), self.head(coarse).softmax(1)

    def predict(self, unet_features: Sequence[torch.Tensor], vae_features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Inference path: defect probability, B x S x S."""
        fine = self.head(self.refine(self.coarse(unet_features), vae_features))
        probability: torch.Tensor = fine.softmax(1)[:, 1]
        return probability
