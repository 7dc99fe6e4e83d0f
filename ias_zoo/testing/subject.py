"""The method under test and the small inputs it is tried on. Nothing is read from disk or the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.method import Input, Method
from ias_zoo.registry import registry
from ias_zoo.synthesizer import Request

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask, Sample

SHAPE = (96, 128)
"""Height and width of ordinary test pictures: not square, so that swapped axes show."""


@dataclass
class Subject:
    """A method with the options it is tested with."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> Method:
        """What its plugin says about it."""
        return registry().find(self.name).method

    def load(self) -> Any:
        """A fresh synthesizer."""
        return registry().load(self.name, **self.options)

    def request(self, seed: int, *, shape: tuple[int, int] = SHAPE, **changes: Any) -> Request:
        """A request with everything that the method needs."""
        values: dict[str, Any] = {"seed": seed, "normal_id": "normal"}
        if self.method.uses(Input.NORMALS):
            values["normal"] = picture(shape, 1)
        if self.method.uses(Input.SOURCE):
            values |= {"source": picture(shape, 2), "source_id": "source"}
        if Input.DEFECT in self.method.needs:
            values["defect"] = "defect"
        if Input.PROMPT in self.method.needs:
            values["prompt"] = "a scratch"
        if Input.MASK in self.method.needs:
            values["mask"] = disc(shape)
        return Request(**(values | changes))

    def requests(self, seeds: range, **changes: Any) -> list[Request]:
        """A request a seed."""
        return [self.request(seed, **changes) for seed in seeds]


def picture(shape: tuple[int, int], seed: int) -> RGB:
    """A textured colour picture: coarse and fine noise over a slope, the same for the same seed."""
    rng = np.random.default_rng([20, seed])
    height, width = shape
    coarse = rng.uniform(-40, 40, size=(height // 8 + 2, width // 8 + 2, 3))
    coarse = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    slope = np.linspace(90, 160, width)[None, :, None]
    values = slope + coarse + rng.normal(0, 8, size=(height, width, 3))
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)


def disc(shape: tuple[int, int]) -> Mask:
    """A mask that covers a disc in the middle."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius = 0.35 * min(shape)
    return np.asarray((y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2 <= radius**2, dtype=np.bool_)


def same(one: Sample, other: Sample) -> bool:
    """Whether two samples are equal to the byte."""
    maps = (one.label_map, other.label_map)
    if (maps[0] is None) != (maps[1] is None):
        return False
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.mask, other.mask)
        and (maps[0] is None or maps[1] is None or maps[0].tobytes() == maps[1].tobytes())
        and one.defect == other.defect
    )
