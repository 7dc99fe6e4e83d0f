"""The training loop that every trained method shares.

A method supplies a :class:`Task`: what trains, and how micro-batch ``(step, micro)`` becomes a loss. All randomness of
a micro-batch comes from the run's seed, the step and its number, so that a resumed run continues the same streams: on a
CPU it ends in the same weights, to the bit, as one that was never stopped.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from ias_zoo.errors import OptionError, TrainingError
from ias_zoo.training.checkpoint import latest_checkpoint, read_checkpoint, write_checkpoint
from ias_zoo.training.report import StageReport


class Task(Protocol):
    """What one stage of a method trains.

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


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how to train.

    ``accumulate`` micro-batches make one step. ``checkpoint_every`` and ``preview_every`` are steps; 0 switches off.
    ``ema`` is the decay of a moving average of what trains, which replaces it at the end; 0 is off. It warms up:
    after n steps the decay is at most (1 + n) / (10 + n).
    """

    steps: int
    accumulate: int = 1
    checkpoint_every: int = 200
    preview_every: int = 0
    mixed_precision: str = "no"
    max_grad_norm: float | None = None
    ema: float = 0.0


def train(
    task: Task,
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
        Called after every step with its number and loss.

    Raises
    ------
    TrainingError
        If the loss is no longer a number; names the step and the last good checkpoint.
    """
    if schedule.steps < 1 or schedule.accumulate < 1:
        raise OptionError(f"steps={schedule.steps}, accumulate={schedule.accumulate}: expected at least 1")
    AcceleratorState._reset_state(reset_partial_state=True)  # else a process keeps its first fit's device and precision
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=schedule.mixed_precision)
    optimizer = torch.optim.AdamW(task.parameter_groups())
    prepared = accelerator.prepare(optimizer)
    report = StageReport(name=task.name, steps=schedule.steps)
    place = None if folder is None else folder / task.name
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    averages = [parameter.detach().clone() for parameter in trained] if schedule.ema > 0 else []
    first = _restore(task, optimizer, averages, place, report) if resume and place is not None else 0
    for module in task.modules.values():
        module.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for number in range(first, schedule.steps):
        started = time.perf_counter()
        terms = _step(task, schedule, accelerator, prepared, number, trained)
        total = sum(terms.values())
        if not math.isfinite(total):
            raise TrainingError(_not_finite(task, number, terms, place))
        done = number + 1
        if averages:
            decay = min(schedule.ema, (1 + done) / (10 + done))
            torch._foreach_lerp_(averages, [parameter.detach() for parameter in trained], 1 - decay)
        report.add(terms, time.perf_counter() - started)
        step(number, total)
        if place is not None and (
            done == schedule.steps or (schedule.checkpoint_every and done % schedule.checkpoint_every == 0)
        ):
            write_checkpoint(place, done, task.modules, optimizer, averages, report.to_dict())
        if place is not None and schedule.preview_every and done % schedule.preview_every == 0:
            place.mkdir(parents=True, exist_ok=True)
            task.preview(done, place)
    with torch.no_grad():
        for parameter, average in zip(trained if averages else [], averages, strict=True):
            parameter.copy_(average)
    for module in task.modules.values():
        module.eval()
    report.peak_memory_mb = peak_memory_mb(device)
    return report


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far, MB: the GPU's allocations, or the process's resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _step(
    task: Task,
    schedule: Schedule,
    accelerator: Accelerator,
    optimizer: Any,
    number: int,
    trained: list[torch.Tensor],
) -> dict[str, float]:
    sums: dict[str, float] = {}
    for micro in range(schedule.accumulate):
        with accelerator.autocast():
            terms = task.loss(number, micro)
        accelerator.backward(torch.stack(list(terms.values())).sum() / schedule.accumulate)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / schedule.accumulate
    if schedule.max_grad_norm is not None:
        accelerator.clip_grad_norm_(trained, schedule.max_grad_norm)
    if math.isfinite(sum(sums.values())):  # a broken step must not reach the weights
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return sums


def _restore(
    task: Task, optimizer: torch.optim.Optimizer, averages: list[torch.Tensor], place: Path, report: StageReport
) -> int:
    found = latest_checkpoint(place)
    if found is None:
        return 0
    done, kept = read_checkpoint(found, task.modules, optimizer, averages)
    report.restore(kept)
    return done


def _not_finite(task: Task, number: int, terms: Mapping[str, float], place: Path | None) -> str:
    found = None if place is None else latest_checkpoint(place)
    kept = f"the last good checkpoint is {found}" if found else "there is no checkpoint yet"
    broken = ", ".join(f"{name}={value}" for name, value in terms.items() if not math.isfinite(value)) or "the sum"
    return f"{task.name}: the loss is not a number at step {number} ({broken}); {kept}; try a lower learning rate"
