"""What a training run came to: losses, time, memory; as JSON and as a plot."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ias_zoo.data.images import write_whole

PREVIEWS = "previews"
SHOWN_PREVIEWS = 6
"""How many of a stage's preview pictures a report keeps."""


@dataclass
class StageReport:
    """One stage: the loss terms of its steps, its seconds and the most memory it held.

    Attributes
    ----------
    losses:
        A term's values, one for each step that had it.
    values:
        What was measured beside the losses (strengths, accuracies), one for each step that had it.
    at:
        For terms and values that not every step has: the numbers of the steps that had it.
    previews:
        A few preview pictures as PNG bytes, by file name; not part of :meth:`to_dict`.
    """

    name: str
    steps: int
    losses: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    values: dict[str, list[float]] = field(default_factory=dict)
    at: dict[str, list[int]] = field(default_factory=dict)
    previews: dict[str, bytes] = field(default_factory=dict)

    def add(self, number: int, terms: dict[str, float], values: dict[str, float], seconds: float) -> None:
        """Add step ``number``."""
        for kept, new in ((self.losses, terms), (self.values, values)):
            for name, value in new.items():
                before = kept.setdefault(name, [])
                if len(before) != number and name not in self.at:
                    self.at[name] = list(range(len(before)))
                before.append(value)
                if name in self.at:
                    self.at[name].append(number)
        self.seconds += seconds

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.losses = {name: list(values) for name, values in kept["losses"].items()}
        self.values = {name: list(values) for name, values in kept.get("values", {}).items()}
        self.at = {name: list(steps) for name, steps in kept.get("at", {}).items()}
        self.seconds = float(kept["seconds"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "name": self.name,
            "steps": self.steps,
            "seconds": self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "losses": self.losses,
            "values": self.values,
            "at": self.at,
        }

    def last(self, count: int = 50) -> dict[str, float]:
        """Each term's mean over its last ``count`` values."""
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
        """Write ``training.json``, ``training.png`` and a few preview pictures under ``previews``.

        The plot has a column a stage: its loss terms, and below what else was measured.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "training.json", (json.dumps(self.to_dict()) + "\n").encode())
        write_whole(folder / "training.png", self._plot())
        for number, stage in enumerate(self.stages, 1):
            for name, picture in stage.previews.items():
                (folder / PREVIEWS).mkdir(exist_ok=True)
                write_whole(folder / PREVIEWS / f"stage-{number}-{name}", picture)

    def _plot(self) -> bytes:
        from io import BytesIO

        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = 2 if any(stage.values for stage in self.stages) else 1
        figure = Figure(figsize=(6 * len(self.stages), 3.6 * rows), layout="constrained")
        FigureCanvasAgg(figure)  # no pyplot: no global state, no display
        for number, stage in enumerate(self.stages):
            axes = figure.add_subplot(rows, len(self.stages), number + 1)
            width = max(1, stage.steps // 100)
            for name in stage.losses:
                _curve(axes, stage, name, stage.losses[name])
            axes.set(title=f"{stage.name}, {stage.seconds:.0f} s", xlabel="step", ylabel=f"loss, mean of {width}")
            negative = any(min(values) < 0 for values in stage.losses.values())
            axes.set_yscale("symlog" if negative else "log")
            axes.legend()
            if stage.values:
                axes = figure.add_subplot(rows, len(self.stages), len(self.stages) + number + 1)
                for name in stage.values:
                    _curve(axes, stage, name, stage.values[name])
                axes.set(xlabel="step", ylabel=f"mean of {width}")
                axes.legend()
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def _curve(axes: Any, stage: StageReport, name: str, values: list[float]) -> None:
    """Draw a running mean over a hundredth of the stage, at the steps that it ends with."""
    import numpy as np

    steps = stage.at.get(name) or range(len(values))
    width = max(1, len(values) // 100)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    axes.plot(list(steps)[width - 1 :], smooth, label=name)
