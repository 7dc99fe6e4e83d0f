"""The two samplings: masks from the mask words, and defects painted into normals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ias_zoo.diffusion.base import Base, gaussian
from ias_zoo.diffusion.sampling import ddim
from ias_zoo_anomalydiffusion.attention import Reweighting, code_weights, dilate, paper_weights, radius

if TYPE_CHECKING:
    from ias_zoo.synthesizer import Mask

BORDER_SHARE = 3
"""A border row or column may be mask up to a third of its length."""


def latent_shape(base: Base) -> tuple[int, int, int]:
    """C, h, w of the base's latents."""
    side = base.resolution // base.cell
    return int(base.unet.config.in_channels), side, side


@torch.no_grad()
def draw_masks(
    base: Base,
    text: torch.Tensor,
    empty: torch.Tensor,
    generators: list[torch.Generator],
    *,
    steps: int,
    eta: float,
    guidance: float,
    threshold: float,
) -> list[Mask]:
    """Masks from embeddings of the mask words.

    Parameters
    ----------
    text, empty:
        B x 77 x D and 1 x 77 x D embeddings of the prompts and of the empty prompt.
    threshold:
        On the scale -1 to 1.

    Returns
    -------
    B masks S x S.
    """
    guided = guidance != 1.0
    context = torch.cat([empty.expand_as(text), text]) if guided else text

    def predict(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        told = _told(base, torch.cat([latents, latents]) if guided else latents, timestep, context)
        if not guided:
            return told
        without, with_text = told.chunk(2)
        return without + guidance * (with_text - without)

    latents = _run(base, predict, generators, steps, eta)
    return [as_mask(picture, threshold) for picture in base.decode(latents)]


def as_mask(picture: torch.Tensor, threshold: float) -> Mask:
    """3 x S x S about [-1, 1] to S x S bool: the mean of the channels above the threshold."""
    return np.asarray((picture.mean(dim=0) > threshold).cpu().numpy(), dtype=np.bool_)


def along_border(mask: Mask) -> bool:
    """Whether more than a third of some border row or column is mask: the published code's reason to reject it."""
    height, width = mask.shape
    across, down = (
        max(np.count_nonzero(first), np.count_nonzero(last))
        for first, last in ((mask[0], mask[-1]), (mask[:, 0], mask[:, -1]))
    )
    return bool(across > width / BORDER_SHARE or down > height / BORDER_SHARE)


@torch.no_grad()
def paint(
    base: Base,
    normals: torch.Tensor,
    cells: torch.Tensor,
    text: torch.Tensor,
    spans: Sequence[tuple[int, int]],
    generators: list[torch.Generator],
    *,
    steps: int,
    eta: float,
    guidance: float = 1.0,
    empty: torch.Tensor | None = None,
    clip: float | None = None,
    weighing: Reweighting | None = None,
) -> torch.Tensor:
    """Paint defects into normals by blended sampling.

    Before each step, z_t becomes m z_t + (1 - m) q(y, t) with y the normal's latents: outside the mask the picture is
    the normal's at every noise level, and the denoiser fits the defect to it. No last blend; guidance is ours.

    Parameters
    ----------
    normals:
        B x 3 x S x S in [-1, 1].
    cells:
        m, B x 1 x h x w of 0 and 1.
    text, spans:
        B x 77 x D embeddings, and where the anomaly's vectors are in each.
    guidance, empty:
        Above 1, eps_empty + guidance (eps_text - eps_empty), with ``empty`` 1 x 77 x D of the empty prompt.
    clip:
        Predicted clean latents are kept within this (ours).
    weighing:
        Entered by the caller; None: no re-weighting.

    Returns
    -------
    B x 3 x S x S pixels, about [-1, 1].
    """
    clean = base.encode(normals, generators)
    mode = None if weighing is None else weighing.mode
    side = clean.shape[-1]

    def before(latents: torch.Tensor, timestep: torch.Tensor, guess: torch.Tensor | None) -> torch.Tensor:
        # The code dilates the mask of early steps where it re-weights; without, the mask is the mask.
        here = dilate(cells, radius(int(timestep), steps, side)) if mode == "code" else cells
        latents = blend(base, latents, clean, here, timestep, generators)
        if weighing is not None and mode == "code":
            weighing.weights = code_weights(latents, clean, here)
        elif weighing is not None and guess is not None:
            weighing.weights = paper_weights(base.decode(guess), normals.to(base.device), cells)
        return latents

    def predict(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        told = _told(base, latents, timestep, text)
        if guidance == 1.0 or empty is None:
            return told
        weights = None
        if weighing is not None:  # the empty prompt has no words to weigh
            weights, weighing.weights = weighing.weights, None
        without = _told(base, latents, timestep, empty.expand_as(text))
        if weighing is not None:
            weighing.weights = weights
        return without + guidance * (told - without)

    if weighing is not None:
        weighing.spans, weighing.weights = spans, None
    return base.decode(_run(base, predict, generators, steps, eta, before, clip))


def blend(
    base: Base,
    latents: torch.Tensor,
    clean: torch.Tensor,
    cells: torch.Tensor,
    timestep: torch.Tensor,
    generators: list[torch.Generator],
) -> torch.Tensor:
    """M z_t + (1 - M) q(y, t), with fresh noise."""
    noisy = base.scheduler.add_noise(clean, gaussian(clean.shape[1:], generators, base.device), timestep)
    return torch.where(cells > 0, latents, noisy)


def _told(base: Base, latents: torch.Tensor, timestep: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    told: torch.Tensor = base.unet(latents.to(base.dtype), timestep, encoder_hidden_states=context.to(base.dtype))[0]
    return told.float()


def _run(
    base: Base,
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    generators: list[torch.Generator],
    steps: int,
    eta: float,
    before: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor] | None = None,
    clip: float | None = None,
) -> torch.Tensor:
    """DDIM from noise to clean latents. ``before`` is also told the step before's guess of them."""
    solver: Any = ddim(base, steps, clip)
    shape = latent_shape(base)
    latents = gaussian(shape, generators, base.device)
    guess: torch.Tensor | None = None
    for timestep in solver.timesteps:
        if before is not None:
            latents = before(latents, timestep, guess)
        fresh = gaussian(shape, generators, base.device) if eta > 0 else None
        done = solver.step(predict(latents, timestep), timestep, latents, eta=eta, variance_noise=fresh)
        latents, guess = done.prev_sample, done.pred_original_sample
    return latents
