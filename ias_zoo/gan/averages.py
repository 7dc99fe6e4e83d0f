"""Moving averages of networks, and Adam as lazy regularisation wants it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def frozen_copy(network: Network) -> Network:
    """A copy whose parameters are buffers: it computes the same, nothing trains it, and checkpoints hold it."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                del module._parameters[name]
                module.register_buffer(name, parameter.detach())
    return copied.eval()


class HalfLife:
    """A moving average whose old share halves every so many images.

    decay = 0.5 ** (batch / half_life); with ``ramp`` the half-life is at most that share of the images seen so far.
    Karras et al.: *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020, as their code does.
    """

    def __init__(self, images: float, ramp: float | None = None) -> None:
        self.images, self.ramp = images, ramp

    def decay(self, batch: int, seen: int) -> float:
        """The old share that is kept after a batch, ``seen`` images into the training."""
        life = self.images if self.ramp is None else min(self.images, seen * self.ramp)
        return float(0.5 ** (batch / max(life, 1e-8)))

    @torch.no_grad()
    def update(self, average: nn.Module, network: nn.Module, batch: int, seen: int) -> None:
        """Move ``average`` (a :func:`frozen_copy` of ``network``) towards it; buffers of the network are copied."""
        decay = self.decay(batch, seen)
        kept = dict(average.named_buffers()) | dict(average.named_parameters())
        parameters = dict(network.named_parameters())
        names = [name for name in parameters if parameters[name].is_floating_point()]
        torch._foreach_lerp_([kept[name] for name in names], [parameters[name].detach() for name in names], 1 - decay)
        for name, buffer in network.named_buffers():
            kept[name].copy_(buffer)


def lazy_adam(
    parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float], every: int | None, eps: float = 1e-8
) -> torch.optim.Adam:
    """Adam for a network that also takes a regularisation step every ``every`` steps.

    With c = every / (every + 1), the rate is lr c and the betas beta ** c, so that ``every`` + 1 steps move as far and
    remember as long as ``every`` would. Karras et al., CVPR 2020, appendix B. None: no such steps, no correction.
    """
    share = 1.0 if every is None else every / (every + 1)
    first, second = (beta**share for beta in betas)
    return torch.optim.Adam(list(parameters), lr=lr * share, betas=(first, second), eps=eps)
