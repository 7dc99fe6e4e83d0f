"""What both training scripts share: shards, schedule, moving average, checkpoints."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn


def read_shards(folder: Path) -> tuple[torch.Tensor, list[str]]:
    """Read all shards of a cache folder: N x 3 x H x W uint8, and N captions."""
    paths = sorted(folder.glob("shard_[0-9][0-9][0-9].npz"))
    if not paths:
        raise SystemExit(f"{folder} holds no shards; run make_data.py first")
    shards = [np.load(path) for path in paths]
    images = np.concatenate([shard["images"] for shard in shards])
    return torch.from_numpy(images).permute(0, 3, 1, 2), [str(text) for shard in shards for text in shard["captions"]]


def to_unit(images: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Map uint8 to float32 in [-1, 1] on a device."""
    return (images.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def pick_device(name: str, threads: int) -> torch.device:
    """Resolve ``auto`` and set the number of CPU threads."""
    torch.set_num_threads(threads)
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


class Training:
    """A resumable run: weights, their moving average, Adam's state, the step, the time spent and the losses.

    The learning rate rises over ``warm_up`` steps and then falls along half a cosine as the run progresses, by steps
    or by minutes, whichever is further. Losses are averaged between checkpoints.
    """

    def __init__(
        self, modules: dict[str, nn.Module], folder: Path, *, rate: float, steps: int, minutes: float, average: float,
        start: Path | None = None, betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:  # fmt: skip
        self.modules, self.folder = nn.ModuleDict(modules), folder
        if start is not None:
            for name, module in modules.items():
                module.load_state_dict(averaged(start, name))
        self.rate, self.steps, self.minutes, self.decay = rate, steps, minutes, average
        self.optimizer = torch.optim.AdamW(
            self.modules.parameters(), lr=rate, betas=betas, weight_decay=1e-4, fused=True
        )
        self.averages = {name: value.detach().clone() for name, value in self.modules.named_parameters()}
        self.step, self.spent, self.history, self._sums, self._count = 0, 0.0, [], {}, 0
        if (folder / "state.json").exists():
            self._resume()
        self._since = time.monotonic() - self.spent

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        return min(1.0, max(self.step / self.steps, self.spent / 60 / self.minutes))

    def advance(self, loss: torch.Tensor, shown: dict[str, float]) -> None:
        """Take one step down the gradient of a loss; ``shown`` goes into the history."""
        factor = min(1.0, (self.step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averages.values()), list(self.modules.parameters()), 1 - decay)
        self.spent = time.monotonic() - self._since
        self._count += 1
        for name, number in shown.items():
            self._sums[name] = self._sums.get(name, 0.0) + number

    def note(self, extra: dict[str, float] | None = None) -> None:
        """Close a line of the history and print it."""
        means = {name: round(total / self._count, 5) for name, total in self._sums.items()}
        line = {"step": self.step, "minutes": round(self.spent / 60, 2), **means, **(extra or {})}
        self.history.append(line)
        self._sums, self._count = {}, 0
        print(json.dumps(line), flush=True)

    def save(self) -> None:
        """Write a checkpoint; a half-written one never replaces the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = {parameter: name for name, parameter in self.modules.named_parameters()}
        tensors = {f"weights.{name}": value.detach() for name, value in self.modules.named_parameters()}
        tensors |= {f"average.{name}": value for name, value in self.averages.items()}
        for parameter, state in self.optimizer.state.items():
            tensors |= {f"{key}.{names[parameter]}": state[key] for key in ("exp_avg", "exp_avg_sq")}
        part = self.folder / "checkpoint.part"
        save_file({name: value.contiguous() for name, value in tensors.items()}, part)
        part.replace(self.folder / "checkpoint.safetensors")
        state = {"step": self.step, "spent": self.spent, "history": self.history}
        (self.folder / "state.json").write_text(json.dumps(state, indent=1))

    def _resume(self) -> None:
        state = json.loads((self.folder / "state.json").read_text())
        self.step, self.spent, self.history = state["step"], state["spent"], state["history"]
        tensors = load_file(self.folder / "checkpoint.safetensors")
        with torch.no_grad():
            for name, parameter in self.modules.named_parameters():
                parameter.copy_(tensors[f"weights.{name}"])
                self.averages[name].copy_(tensors[f"average.{name}"])
                moments: dict[str, Any] = {
                    key: tensors[f"{key}.{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")
                }
                step = torch.tensor(float(self.step), device=parameter.device)
                self.optimizer.state[parameter] = {"step": step, **moments}


def averaged(folder: Path, module: str) -> dict[str, torch.Tensor]:
    """Read the moving average of one module's weights out of a checkpoint."""
    start = f"average.{module}."
    tensors = load_file(folder / "checkpoint.safetensors")
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
