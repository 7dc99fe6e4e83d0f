"""The scale at which a segmenter sees a picture: whole and resized, or in tiles at native scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data.images import resize_image

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.synthesizer import RGB
    from ias_zoo.training.shots import Shot

    ScoreMap = npt.NDArray[np.float32]
    Predict = Callable[[Sequence[npt.NDArray[np.uint8]]], Sequence[ScoreMap]]

CELL = 8
"""Pixels of the network's picture that stand for one of ``fit``'s latent cells: the rule for cropping is the same."""
MULTIPLE = 32
"""Networks take pictures whose sides are multiples of this."""

MARGIN = 16
"""Pixels of mirrored border that tiles show beyond the picture: a network errs at the very border of what it sees."""


@dataclass(frozen=True)
class View:
    """How pictures reach the network.

    ``native`` False: whole pictures, resized to ``side`` x ``side``. True: training crops of ``side`` pixels at native
    scale; testing on tiles of ``tile`` pixels that overlap by at least ``overlap``.
    """

    side: int
    native: bool
    tile: int
    overlap: int

    @classmethod
    def choose(cls, shots: Sequence[Shot], side: int, crop: str, tile_side: int | None = None) -> View:
        """Tiles where the defects would be lost on the resized picture.

        The decision is that of ``fit --crop``, :func:`ias_zoo.training.shots.choose_crop`. Unlike there the crop keeps
        its side (``tile_side``, or else ``side``) on pictures that are smaller: their borders are mirrored.

        Raises
        ------
        OptionError
            If ``crop`` is neither ``auto``, ``off`` nor a number of pixels.
        """
        from ias_zoo.training.shots import choose_crop

        native = choose_crop(shots, side, CELL, crop) is not None
        if native:
            side = -(-int(crop) // MULTIPLE) * MULTIPLE if crop.isdigit() else tile_side or side
        return cls(side, native, 8 * side, side // 4)  # few pictures need more than one tile

    def to_json(self) -> dict[str, Any]:
        """What was chosen."""
        if self.native:
            return {"scale": "native tiles", "crop": self.side, "tile": self.tile, "overlap": self.overlap}
        return {"scale": "whole pictures resized", "side": self.side}

    def score_map(self, image: RGB, predict: Predict) -> ScoreMap:
        """Map a picture with a function that maps squares: H x W float32.

        Tiles are stitched by a weighted mean, each pixel weighted by its distance from its tile's border: what a
        network says about a border is its worst guess.
        """
        height, width = image.shape[:2]
        if not self.native:
            return _resized(predict([resize_image(image, self.side, self.side)])[0], height, width)
        padded, top, left = _padded(image)
        boxes = [
            (y, x, min(self.tile, padded.shape[0]), min(self.tile, padded.shape[1]))
            for y in starts(padded.shape[0], self.tile, self.overlap)
            for x in starts(padded.shape[1], self.tile, self.overlap)
        ]
        maps = predict([np.ascontiguousarray(padded[y : y + h, x : x + w]) for y, x, h, w in boxes])
        total, weights = np.zeros(padded.shape[:2]), np.zeros(padded.shape[:2])
        for (y, x, h, w), tile in zip(boxes, maps, strict=True):
            weight = np.minimum.outer(_ramp(h, self.overlap), _ramp(w, self.overlap))
            total[y : y + h, x : x + w] += weight * tile
            weights[y : y + h, x : x + w] += weight
        stitched = (total / weights)[top : top + height, left : left + width]
        return np.ascontiguousarray(stitched, dtype=np.float32)


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side so that they cover it, spread evenly, overlapping by at least ``overlap``."""
    if length <= tile:
        return [0]
    number = 1 + -(-(length - tile) // (tile - overlap))
    return [round(place * (length - tile) / (number - 1)) for place in range(number)]


def _ramp(length: int, overlap: int) -> npt.NDArray[np.float64]:
    distance = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1))
    return np.asarray(np.minimum(distance / max(overlap, 1), 1.0), dtype=np.float64)


def _padded(image: RGB) -> tuple[RGB, int, int]:
    """The picture with mirrored borders, its sides multiples of what networks take, and where it lies in it."""
    extra = [2 * MARGIN + -side % MULTIPLE for side in image.shape[:2]]
    top, left = extra[0] // 2, extra[1] // 2
    pads = [(top, extra[0] - top), (left, extra[1] - left), *[(0, 0)] * (image.ndim - 2)]
    return np.pad(image, pads, mode="symmetric"), top, left


def _resized(score: ScoreMap, height: int, width: int) -> ScoreMap:
    import cv2

    if score.shape == (height, width):
        return score
    return np.asarray(cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
