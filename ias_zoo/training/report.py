"""What a training run came to: losses, time, memory; as JSON and as a plot."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ias_zoo.data.images import write_whole


@dataclass
class StageReport:
    """One stage: the loss terms of every step, its seconds and the most memory it held."""

    name: str
    steps: int
    losses: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    def add(self, terms: dict[str, float], seconds: float) -> None:
        """Add a step."""
        for name, value in terms.items():
            self.losses.setdefault(name, []).append(value)
        self.seconds += seconds

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.losses = {name: list(values) for name, values in kept["losses"].items()}
        self.seconds = float(kept["seconds"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.name,
            "steps": self.steps,
            "seconds": self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "losses": self.losses,
        }

    def last(self, count: int = 50) -> dict[str, float]:
        """Each term's mean over the last ``count`` steps."""
        return {name: sum(values[-count:]) / len(values[-count:]) for name, values in self.losses.items()}


@dataclass
class TrainingReport:
    """A run of ``fit``: its stages, what it trained on, and the choices that were made."""

    method: str
    base: str
    resolution: int
    crop: int | None
    training_files: dict[str, str]
    defects: tuple[str, ...]
    stages: list[StageReport] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Seconds of all steps."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def peak_memory_mb(self) -> float:
        """The most memory any stage held."""
        return max((stage.peak_memory_mb for stage in self.stages), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "method": self.method,
            "base": self.base,
            "resolution": self.resolution,
            "crop": self.crop,
            "defects": list(self.defects),
            "training_files": self.training_files,
            "stages": [stage.to_dict() for stage in self.stages],
        }

    def save(self, folder: Path) -> None:
        """Write ``training.json`` and ``training.png`` (a curve a loss term, a panel a stage)."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "training.json", (json.dumps(self.to_dict()) + "\n").encode())
        write_whole(folder / "training.png", self._plot())

    def _plot(self) -> bytes:
        from io import BytesIO

        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6 * len(self.stages), 3.6), layout="constrained")
        FigureCanvasAgg(figure)  # no pyplot: no global state, no display
        for number, stage in enumerate(self.stages):
            axes = figure.add_subplot(1, len(self.stages), number + 1)
            width = max(1, stage.steps // 100)
            for name, values in stage.losses.items():
                smooth = np.convolve(values, np.ones(width) / width, mode="valid") if len(values) >= width else values
                axes.plot(range(len(values) - len(smooth), len(values)), smooth, label=name)
            axes.set(title=f"{stage.name}, {stage.seconds:.0f} s", xlabel="step", ylabel=f"loss, mean of {width}")
            axes.set_yscale("log")
            axes.legend()
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()
