"""Where a sample's defect is asked for (ours): the masks of shots, turned and moved; and the square the model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from ias_zoo.imaging.cutouts import Shape

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.training.shots import Shot

    Mask = npt.NDArray[np.bool_]


def cut_shapes(shots: Sequence[Shot]) -> list[Shape]:
    """The shapes of shots, in their order and in native pixels."""
    return [Shape.cut(shot.defect, shot.mask) for shot in shots]


def shapes_to_tensors(shapes: Sequence[Shape]) -> dict[str, torch.Tensor]:
    """As tensors, for a safetensors file: ``<number>/<defect>`` holds a mask of 0 and 1, ``<number>/`` its sides."""
    found: dict[str, torch.Tensor] = {}
    for number, shape in enumerate(shapes):
        found[f"{number}/{shape.defect}"] = torch.from_numpy(shape.mask.astype(np.uint8))
        found[f"{number}/"] = torch.tensor(shape.sides, dtype=torch.uint8)
    return found


def shapes_from_tensors(tensors: Mapping[str, torch.Tensor]) -> list[Shape]:
    """What :func:`shapes_to_tensors` wrote.

    Raises
    ------
    ValueError, KeyError
        If it is something else.
    """
    named = {int(number): defect for number, _, defect in (key.partition("/") for key in tensors) if defect}
    shapes = []
    for number in sorted(named):
        mask, sides = tensors[f"{number}/{named[number]}"], tensors[f"{number}/"].bool().tolist()
        if mask.ndim != 2 or len(sides) != 4 or not mask.any():
            raise ValueError(f"shape {number} is damaged")
        shapes.append(Shape(named[number], mask.bool().numpy(), tuple(sides)))
    return shapes


@dataclass(frozen=True)
class Square:
    """A square of a picture in native pixels; the model sees it resized to its own size."""

    top: int
    left: int
    side: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing H x W arrays."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)

    @classmethod
    def chosen(cls, size: tuple[int, int], wanted: Mask | None, crop: int | None, rng: np.random.Generator) -> Square:
        """The square for a sample.

        Parameters
        ----------
        wanted:
            Where the defect will be: the square covers it, grown where need be, as far as the picture allows.
        crop:
            Side of the crops that were trained on: the defect lands anywhere in the middle half, without one the
            square lies anywhere. None: whole pictures were; the square is the largest, nearest the centre.
        """
        side = min(*size) if crop is None else min(crop, *size)
        if wanted is None:
            corner = [(length - side) // 2 if crop is None else int(rng.integers(length - side + 1)) for length in size]
            return cls(corner[0], corner[1], side)
        x, y, width, height = cv2.boundingRect(wanted.view(np.uint8))
        side = min(max(side, width, height), *size)
        corner = []
        for start, extent, length in ((y, height, size[0]), (x, width, size[1])):
            middle = (length - side) / 2 if crop is None else start + extent / 2 - rng.uniform(0.25, 0.75) * side
            first = np.clip(middle, start + extent - side, start) if extent <= side else start + (extent - side) / 2
            corner.append(int(np.clip(round(float(first)), 0, length - side)))
        return cls(corner[0], corner[1], side)

    def faded(self, size: tuple[int, int], share: float) -> npt.NDArray[np.float32]:
        """Weights of the square's pixels, side x side: 1, falling linearly to nearly 0 at the square's border.

        Parameters
        ----------
        size:
            Height and width of the picture; where the square ends at the picture's border, nothing falls.
        share:
            Of the side, over which it falls; above 0.
        """
        weights = []
        for start, length in ((self.top, size[0]), (self.left, size[1])):
            steps = np.arange(1, self.side + 1, dtype=np.float32) / np.float32(share * self.side)
            line = np.ones(self.side, np.float32)
            if start > 0:
                line = np.minimum(line, steps)
            if start + self.side < length:
                line = np.minimum(line, steps[::-1])
            weights.append(line)
        return np.minimum.outer(*weights)


def resized(values: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float32]:
    """Float values H x W or H x W x C to another size: area means when shrinking, linear when growing."""
    source = np.ascontiguousarray(values, dtype=np.float32)
    if source.shape[:2] == (height, width):
        return source
    method = cv2.INTER_AREA if height <= source.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(source, (width, height), interpolation=method), dtype=np.float32)
