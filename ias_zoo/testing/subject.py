"""The method under test and the small inputs it is tried on, made on the spot. Nothing comes from the network."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data import DataSet, open_data
from ias_zoo.data.images import encode_png
from ias_zoo.method import Input, Method, Trains
from ias_zoo.registry import registry
from ias_zoo.synthesizer import Request, copies_shots

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask, Sample
    from ias_zoo.training.shots import Shot

SHAPE = (96, 128)
"""Height and width of ordinary test pictures: not square, so that swapped axes show."""


DEFECT = "scratch"
"""The defect type of the toy shots that trained methods are fitted on."""


@dataclass
class Subject:
    """A method with the options it is tested with. ``base`` is for trained methods: a small model to start from."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    base: str | None = None
    _weights: Path | None = None

    @property
    def method(self) -> Method:
        """What its plugin says about it."""
        return registry().find(self.name).method

    @property
    def trained(self) -> bool:
        """Whether the method has to be fitted first."""
        return self.method.trains is not Trains.NONE

    def load(self) -> Any:
        """A fresh synthesizer; one that trains is loaded from weights fitted once on a toy set."""
        if not self.trained:
            return registry().load(self.name, **self.options)
        return registry().load(self.name, self.weights(), base=self.base, device="cpu", **self.options)

    def weights(self) -> Path:
        """The folder of weights fitted on the toy set."""
        if self._weights is None:
            scratch = Path(tempfile.mkdtemp())  # many tests share it: it lives as long as the process
            atexit.register(shutil.rmtree, scratch, ignore_errors=True)
            self.unfitted().fit(toy_set(scratch / "data"), count=2, out=scratch / "weights")
            self._weights = scratch / "weights"
        return self._weights

    def unfitted(self) -> Any:
        """A synthesizer that has not been fitted."""
        return registry().load(self.name, base=self.base, device="cpu", **self.options)

    def request(self, seed: int, *, shape: tuple[int, int] = SHAPE, **changes: Any) -> Request:
        """A request with everything that the method needs."""
        values: dict[str, Any] = {"seed": seed, "normal_id": "normal"}
        if self.method.uses(Input.NORMALS):
            values["normal"] = picture(shape, 1)
        if self.method.uses(Input.SOURCE):
            values |= {"source": picture(shape, 2), "source_id": "source"}
        if copies_shots(self.method):
            values |= {"shot": toy_shot(shape), "defect": DEFECT}
        if self.trained or Input.DEFECT in self.method.needs:
            values["defect"] = DEFECT
        if Input.PROMPT in self.method.needs:
            values["prompt"] = "a scratch"
        if Input.MASK in self.method.needs:
            values["mask"] = disc(shape)
        return Request(**(values | changes))

    def requests(self, seeds: range, **changes: Any) -> list[Request]:
        """A request a seed."""
        return [self.request(seed, **changes) for seed in seeds]


def toy_set(folder: Path) -> DataSet:
    """Three normals and four shots of one defect type, written in the plain layout."""
    for number in range(3):
        _write(folder / f"normal/{number}.png", picture(SHAPE, 10 + number))
    for number in range(4):
        image, mask = picture(SHAPE, 20 + number), np.zeros(SHAPE, np.bool_)
        mask[30 + 4 * number : 50, 40:70] = True
        image[mask] = 20
        _write(folder / f"defect/{DEFECT}/{number}.png", image)
        _write(folder / f"masks/{DEFECT}/{number}.png", mask)
    return open_data(folder)


def toy_shot(shape: tuple[int, int] = SHAPE) -> Shot:
    """A dark oval on a picture of the given size, for methods that copy from shots."""
    from ias_zoo.training.shots import Shot

    image, (height, width) = picture(shape, 3), shape
    y, x = np.mgrid[:height, :width]
    mask = ((y - height // 2) / (0.1 * height + 1)) ** 2 + ((x - width // 2) / (0.2 * width + 1)) ** 2 < 1
    image[mask] = 20
    return Shot("shot", image, mask, DEFECT, "0" * 64)


def _write(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(array))


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
