"""The joint sampler: both branches in one run, guided together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import PNDMScheduler
from torch.nn import functional as F  # noqa: N812

from ias_zoo.diffusion.base import Base, gaussian

if TYPE_CHECKING:
    from ias_zoo_dualanodiff.model import DualModel


def pndm(base: Base, steps: int) -> PNDMScheduler:
    """PNDM without Runge-Kutta steps (PLMS) as Stable Diffusion 1.5 configures it, on the base's noise schedule.

    ``steps`` + 1 runs of the denoiser: the second timestep is taken twice. It is given the noise, whatever the base
    predicts (:meth:`Base.noise_of`): the method's differences are those of the noise.
    """
    solver = PNDMScheduler.from_config(
        base.scheduler.config,
        prediction_type="epsilon",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    solver.set_timesteps(steps, device=base.device)
    return solver


class Merged:
    """Both branches' linear layers with the adapters added to the weights: fewer operations for the same sums.

    Two copies of the weights of the attention layers' linear parts; for sampling, from weights that rest.
    """

    def __init__(self, names: tuple[str, str]) -> None:
        self.names = names
        self._weights: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, layer: Any, values: torch.Tensor, branch: int | None) -> torch.Tensor:
        """See :class:`ias_zoo_dualanodiff.interaction.Projections`."""
        if id(layer) not in self._weights:
            plain = layer.base_layer.weight
            first, second = (plain + layer.get_delta_weight(name).to(plain.dtype) for name in self.names)
            self._weights[id(layer)] = (first, second)
        weights, bias = self._weights[id(layer)], layer.base_layer.bias
        if branch is not None:
            return F.linear(values, weights[branch], bias)
        both = [F.linear(values[number::2], weight, bias) for number, weight in enumerate(weights)]
        return torch.stack(both, dim=1).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Condition:
    """For background compensation: clean latents of B backgrounds, and of a grey picture for the unguided half."""

    background: torch.Tensor
    grey: torch.Tensor


@torch.no_grad()
def denoise_pairs(
    model: DualModel,
    number: int,
    text: torch.Tensor,
    empty: torch.Tensor,
    generators: list[torch.Generator],
    *,
    steps: int,
    guidance: float,
    condition: Condition | None = None,
    project: Any = None,
) -> torch.Tensor:
    """Sample B pairs.

    Parameters
    ----------
    number:
        Which set of adapters.
    text, empty:
        2B x 77 x D, rows (picture, anomaly), and 1 x 77 x D.
    generators:
        One a pair: the start of both rows, then what is added to the background at each step.
    guidance:
        eps = eps_empty + guidance (eps_text - eps_empty) on all rows, after both branches have run together; at 1 the
        first half is left out.

    Returns
    -------
    2B x C x h x w float32 scaled latents.
    """
    base = model.base
    side = base.resolution // base.cell
    shape = (2, base.unet.config.in_channels, side, side)
    solver: Any = pndm(base, steps)
    latents = gaussian(shape, generators, base.device).flatten(0, 1) * solver.init_noise_sigma
    guided = guidance != 1.0
    context = torch.cat([empty.expand_as(text), text]) if guided else text
    for timestep in solver.timesteps:
        inputs = torch.cat([latents, latents]) if guided else latents
        t = timestep.expand(len(inputs)).to(base.device)
        background = None if condition is None else _noisy(base, condition, generators, timestep, guided)
        output = model.predict(number, inputs, t, context, background, project=project)
        noise = base.noise_of(output, inputs, t)
        if guided:
            without, with_text = noise.chunk(2)
            noise = without + guidance * (with_text - without)
        latents = solver.step(noise, timestep, latents).prev_sample
    clean: torch.Tensor = latents
    return clean


def _noisy(
    base: Base, condition: Condition, generators: list[torch.Generator], timestep: torch.Tensor, guided: bool
) -> torch.Tensor:
    """The backgrounds with fresh noise; before them, for the unguided half, the grey picture with noise of its own."""
    clean = condition.background
    halves = [condition.grey.expand_as(clean), clean] if guided else [clean]
    noise = [gaussian(clean.shape[1:], generators, base.device) for _ in halves]
    t = timestep.expand(len(clean) * len(halves)).to(base.device)
    noisy: torch.Tensor = base.scheduler.add_noise(torch.cat(halves), torch.cat(noise), t)
    return noisy
