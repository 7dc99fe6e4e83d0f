"""Denoise latents with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from ias_zoo.diffusion.base import Base

Step = Callable[[int, int, torch.Tensor], None]
"""Called before step ``i`` of a run with the timestep and the latents that go in."""


def dpm_solver(base: Base, steps: int) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ (2M, midpoint) on the base's noise schedule, timesteps spaced linearly."""
    solver = DPMSolverMultistepScheduler.from_config(
        base.scheduler.config,
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        timestep_spacing="linspace",
        final_sigmas_type="zero",
    )
    solver.set_timesteps(steps, device=base.device)
    return solver


def ddim(base: Base, steps: int, limit: float | None = None) -> DDIMScheduler:
    """DDIM as the latent-diffusion code runs it: timesteps from 1 upwards, the last step ends at the first noise level.

    200 steps of 1000 are 996, 991, ..., 1. With a limit the clean latents predicted at each step are clipped to
    [-limit, limit]; strong guidance overshoots them.
    """
    solver = DDIMScheduler.from_config(
        base.scheduler.config,
        clip_sample=limit is not None,
        clip_sample_range=limit or 1.0,
        thresholding=False,
        rescale_betas_zero_snr=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    solver.set_timesteps(steps, device=base.device)
    return solver


@torch.no_grad()
def denoise(
    base: Base,
    latents: torch.Tensor,
    text: torch.Tensor,
    empty: torch.Tensor,
    *,
    steps: int,
    guidance: float,
    before: Step | None = None,
) -> torch.Tensor:
    """Run the sampler from its first timestep to clean latents.

    Parameters
    ----------
    latents:
        B x C x h x w float32: the start, as noisy as the first timestep.
    text, empty:
        B x 77 x D and 1 x 77 x D embeddings of the prompts and of the empty prompt.
    guidance:
        1 samples the prompt alone; above, eps = eps_empty + guidance (eps_text - eps_empty).
    before:
        Called at each step before the update, after the denoiser has run: feature taps then hold that run's
        features, those of the prompts in the last B rows.

    Returns
    -------
    B x C x h x w float32 scaled latents.
    """
    solver: Any = dpm_solver(base, steps)
    guided = guidance != 1.0
    context = torch.cat([empty.expand_as(text), text]) if guided else text
    latents = latents * solver.init_noise_sigma
    for number, timestep in enumerate(solver.timesteps):
        inputs = torch.cat([latents, latents]) if guided else latents
        noise = base.unet(inputs.to(base.dtype), timestep, encoder_hidden_states=context.to(base.dtype)).sample.float()
        if guided:
            without, with_text = noise.chunk(2)
            noise = without + guidance * (with_text - without)
        if before is not None:
            before(number, int(timestep), latents)
        latents = solver.step(noise, timestep, latents).prev_sample
    return latents
