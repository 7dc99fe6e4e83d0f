"""RD++: a rectangle of faint simplex noise on the image.

Tien, Nguyen, Tran, Huy, Duong, Nguyen, Truong: *Revisiting Reverse Distillation for Anomaly Detection*, CVPR 2023,
24511-24520; published code: github.com/tientrandinh/Revisiting-Reverse-Distillation (MIT), whose noise comes from
AnoDDPM. This is that noise; the networks are left out.

On an image of 256 x 256, sides U{10..31}, top and left corner U{1..255 - side}; to every channel 0.2 times a sum of six
octaves of OpenSimplex noise is added (the image in 0..1), amplitudes 0.6^o, wavelengths 32, 16, ... 1, the channel as
third coordinate, so that the channels are alike. One rectangle an image.

Where this departs from the published code:

- Every sample has a noise field of its own: each lattice point's gradient is drawn anew. The published code seeds its
  noise once, and all its patches are crops of one field; ``legacy_fixed_field=True`` does the same.
- The mask: the rectangle. The published code gives none. It holds every changed pixel, and pixels that the noise
  leaves as they are.
- uint8, so the sum is rounded and clipped (published: float, neither).
- On images of another size the rectangle is scaled by min(H, W) / 256 and the noise with it, by interpolation;
  ``scale_side=False`` keeps absolute pixels.
- With a region, the centre is a region pixel, and what would land outside the region is not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.imaging.blending import canvas, paste
from ias_zoo.imaging.patches import Box
from ias_zoo.imaging.placement import place
from ias_zoo.imaging.simplex import FractalNoise, fractal_noise

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo_handcrafted.options.rdpp import RdppOptions

    Floats = npt.NDArray[np.float64]

CHANNELS = 3


class Rdpp(ImageSynthesizer):
    """RD++'s noise."""

    options: RdppOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Put noise on one normal."""
        options, normal, region = self.options, request.need_normal(), request.region
        height, width = normal.shape[:2]
        scale = min(height, width) / 256 if options.scale_side else 1.0
        drawn_size = [int(side) for side in rng.integers(options.side[0], options.side[1] + 1, size=2)]
        size = [
            min(max(round(side * scale), 1), limit) for side, limit in zip(drawn_size, (height, width), strict=True)
        ]
        if region is None:
            top, left = (_off_the_edge(limit, side, rng) for limit, side in zip((height, width), size, strict=True))
            box = Box(top, left, *size)
        else:
            box = place(normal.shape, tuple(size), rng, region)
        noise = self._noise(drawn_size, rng)
        if drawn_size != size:
            how = cv2.INTER_AREA if size[0] < drawn_size[0] else cv2.INTER_LINEAR
            noise = np.asarray(cv2.resize(noise, size[::-1], interpolation=how), np.float64)
        noisy = np.clip(np.rint(normal[box.slices] + (255 * options.strength) * noise), 0, 255).astype(np.uint8)

        image, mask = canvas(normal)
        paste(image, mask, noisy, box, None if region is None else region[box.slices])
        return Drawn(image=image, mask=mask, drawn={"box": box, "noise_size": drawn_size, "mean_noise": noise.mean()})

    def _noise(self, size: list[int], rng: np.random.Generator) -> Floats:
        field = self.field()
        if self.options.legacy_fixed_field:
            return field.fixed(size[0], size[1], self.options.field_seed)
        return field.draw(size[0], size[1], rng)

    def field(self) -> FractalNoise:
        """The noise on the largest rectangle; built once a process, not part of a pickled synthesizer."""
        options = self.options
        return fractal_noise(options.side[1], CHANNELS, options.octaves, options.persistence, options.wavelength)


def _off_the_edge(limit: int, side: int, rng: np.random.Generator) -> int:
    """U{1..limit - 1 - side}, as published; in an image too small for that, wherever it fits."""
    return int(rng.integers(1, limit - side)) if limit - side > 1 else int(rng.integers(limit - side + 1))
