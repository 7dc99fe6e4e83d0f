"""Light in few-shot training (ours): shots and normals are lit alike, so that light says nothing about defects.

A handful of shots may all be taken in one light where normals come in many. A discriminator then tells them apart by
light, and the generator learns to paint light. So every picture, shot or normal, is given the light of a normal drawn
at random, by one gain and one offset for all its pixels and channels: both kinds are then lit by the same law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.generation.requests import Normals
    from ias_zoo.synthesizer import RGB, Mask

    Pixels = npt.NDArray[np.float32]

LARGEST_GAIN = 4.0
"""No picture's contrast is raised, or lowered, by more: a nearly flat one would become noise."""


@dataclass(frozen=True)
class Light:
    """Mean and standard deviation of a picture's levels over pixels and channels, in levels of 255."""

    mean: float
    spread: float

    @classmethod
    def of(cls, image: RGB, mask: Mask | None = None) -> Light:
        """The light of an H x W x 3 uint8 picture; of its pixels outside the mask, H x W bool, where there are some."""
        pixels = image if mask is None or mask.all() else image[~mask]
        return cls(float(pixels.mean()), float(pixels.std()))


def relit(pixels: Pixels, has: Light, wanted: Light) -> Pixels:
    """A part of a picture of one light as it were in another: one gain and one offset, then clipped.

    Parameters
    ----------
    pixels:
        Float32 in [-1, 1], of any shape.
    has:
        The light of the whole picture. Its mean becomes the wanted one's, and so does its spread, as far as
        :data:`LARGEST_GAIN` allows.
    """
    gain = np.clip(wanted.spread / max(has.spread, 1e-6), 1 / LARGEST_GAIN, LARGEST_GAIN)
    offset = wanted.mean / 127.5 - 1 - gain * (has.mean / 127.5 - 1)
    return np.clip(pixels * np.float32(gain) + np.float32(offset), -1, 1)


class NormalLights:
    """The lights of normals by number, each measured once."""

    def __init__(self, normals: Normals) -> None:
        self._normals = normals
        self._known: dict[int, Light] = {}

    def of(self, number: int) -> Light:
        """The light of a normal."""
        if number not in self._known:
            self._known[number] = Light.of(self._normals.read(number).image)
        return self._known[number]

    def draw(self, rng: np.random.Generator) -> Light:
        """The light of a normal drawn at random."""
        return self.of(int(rng.integers(len(self._normals))))
