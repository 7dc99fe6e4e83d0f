"""The generator with defects: a frozen StyleGAN2, and for each defect type what manipulates its features.

Shapes: B pictures, R their side, D the latents' width. A branch starts at resolution s (a quarter of R as published:
64 of 256) and has one residual block at s, 2 s, ... R:

    R_r  = conv1(conv0(x_{r/2}, w_def), w_def)        x_{r/2} manipulated already
    M_s  = ToMask(R_s, w_def)                         B x 1 x s x s logits, at s only
    M_2r = up(M_r)
    F_r  = convs_r(x_{r/2}, w) + R_r * [M_r >= threshold]

The step has no slope, so that ToMask learns from the mask alone: from the matching discriminator and mode seeking.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from ias_zoo.gan.layers import upsample
from ias_zoo.gan.stylegan2 import Convs, Generator, MappingNetwork, Sizes, ToPixels, count_of
from ias_zoo.training.lora import add_lora

LORA_TARGETS = ("affine", "kernel")  # of every modulated convolution: its style's layer, and its kernel


class Branch(nn.Module):
    """What one defect type adds: its mapping network, residual blocks and ToMask.

    Parameters
    ----------
    start:
        The lowest resolution with a residual block.
    """

    def __init__(self, sizes: Sizes, start: int) -> None:
        super().__init__()
        if start not in sizes.resolutions:
            raise ValueError(f"residual blocks from {start}: the resolutions are {sizes.resolutions}")
        self.sizes, self.start = sizes, start
        resolutions = [r for r in sizes.resolutions if r >= start]
        self.blocks = nn.ModuleDict({str(r): Convs(sizes, r) for r in resolutions})
        # One style a convolution, one for ToMask. As RGB does, it takes that of the next convolution: the last is idle.
        styles = sum(count_of(block) for block in self.blocks.values()) + 1
        self.mapping = MappingNetwork(sizes.latent, sizes.mapping_layers, styles)
        self.to_mask = ToPixels(sizes.channels(start), 1, sizes.latent)

    def residual(
        self, resolution: int, before: torch.Tensor, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None
    ) -> torch.Tensor:
        """R_r: B x C x r x r."""
        used = sum(count_of(block) for name, block in self.blocks.items() if int(name) < resolution)
        block = self.blocks[str(resolution)]
        end = used + count_of(block)
        drawn: Sequence[torch.Tensor | None] = [None] * (end - used) if noise is None else noise[used:end]
        made: torch.Tensor = block(before, ws[:, used:end], drawn)
        return made

    def gate(self, resolution: int, residual: torch.Tensor) -> torch.Tensor:
        """What of the residual is added; all of it."""
        return residual

    def mask(self, residual: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
        """M_s of R_s: B x 1 x s x s."""
        logits: torch.Tensor = self.to_mask(residual, ws[:, count_of(self.blocks[str(self.start)])])
        return logits


class LoRABranch(Branch):
    """Ours: the residual blocks are frozen copies of the base's, with adapters, behind gates that start at 0.

    Adapters are on the style layers and kernels; modulation and demodulation see both with them. At the start a sample
    is the base's own picture, whatever the mask. Without a rank no adapters are put on, for those of a file to come.
    """

    def __init__(self, sizes: Sizes, start: int, backbone: Generator, rank: int | None) -> None:
        super().__init__(sizes, start)
        self.blocks = nn.ModuleDict({name: copy.deepcopy(backbone.synthesis.convs[name]) for name in self.blocks})
        self.blocks.requires_grad_(False)
        self.gates = nn.ParameterDict({name: torch.zeros(sizes.channels(int(name))) for name in self.blocks})
        if rank is not None:
            add_lora(self.blocks, rank, LORA_TARGETS)

    def gate(self, resolution: int, residual: torch.Tensor) -> torch.Tensor:
        """The residual times its gate, one a channel."""
        gate: torch.Tensor = self.gates[str(resolution)]
        return residual * gate[:, None, None]


class DefectGenerator(nn.Module):
    """A frozen generator and a branch."""

    def __init__(self, backbone: Generator, branch: Branch, threshold: float = 0.0) -> None:
        super().__init__()
        self.backbone, self.branch, self.threshold = backbone, branch, threshold

    def forward(
        self,
        ws: torch.Tensor,
        defect: torch.Tensor,
        noise: Sequence[torch.Tensor] | None = None,
        defect_noise: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and their mask logits.

        Parameters
        ----------
        ws, defect:
            Styles of the product, B x styles x D, and of the defect, B x branch styles x D.
        noise, defect_noise:
            For every convolution of the base and of the branch; None: the layers' own.

        Returns
        -------
        B x 3 x R x R, about [-1, 1], and B x 1 x R x R, unbounded.
        """
        change = _Manipulation(self.branch, defect, defect_noise, self.threshold)
        images: torch.Tensor = self.backbone.synthesis(ws, noise, change)
        return images, change.logits

    def masks(
        self,
        ws: torch.Tensor,
        defect: torch.Tensor,
        noise: Sequence[torch.Tensor] | None = None,
        defect_noise: Sequence[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The mask logits alone: nothing beyond the branch's first block decides them. B x 1 x R x R."""
        start, used = self.branch.start, 0
        x = self.backbone.synthesis.start.expand(len(ws), -1, -1, -1)
        for name, convs in self.backbone.synthesis.convs.items():
            if int(name) >= start:
                break
            end = used + count_of(convs)
            drawn: Sequence[torch.Tensor | None] = [None] * (end - used) if noise is None else noise[used:end]
            x = convs(x, ws[:, used:end], drawn)
            used = end
        logits = self.branch.mask(self.branch.residual(start, x, defect, defect_noise), defect)
        while logits.shape[-1] < self.branch.sizes.resolution:
            logits = upsample(logits)
        return logits

    def normals(self, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """The pictures with the branch off: those of the base, to the bit."""
        images: torch.Tensor = self.backbone.synthesis(ws, noise)
        return images


class _Manipulation:
    """The change of features over one synthesis; ``logits`` are the mask's at the last resolution."""

    logits: torch.Tensor

    def __init__(
        self, branch: Branch, ws: torch.Tensor, noise: Sequence[torch.Tensor] | None, threshold: float
    ) -> None:
        self.branch, self.ws, self.noise, self.threshold = branch, ws, noise, threshold

    def __call__(self, resolution: int, before: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        branch = self.branch
        if resolution < branch.start:
            return features
        residual = branch.residual(resolution, before, self.ws, self.noise)
        self.logits = branch.mask(residual, self.ws) if resolution == branch.start else upsample(self.logits)
        return features + branch.gate(resolution, residual) * (self.logits >= self.threshold)


def branch_noise(branch: Branch, batch: int, generator: torch.Generator, device: torch.device) -> list[torch.Tensor]:
    """Noise for every convolution of a branch, in order: B x 1 x r x r each."""
    counts = [int(name) for name, block in branch.blocks.items() for _ in range(count_of(block))]
    return [torch.randn(batch, 1, r, r, generator=generator).to(device) for r in counts]
