"""The training loop that every trained method shares.

A method supplies a :class:`Task`: what trains, and how micro-batch ``(step, micro)`` becomes a loss. Methods with
several optimisers that take turns supply a :class:`PhasedTask`; a :class:`Task` is the case of one turn a step. All
randomness of a micro-batch comes from the run's seed, the step and its number, so that a resumed run continues the same
streams: on a CPU it ends in the same weights, to the bit, as one that was never stopped.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from ias_zoo.errors import OptionError, TrainingError
from ias_zoo.training.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from ias_zoo.training.report import SHOWN_PREVIEWS, StageReport

PREVIEW = "preview-{step:07d}.png"
"""The name of a preview picture; those of a stage, a few of them, go into the training report."""


class Task(Protocol):
    """What one stage of a method trains: one loss, one AdamW.

    Attributes
    ----------
    name:
        The stage's name, a word.
    modules:
        Everything that changes, by name: of each module the parameters that require a gradient and the buffers.
    """

    name: str
    modules: Mapping[str, nn.Module]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for AdamW: ``params`` and ``lr``, and what else differs from its defaults."""
        ...

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        """The terms of the loss of one micro-batch, each with its weight; their sum is minimised."""
        ...

    def preview(self, step: int, folder: Path) -> None:
        """Write a preview picture, if the task has any."""
        ...


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn within a step: its loss is minimised with respect to that optimiser's parameters alone.

    ``optimizer`` is a name of :meth:`PhasedTask.optimizers`; ``loss(step, micro)`` gives the weighted terms of one
    micro-batch, by names that no other phase of the step uses. While it runs, no other optimiser's parameters require
    a gradient.
    """

    optimizer: str
    loss: Callable[[int, int], dict[str, torch.Tensor]]


@runtime_checkable
class PhasedTask(Protocol):
    """What one stage trains when several optimisers take turns, as in adversarial training.

    ``name`` and ``modules`` as in :class:`Task`. Moving averages, adaptive strengths and running means are buffers of
    modules in ``modules``: checkpoints hold them, and a resumed run goes on from them.
    """

    name: str
    modules: Mapping[str, nn.Module]

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The optimisers by name; no parameter is in two of them."""
        ...

    def phases(self, step: int) -> Sequence[Phase]:
        """The turns of a step, in order; an optimiser may have several."""
        ...

    def after_step(self, step: int) -> dict[str, float]:
        """Called after the last turn: moving averages, strengths. Gives what to chart beside the losses, by name."""
        ...

    def preview(self, step: int, folder: Path) -> None:
        """Write a preview picture, :data:`PREVIEW`, if the task has any."""
        ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how to train.

    ``accumulate`` micro-batches make one turn of an optimiser. ``checkpoint_every`` and ``preview_every`` are steps; 0
    (or None) switches off. ``ema`` is the decay of a moving average of what trains, which replaces it at the end; 0 is
    off. It warms up: after n steps the decay is at most (1 + n) / (10 + n). ``clean_gradients``: gradients that are
    not numbers become 0 and infinite ones this bound; None leaves them.
    """

    steps: int
    accumulate: int = 1
    checkpoint_every: int = 200
    preview_every: int | None = 0
    mixed_precision: str = "no"
    max_grad_norm: float | None = None
    ema: float = 0.0
    clean_gradients: float | None = None


def train(
    task: Task | PhasedTask,
    schedule: Schedule,
    device: torch.device,
    *,
    folder: Path | None = None,
    resume: bool = False,
    step: Callable[[int, float], None] = lambda number, loss: None,
) -> StageReport:
    """Run a stage to its end.

    Parameters
    ----------
    folder:
        Where checkpoints and previews go; None keeps none.
    resume:
        Start from the newest whole checkpoint of this stage in ``folder``, if there is one.
    step:
        Called after every step with its number and loss (the sum of its turns').

    Raises
    ------
    TrainingError
        If the loss is no longer a number; names the step and the last good checkpoint.
    """
    if schedule.steps < 1 or schedule.accumulate < 1:
        raise OptionError(f"steps={schedule.steps}, accumulate={schedule.accumulate}: expected at least 1")
    turns = task if isinstance(task, PhasedTask) else _OneTurn(task)
    AcceleratorState._reset_state(reset_partial_state=True)  # else a process keeps its first fit's device and precision
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=schedule.mixed_precision)
    optimizers = dict(turns.optimizers())
    loop = _Loop(turns, schedule, accelerator, {name: accelerator.prepare(o) for name, o in optimizers.items()})
    report = StageReport(name=task.name, steps=schedule.steps)
    place = None if folder is None else folder / task.name
    averages = [parameter.detach().clone() for parameter in loop.trained] if schedule.ema > 0 else []
    first = 0
    if resume and place is not None and (found := latest_checkpoint(place)) is not None:
        first, kept = read_checkpoint(found, task.modules, optimizers, averages)
        report.restore(kept)
    for module in task.modules.values():
        module.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for number in range(first, schedule.steps):
        started = time.perf_counter()
        terms = loop.step(number, place)
        values = turns.after_step(number)
        done = number + 1
        if averages:
            decay = min(schedule.ema, (1 + done) / (10 + done))
            torch._foreach_lerp_(averages, [parameter.detach() for parameter in loop.trained], 1 - decay)
        report.add(number, terms, values, time.perf_counter() - started)
        step(number, sum(terms.values()))
        if place is not None and (
            done == schedule.steps or (schedule.checkpoint_every and done % schedule.checkpoint_every == 0)
        ):
            write_checkpoint(place, done, task.modules, optimizers, averages, report.to_dict())
        if place is not None and schedule.preview_every and done % schedule.preview_every == 0:
            place.mkdir(parents=True, exist_ok=True)
            task.preview(done, place)
    with torch.no_grad():
        for parameter, average in zip(loop.trained if averages else [], averages, strict=True):
            parameter.copy_(average)
    for module in task.modules.values():
        module.eval()
    report.peak_memory_mb = peak_memory_mb(device)
    report.previews = _previews(place)
    return report


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far, MB: the GPU's allocations, or the process's resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _OneTurn:
    """A :class:`Task` as a :class:`PhasedTask`."""

    def __init__(self, task: Task) -> None:
        self.name, self.modules, self.preview = task.name, task.modules, task.preview
        self._task, self._turn = task, [Phase("adamw", task.loss)]

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"adamw": torch.optim.AdamW(self._task.parameter_groups())}

    def phases(self, step: int) -> Sequence[Phase]:
        return self._turn

    def after_step(self, step: int) -> dict[str, float]:
        return {}


class _Loop:
    """The turns of a step, under one accelerator."""

    def __init__(
        self, task: PhasedTask, schedule: Schedule, accelerator: Accelerator, optimizers: Mapping[str, Any]
    ) -> None:
        self.task, self.schedule, self.accelerator, self.optimizers = task, schedule, accelerator, optimizers
        self.parameters = {
            name: [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for name, optimizer in optimizers.items()
        }
        self.trained = [parameter for parameters in self.parameters.values() for parameter in parameters]
        if len({id(parameter) for parameter in self.trained}) < len(self.trained):
            raise ValueError(f"{task.name}: a parameter is in two optimisers")

    def step(self, number: int, place: Path | None) -> dict[str, float]:
        """All turns of a step; gives their terms."""
        terms: dict[str, float] = {}
        for phase in self.task.phases(number):
            with self._alone(phase.optimizer):
                turn = self._turn(phase, number)
            if twice := set(turn) & set(terms):
                raise ValueError(f"{self.task.name}: two phases of step {number} name a term {min(twice)!r}")
            terms |= turn
            if not math.isfinite(sum(turn.values())):
                raise TrainingError(_not_finite(self.task, number, turn, place))
        return terms

    def _turn(self, phase: Phase, number: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        schedule, optimizer = self.schedule, self.optimizers[phase.optimizer]
        parameters = self.parameters[phase.optimizer]
        for micro in range(schedule.accumulate):
            with self.accelerator.autocast():
                terms = phase.loss(number, micro)
            self.accelerator.backward(torch.stack(list(terms.values())).sum() / schedule.accumulate)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / schedule.accumulate
        if schedule.clean_gradients is not None:
            bound = schedule.clean_gradients
            for parameter in parameters:
                if parameter.grad is not None:
                    torch.nan_to_num(parameter.grad, nan=0.0, posinf=bound, neginf=-bound, out=parameter.grad)
        if schedule.max_grad_norm is not None:
            self.accelerator.clip_grad_norm_(parameters, schedule.max_grad_norm)
        if math.isfinite(sum(sums.values())):  # a broken step must not reach the weights
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return sums

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """No other optimiser's parameters require a gradient."""
        others = [parameter for other, found in self.parameters.items() if other != name for parameter in found]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)


def _previews(place: Path | None) -> dict[str, bytes]:
    """A few of a stage's preview pictures, spread over its time, the last among them."""
    found = [] if place is None else sorted(place.glob("preview-*.png"))
    chosen = {round(number * (len(found) - 1) / (SHOWN_PREVIEWS - 1)) for number in range(SHOWN_PREVIEWS)}
    return {found[number].name: found[number].read_bytes() for number in sorted(chosen) if found}


def _not_finite(task: PhasedTask, number: int, terms: Mapping[str, float], place: Path | None) -> str:
    found = None if place is None else latest_checkpoint(place)
    kept = f"the last good checkpoint is {found}" if found else "there is no checkpoint yet"
    broken = ", ".join(f"{name}={value}" for name, value in terms.items() if not math.isfinite(value)) or "the sum"
    return f"{task.name}: the loss is not a number at step {number} ({broken}); {kept}; try a lower learning rate"
