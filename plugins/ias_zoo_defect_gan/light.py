"""Light in few-shot training (ours): shots and normals are lit alike, so that light says nothing about defects.

A handful of shots may all be taken in one light where normals come in many. A discriminator then tells them apart by
light, and the generator learns to paint light. So every picture, shot or normal, is exposed as a normal drawn at
random: one factor on all its levels brings its mean to that normal's, and both kinds are lit by the same law.

Not the spread as well: it differs between products' parts more than between lights, and a smooth part brought to the
spread of a rough one becomes noise. A longer exposure multiplies levels, gamma-encoded ones too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.generation.requests import Normals
    from ias_zoo.synthesizer import RGB, Mask

    Pixels = npt.NDArray[np.float32]

LARGEST = 4.0
"""No levels are multiplied, or divided, by more: what is nearly black holds noise alone."""


def light_of(image: RGB, mask: Mask | None = None) -> float:
    """Mean level in [0, 255] of an H x W x 3 uint8 picture; outside the mask, H x W bool, where anything is."""
    pixels = image if mask is None or mask.all() else image[~mask]
    return float(pixels.mean())


def exposed(pixels: Pixels, has: float, wanted: float) -> Pixels:
    """A part of a picture of one light as it were in another: its levels times ``wanted / has``, then clipped.

    Parameters
    ----------
    pixels:
        Float32 in [-1, 1], of any shape.
    has, wanted:
        Mean levels in [0, 255] of the whole picture: its own, and what it is to be. The factor stays within
        :data:`LARGEST`.
    """
    gain = np.float32(np.clip(wanted / max(has, 1e-6), 1 / LARGEST, LARGEST))
    return np.asarray(np.clip((pixels + 1) * gain - 1, -1, 1), dtype=np.float32)


class NormalLights:
    """The lights of normals by number, each measured once."""

    def __init__(self, normals: Normals) -> None:
        self._normals = normals
        self._known: dict[int, float] = {}

    def of(self, number: int) -> float:
        """The light of a normal, see :func:`light_of`."""
        if number not in self._known:
            self._known[number] = light_of(self._normals.read(number).image)
        return self._known[number]

    def draw(self, rng: np.random.Generator) -> float:
        """The light of a normal drawn at random."""
        return self.of(int(rng.integers(len(self._normals))))
