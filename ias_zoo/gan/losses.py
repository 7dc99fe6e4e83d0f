"""Adversarial losses and gradient penalties. All are means over the batch, of logits of any shape B x ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def logistic_generator(fake: torch.Tensor) -> torch.Tensor:
    """Non-saturating: softplus(-D(G(z))). Goodfellow et al., NeurIPS 2014."""
    return F.softplus(-fake).mean()


def logistic_discriminator(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """softplus(D(G(z))) + softplus(-D(x))."""
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def wasserstein_generator(fake: torch.Tensor) -> torch.Tensor:
    """-D(G(z)). Arjovsky, Chintala, Bottou, ICML 2017."""
    return -fake.mean()


def wasserstein_discriminator(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """D(G(z)) - D(x)."""
    return fake.mean() - real.mean()


def hinge_discriminator(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """relu(1 + D(G(z))) + relu(1 - D(x)); the generator's side is :func:`wasserstein_generator`. arXiv 1705.02894."""
    return F.relu(1 + fake).mean() + F.relu(1 - real).mean()


def r1(logits: torch.Tensor, images: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """Squared length of the logits' gradient on real images, mean over the batch; to be multiplied by gamma / 2.

    Mescheder, Geiger, Nowozin: *Which Training Methods for GANs do actually Converge?*, ICML 2018, eq. 9. ``images``
    (B x ..., or several such) require a gradient, and ``logits`` were computed from them.
    """
    given = [images] if isinstance(images, torch.Tensor) else list(images)
    gradients = torch.autograd.grad(logits.sum(), given, create_graph=True)
    squares = torch.stack([gradient.square().flatten(1).sum(dim=1) for gradient in gradients])
    return squares.sum(dim=0).mean()


def unit_gradient(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    fake: torch.Tensor,
    shares: torch.Tensor,
    *,
    centre: float = 1.0,
) -> torch.Tensor:
    """(length of the critic's gradient between a real and a fake image - 1)^2, mean over the batch; weight 10.

    Gulrajani et al.: *Improved Training of Wasserstein GANs*, NeurIPS 2017, eq. 3. ``shares`` (B, uniform in [0, 1])
    are the real images' shares of the mixtures.
    """
    share = shares.reshape(-1, *[1] * (real.dim() - 1))
    mixed = (share * real.detach() + (1 - share) * fake.detach()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    length = (gradient.square().flatten(1).sum(dim=1) + 1e-12).sqrt()  # the root has no slope at 0
    return (length - centre).square().mean()


class PathLength(nn.Module):
    """Path-length regularisation: (||J_w^T y|| - a)^2, y ~ N(0, 1) / sqrt(H W), a the running mean of the lengths.

    Karras et al.: *Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020, section 3.2. The length is over
    the layers' styles: the root of the mean over layers of the squared length in each. To be weighted by 2.
    """

    mean: torch.Tensor

    def __init__(self, decay: float = 0.01) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.zeros([]))

    def forward(self, images: torch.Tensor, styles: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The penalty, mean over the batch; moves the running mean.

        Parameters
        ----------
        images:
            B x C x H x W, made from ``styles``.
        styles:
            B x layers x D, requiring a gradient.
        noise:
            Standard normal, of the images' shape.
        """
        scaled = noise / (images.shape[2] * images.shape[3]) ** 0.5
        (gradient,) = torch.autograd.grad((images * scaled).sum(), styles, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        target = self.mean.lerp(lengths.detach().mean().to(self.mean.dtype), self.decay)
        with torch.no_grad():
            self.mean.copy_(target)
        return (lengths - target).square().mean()


def mode_seeking(inputs: tuple[torch.Tensor, torch.Tensor], outputs: tuple[torch.Tensor, torch.Tensor],
                 epsilon: float = 1e-5) -> torch.Tensor:  # fmt: skip
    """Mean |a - b| of two inputs over mean |A - B| of what was made of them: small where they differ.

    Mao et al.: *Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis*, CVPR 2019, as the ratio
    that is minimised. ``epsilon`` is added below.
    """
    apart = (inputs[0] - inputs[1]).abs().mean()
    made = (outputs[0] - outputs[1]).abs().mean()
    return apart / (made + epsilon)
