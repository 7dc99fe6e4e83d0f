"""Checkpoints: written whole or not at all, safetensors and JSON only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ias_zoo.errors import WeightsError

KEPT = 2
"""How many checkpoints of a stage stay on disk: the newest, and one before it in case that is damaged."""

_STATE, _OPTIMIZER, _PROGRESS = "state.safetensors", "optimizer.safetensors", "progress.json"
_AVERAGES = "averages.safetensors"


def write_checkpoint(
    place: Path,
    done: int,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    averages: Sequence[torch.Tensor],
    report: dict[str, Any],
) -> Path:
    """Write the state after ``done`` steps to a temporary folder, then rename it into place."""
    target = place / f"step-{done:07d}"
    partial = place / f".{target.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(trained_state(modules), partial / _STATE)
    save_file(_optimizer_tensors(optimizers), partial / _OPTIMIZER)
    if averages:
        save_file(
            {str(number): tensor.cpu().contiguous() for number, tensor in enumerate(averages)}, partial / _AVERAGES
        )
    (partial / _PROGRESS).write_text(json.dumps({"done": done, "report": report}), encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    for old in _checkpoints(place)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def latest_checkpoint(place: Path) -> Path | None:
    """The newest whole checkpoint of a stage."""
    found = _checkpoints(place)
    return found[-1] if found else None


def read_checkpoint(
    folder: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    averages: Sequence[torch.Tensor] = (),
) -> tuple[int, dict[str, Any]]:
    """Load a checkpoint into modules, optimizers and moving averages; gives the steps done and the report so far.

    Raises
    ------
    WeightsError
        If it is damaged or belongs to another model.
    """
    try:
        progress = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
        load_trained_state(modules, load_file(folder / _STATE))
        _restore_optimizers(optimizers, load_file(folder / _OPTIMIZER))
        kept = load_file(folder / _AVERAGES) if averages else {}
        for number, tensor in enumerate(averages):
            tensor.copy_(kept[str(number)])
        return int(progress["done"]), progress["report"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"checkpoint {folder} cannot be read ({error}); delete it to start from the one before"
        ) from error


def trained_state(modules: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    """Parameters that train, and buffers, of named modules; contiguous CPU copies."""
    state = {}
    for module_name, module in modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                state[f"{module_name}:{name}"] = parameter.detach().cpu().contiguous().clone()
        for name, buffer in module.named_buffers():
            state[f"{module_name}:{name}"] = buffer.detach().cpu().contiguous().clone()
    return state


def load_trained_state(modules: Mapping[str, nn.Module], state: Mapping[str, torch.Tensor]) -> None:
    """Put back what :func:`trained_state` gave.

    Raises
    ------
    KeyError, ValueError
        If names or shapes differ.
    """
    expected = trained_state(modules)
    if set(expected) != set(state):
        different = sorted(set(expected) ^ set(state))
        raise ValueError(f"{len(different)} tensors are missing or unknown, among them {different[0]}")
    with torch.no_grad():
        for module_name, module in modules.items():
            named = dict(module.named_parameters()) | dict(module.named_buffers())
            for name, tensor in named.items():
                key = f"{module_name}:{name}"
                if key in state:
                    if state[key].shape != tensor.shape:
                        raise ValueError(f"{key} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)}")
                    tensor.copy_(state[key])


def _checkpoints(place: Path) -> list[Path]:
    return sorted(place.glob("step-*")) if place.is_dir() else []


def _optimizer_tensors(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, torch.Tensor]:
    tensors = {}
    for which, optimizer in optimizers.items():
        for number, entry in optimizer.state_dict()["state"].items():
            for name, value in entry.items():
                tensors[f"{which}:{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    return tensors


def _restore_optimizers(optimizers: Mapping[str, torch.optim.Optimizer], tensors: Mapping[str, torch.Tensor]) -> None:
    states: dict[str, dict[int, dict[str, torch.Tensor]]] = {which: {} for which in optimizers}
    for key, tensor in tensors.items():
        which, _, rest = key.rpartition(":")
        number, _, name = rest.partition(".")
        states[which].setdefault(int(number), {})[name] = tensor
    for which, optimizer in optimizers.items():
        optimizer.load_state_dict({"state": states[which], "param_groups": optimizer.state_dict()["param_groups"]})
