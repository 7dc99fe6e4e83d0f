"""Making one sample: the control map, one run of the generator, and the layer composed onto the normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ias_zoo.data.images import resize_image
from ias_zoo.training.devices import generator
from ias_zoo_defect_gan.shapes import Square, resized
from ias_zoo_defect_gan.stages import draw_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ias_zoo.imaging.cutouts import Shape
    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo_defect_gan.networks import Architecture, Generator
    from ias_zoo_defect_gan.options import DefectGANOptions

    Levels = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Painted:
    """A picture with a defect: H x W x 3 uint8, the mask H x W bool, the map H x W float32, and what was drawn."""

    image: RGB
    mask: Mask
    map: Levels
    drawn: dict[str, Any]


@dataclass
class Painter:
    """A generator with what else a sample takes.

    Attributes
    ----------
    crop:
        Side of the crops that it was trained on in native pixels, None for whole pictures.
    shapes:
        Masks of shots, for control maps; empty for maps that are the same everywhere.
    """

    architecture: Architecture
    generator: Generator
    options: DefectGANOptions
    crop: int | None
    shapes: Sequence[Shape]
    device: torch.device

    def paint(
        self,
        normal: RGB,
        categories: Sequence[int],
        rng: np.random.Generator,
        *,
        region: Mask | None = None,
        mask: Mask | None = None,
    ) -> Painted:
        """Paint a defect onto a normal.

        Parameters
        ----------
        categories:
            The categories asked for, at least one.
        region, mask:
            H x W bool; nothing is painted outside either. The mask also asks for the defect in all of it.
        """
        size = (normal.shape[0], normal.shape[1])
        wanted, drawn = self._wanted(size, categories, region, mask, rng)
        square = Square.chosen(size, wanted if wanted is not None else region, self.crop, rng)
        here = wanted if wanted is not None else region
        allowed = mask if region is None else region if mask is None else region & mask
        foreground, where = self._layer(
            normal[square.slices], categories, None if here is None else here[square.slices], rng
        )
        drawn |= {"square": [square.top, square.left, square.side]}
        if self.options.output == "model":
            side = self.architecture.size
            below = resize_image(np.ascontiguousarray(normal[square.slices]), side, side)
            limit = None if allowed is None else resized(allowed[square.slices], side, side) > 0.5
            return self._composed(below, foreground, where, limit, drawn)
        here_foreground, here_where = (resized(values, square.side, square.side) for values in (foreground, where))
        if self.options.fade:
            kept = square.faded(size, self.options.fade)
            here_where = here_where * (kept if wanted is None else np.maximum(kept, wanted[square.slices]))
        limit = None if allowed is None else allowed[square.slices]
        part = self._composed(normal[square.slices], here_foreground, here_where, limit, drawn)
        image, inside, soft = normal.copy(), np.zeros(size, np.bool_), np.zeros(size, np.float32)
        image[square.slices], inside[square.slices], soft[square.slices] = part.image, part.mask, part.map
        return Painted(image, inside, soft, drawn)

    def _wanted(
        self, size: tuple[int, int], categories: Sequence[int], region: Mask | None, mask: Mask | None,
        rng: np.random.Generator,
    ) -> tuple[Mask | None, dict[str, Any]]:  # fmt: skip
        """Where the defect is asked for: the given mask, a shape of the type, or no place in particular."""
        if mask is not None:
            return mask, {"place": "mask"}
        names = {self.architecture.categories[category] for category in categories}
        known = [number for number, shape in enumerate(self.shapes) if shape.defect in names]
        if not known:
            return None, {"place": "free"}
        number, quarters, mirror = known[int(rng.integers(len(known)))], int(rng.integers(4)), bool(rng.random() < 0.5)
        if not self.options.turn:
            quarters = 0
        placed = self.shapes[number].turned(quarters, mirror).placed(size, region, rng)
        if not placed.any():
            return None, {"place": "free"}
        return placed, {"place": "shape", "shape": number, "quarters": quarters, "mirror": mirror}

    def _layer(
        self, below: RGB, categories: Sequence[int], wanted: Mask | None, rng: np.random.Generator
    ) -> tuple[Levels, Levels]:
        """Foreground S x S x 3 in levels of 255 and map S x S in [0, 1], at the model's size."""
        side = self.architecture.size
        seen = resize_image(np.ascontiguousarray(below), side, side)
        picture = torch.from_numpy(seen.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)[None]
        labels = torch.stack([self.architecture.label(category) for category in categories]).amax(dim=0)[None]
        where = None if wanted is None else torch.from_numpy(resized(wanted, side, side))[None, None]
        generators = [generator(int(rng.integers(2**63)))]
        noise = [plane * self.options.noise for plane in draw_noise(generators, side, side, self.device)]
        control = self.architecture.deface(labels, where).to(self.device)
        with torch.no_grad():
            layer = self.generator(picture.to(self.device), control, noise)
        levels = ((layer.foreground[0] + 1) * 127.5).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(levels), layer.where[0, 0].cpu().numpy()

    def _composed(
        self, below: RGB, foreground: Levels, where: Levels, limit: Mask | None, drawn: dict[str, Any]
    ) -> Painted:
        """Layer-wise composition in levels; a pixel with map 0 keeps its value exactly."""
        soft = where if limit is None else where * limit
        mask = soft > self.options.mask_threshold
        if self.options.exact_mask:
            soft = soft * mask
        weight = soft[:, :, None]
        image = np.rint(below * (1 - weight) + foreground * weight).clip(0, 255).astype(np.uint8)
        return Painted(image, mask, np.ascontiguousarray(soft, dtype=np.float32), drawn)
