"""The base stage on a user's own normals (ours): its defects are drawn onto them, with their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from ias_zoo.errors import DataError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.imaging.drawn_defects import KINDS, draw_defect, visible_mask
from ias_zoo.training.devices import generator
from ias_zoo.training.shots import centre_square
from ias_zoo_defect_gan.stages import Batch

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB
    from ias_zoo.training.shots import TrainingSet
    from ias_zoo_defect_gan.networks import Architecture
    from ias_zoo_defect_gan.options import DefectGANOptions

TRIES = 20
"""Drawn defects that hardly show are drawn again so often."""


@dataclass
class Surface:
    """A picture that defects are drawn on, all of it the product."""

    image: np.ndarray[Any, Any]
    region: np.ndarray[Any, Any] | None = None
    ground: np.ndarray[Any, Any] | None = None


class DrawnDefects:
    """Batches of normals, and of other normals with a drawn defect in place of shots."""

    KINDS: ClassVar[tuple[str, ...]] = tuple(sorted(KINDS))

    def __init__(
        self, data: TrainingSet, options: DefectGANOptions, architecture: Architecture, crop: int | None, seed: int,
        device: torch.device, *, masks: bool,
    ) -> None:  # fmt: skip
        self.data, self.options, self.architecture, self.crop = data, options, architecture, crop
        self.seed, self.device, self.masks = seed, device, masks

    def make(self, turn: str, step: int, micro: int) -> Batch:
        """Draw a micro-batch."""
        seed = seed_for(self.seed, turn, step, micro)
        rng = np.random.default_rng(seed)
        size = self.options.batch
        normals = [self._normal(rng) for _ in range(size)]
        drawn = [self._defect(rng) for _ in range(size)]
        return Batch(
            normals=self._pixels(normals),
            defects=self._pixels([picture for picture, _, _ in drawn]),
            labels=torch.stack([self.architecture.label(self.KINDS.index(kind)) for *_, kind in drawn]).to(self.device),
            masks=torch.from_numpy(np.stack([mask for _, mask, _ in drawn])[:, None]).float().to(self.device),
            spatial=self.masks and bool(rng.random() < self.options.spatial),
            generators=[generator(seed_for(seed, place)) for place in range(size)],
        )

    def _normal(self, rng: np.random.Generator) -> RGB:
        normals = self.data.normals
        image = normals.read(int(rng.integers(len(normals)))).image
        square = centre_square(image, self.architecture.size, self.crop, rng)
        if self.options.turn:
            square = np.rot90(square, int(rng.integers(4)))
        return np.ascontiguousarray(square[:, ::-1] if rng.random() < 0.5 else square)

    def _defect(self, rng: np.random.Generator) -> tuple[RGB, np.ndarray[Any, Any], str]:
        for _ in range(TRIES):
            normal, kind = self._normal(rng), str(rng.choice(self.KINDS))
            made, _ = draw_defect(Surface(normal.astype(np.float32) / 255), rng, kind)
            picture = np.rint(made * 255).astype(np.uint8)
            mask = visible_mask(normal, picture)
            if mask is not None:
                return picture, mask, kind
        raise DataError(f"{TRIES} defects drawn onto these normals hardly show; are the pictures all black or white?")

    def _pixels(self, pictures: list[RGB]) -> torch.Tensor:
        levels = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(levels / 127.5 - 1)).to(self.device)
