"""Superpixels: an image cut into connected parts of one colour, their neighbours, and passes of those that are apart.

SLIC: Achanta et al., *SLIC Superpixels Compared to State-of-the-Art Superpixel Methods*, IEEE TPAMI 2012, as OpenCV's
contributed modules have it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from ias_zoo.data.cache import PictureCache

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Labels = npt.NDArray[np.int32]
    Pairs = npt.NDArray[np.int32]

__all__ = ["Cut", "SuperpixelCache", "colour_passes", "neighbours", "superpixels"]

ITERATIONS = 10
SMALLEST_PERCENT = 25  # of the mean area: smaller parts join a neighbour
FEW = 2**16  # labels that 16 bits can count
SMALLEST_SIDE = 4  # pixels between seeds; SLIC looks at gradients around them


def superpixels(image: RGB, count: int, compactness: float = 10.0, sigma: float = 1.0) -> Labels:
    """Cut an image into superpixels.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB.
    count:
        About how many, at least 1; fewer where they would be less than 4 pixels wide.
    compactness:
        Of SLIC: larger makes squares, smaller follows colours.
    sigma:
        Of the Gaussian that smooths the image first, in pixels; 0 for none.

    Returns
    -------
    H x W int32, labels 0..n-1 without a gap, each a 4-connected part.
    """
    height, width = image.shape[:2]
    side = max(SMALLEST_SIDE, round((height * width / count) ** 0.5))
    if min(height, width) < 2 * side:  # too thin for a lattice of seeds: plain pieces along the image
        return _pieces(height, width, side)
    smooth = cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0 else image
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, float(compactness))
    slic.iterate(ITERATIONS)
    slic.enforceLabelConnectivity(SMALLEST_PERCENT)
    return _connected(np.asarray(slic.getLabels(), np.int32))


def neighbours(labels: Labels) -> Pairs:
    """Pairs (i, j), i < j, of superpixels that share an edge: M x 2 int32, sorted, each once."""
    across = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1)
    down = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1)
    pairs = np.concatenate([across, down])
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0).astype(np.int32)


def colour_passes(labels: Labels) -> list[npt.NDArray[np.int32]]:
    """Share superpixels out to passes so that no two of a pass touch: each superpixel in exactly one pass.

    Greedy colouring, the superpixels with the most neighbours first; about six passes for hundreds of superpixels.
    """
    around = _adjacency(labels)
    count = len(around)
    colours = [-1] * count
    for label in sorted(range(count), key=lambda i: (-len(around[i]), i)):
        taken = {colours[other] for other in around[label]}
        colours[label] = next(colour for colour in range(count) if colour not in taken)
    chosen = np.asarray(colours)
    return [np.flatnonzero(chosen == colour).astype(np.int32) for colour in range(int(chosen.max()) + 1)]


class Cut(NamedTuple):
    """An image's superpixels: labels (H x W, uint16 where that does, else int32), areas in pixels, who touches whom."""

    labels: npt.NDArray[np.integer]
    areas: npt.NDArray[np.int64]
    around: tuple[tuple[int, ...], ...]

    def grow(self, among: npt.NDArray[np.intp], count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Choose ``count`` superpixels ``among`` the given ones: a random seed, then random neighbours of those chosen.

        One connected hole, but where the given ones do not touch: then growth starts again at another seed.
        """
        left = set(among.tolist())
        chosen: list[int] = []
        rim: list[int] = []
        for _ in range(count):
            rim = [label for label in rim if label in left]
            label = rim[int(rng.integers(len(rim)))] if rim else sorted(left)[int(rng.integers(len(left)))]
            left.remove(label)
            chosen.append(label)
            rim.extend(self.around[label])
        return np.asarray(chosen, np.intp)


class SuperpixelCache:
    """Superpixels of pictures seen before, found by a hash of their pixels: cutting is slow, hashing is not.

    Parameters
    ----------
    limit:
        Bytes of labels to keep.
    count, compactness, sigma:
        As :func:`superpixels`.
    """

    def __init__(self, limit: int, count: int, compactness: float = 10.0, sigma: float = 1.0) -> None:
        self._cache: PictureCache[Cut] = PictureCache(limit, _bytes)
        self._settings = (count, compactness, sigma)

    def get(self, image: RGB) -> Cut:
        """The superpixels of ``image``; its arrays are shared and read-only."""
        key = (image.shape, hashlib.sha256(np.ascontiguousarray(image).data).digest())
        return self._cache.get(key, lambda: self._cut(image))

    def _cut(self, image: RGB) -> Cut:
        labels = superpixels(image, *self._settings)
        areas = np.bincount(labels.ravel())
        small = labels.astype(np.uint16) if areas.size <= FEW else labels  # half the memory
        for array in (small, areas):
            array.setflags(write=False)
        return Cut(small, areas, tuple(tuple(others) for others in _adjacency(labels)))


def _adjacency(labels: Labels) -> list[list[int]]:
    around: list[list[int]] = [[] for _ in range(int(labels.max()) + 1)]
    for one, other in neighbours(labels).tolist():
        around[one].append(other)
        around[other].append(one)
    return around


def _connected(labels: Labels) -> Labels:
    """Number the 4-connected parts of equal labels 0..n-1."""
    from skimage.measure import label

    parts = label(labels, connectivity=1, background=-1)
    return np.asarray(parts - 1, np.int32)


def _pieces(height: int, width: int, side: int) -> Labels:
    rows, columns = np.arange(height) // side, np.arange(width) // side
    return (rows[:, None] * (int(columns[-1]) + 1) + columns[None, :]).astype(np.int32)


def _bytes(cut: Cut) -> int:
    return cut.labels.nbytes + cut.areas.nbytes + 64 * len(cut.around)
