"""OpenSimplex noise in three dimensions, and its fractal sum over octaves on a small pixel grid, fast.

The noise is Spencer's OpenSimplex of 2014 (public domain), whose values the Python package ``opensimplex`` also gives.
What it computes can be said in one line: lattice points p, at q = p + (p1 + p2 + p3) / 3, each carry a gradient g, and

    noise(x) = 1 / 103 * sum over all q with |x - q|^2 < 2 of (2 - |x - q|^2)^4 * g . (x - q).

That is linear in the gradients. On a fixed grid of pixels everything but the gradients is the same for every field, so
:class:`FractalNoise` holds it as a sparse matrix, octaves already summed; a field is one product of that matrix with
fresh gradients.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

__all__ = ["FractalNoise", "fractal_noise", "gradients", "simplex3"]

REACH = 2.0  # squared
SCALE = 103.0
GRADIENTS = np.array(
    [
        long * np.array((sx, sy, sz))
        for sz in (1, -1)
        for sy in (1, -1)
        for sx in (-1, 1)
        for long in ((11, 4, 4), (4, 11, 4), (4, 4, 11))
    ],
    dtype=np.float64,
)
"""24 x 3: one component 11 long, two 4 long, with every sign; in the order in which the hash counts them."""

_CORNERS = np.stack(np.meshgrid(*[np.arange(-1, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)  # 64 x 3


def simplex3(points: Floats, seed: int) -> Floats:
    """Evaluate the noise anywhere.

    Parameters
    ----------
    points:
        N x 3 float64.
    seed:
        Of the permutation, any 64-bit integer.

    Returns
    -------
    N float64 in [-1, 1].
    """
    rows, lattice, weights = _contributions(points)
    values = np.einsum("kc,kc->k", weights, gradients(lattice, seed))
    return np.asarray(np.bincount(rows, weights=values, minlength=len(points)), np.float64)


def gradients(lattice: Ints, seed: int) -> Floats:
    """The gradients that OpenSimplex's hash gives lattice points: K x 3 integers to K x 3 float64."""
    table = _permutation(seed)
    index = table[lattice[:, 0] & 255]
    index = table[(index + lattice[:, 1]) & 255]
    index = table[(index + lattice[:, 2]) & 255]
    return np.asarray(GRADIENTS[index % len(GRADIENTS)])


class FractalNoise:
    """Sums of octaves on a grid of pixels: sum over o of persistence^o * noise((x, y, c) / (wavelength / 2^o)).

    Parameters
    ----------
    side:
        The largest height and width of a field, in pixels.
    channels:
        How many; the channel's number is the third coordinate.
    octaves, persistence, wavelength:
        Of the sum; the wavelength, in pixels, is that of the first octave.

    Attributes
    ----------
    bound:
        What no value exceeds in size: the sum of the amplitudes.
    """

    def __init__(self, side: int, channels: int, octaves: int, persistence: float, wavelength: float) -> None:
        from scipy.sparse import csr_array

        self.side, self.channels = side, channels
        self.bound = sum(persistence**octave for octave in range(octaves))
        y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(channels), indexing="ij")
        pixels = np.stack([x.ravel(), y.ravel(), c.ravel()], axis=1).astype(np.float64)
        rows, columns, values, lattices = [], [], [], []
        points = 0
        for octave in range(octaves):
            row, lattice, weight = _contributions(pixels / (wavelength / 2**octave))
            lattice, place = np.unique(lattice, axis=0, return_inverse=True)
            rows.append(np.repeat(row, 3))
            columns.append(((points + place.ravel()[:, None]) * 3 + np.arange(3)).ravel())
            values.append(weight.ravel() * persistence**octave)
            lattices.append(lattice)
            points += len(lattice)
        self.lattice = np.concatenate(lattices)
        shape = (len(pixels), 3 * points)
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        self._matrix: Any = csr_array(entries, shape=shape)
        self._first: dict[int, Any] = {}  # the same matrix's first rows, by height: views

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Floats:
        """A field of its own: every lattice point gets one of the 24 gradients at random.

        ``height`` x ``width`` x channels float64 within +-``bound``; both at most ``side``.
        """
        return self._field(height, width, GRADIENTS[rng.integers(len(GRADIENTS), size=len(self.lattice))])

    def fixed(self, height: int, width: int, seed: int) -> Floats:
        """The field that OpenSimplex's own hash gives: of one seed, every field is a crop of the same one."""
        return self._field(height, width, gradients(self.lattice, seed))

    def _field(self, height: int, width: int, vectors: Floats) -> Floats:
        values = self._lines(height) @ vectors.ravel()
        return np.asarray(values).reshape(height, self.side, self.channels)[:, :width]

    def _lines(self, height: int) -> Any:
        """The matrix of the first ``height`` lines: pixels are ordered by line."""
        if height not in self._first:
            whole, rows = self._matrix, height * self.side * self.channels
            end = whole.indptr[rows]
            parts = (whole.data[:end], whole.indices[:end], whole.indptr[: rows + 1])
            self._first[height] = type(whole)(parts, shape=(rows, whole.shape[1]), copy=False)
        return self._first[height]


@functools.lru_cache(maxsize=4)
def fractal_noise(side: int, channels: int, octaves: int, persistence: float, wavelength: float) -> FractalNoise:
    """One :class:`FractalNoise` a process and setting: building one takes a tenth of a second and megabytes."""
    return FractalNoise(side, channels, octaves, persistence, wavelength)


def _contributions(points: Floats) -> tuple[Ints, Ints, Floats]:
    """Which lattice points reach which points, and with what weight of their gradient's components.

    Returns
    -------
    K indices into ``points``; K x 3 lattice points; K x 3 weights (2 - |d|^2)^4 d / 103.
    """
    skewed = points - points.sum(axis=1, keepdims=True) / 6.0  # the inverse of p -> q
    lattice = np.floor(skewed).astype(np.int64)[:, None, :] + _CORNERS[None]  # no other can be near enough
    offset = skewed[:, None, :] - lattice
    offset += offset.sum(axis=2, keepdims=True) / 3.0
    reach = REACH - np.square(offset).sum(axis=2)
    rows, corners = np.nonzero(reach > 0.0)
    near = offset[rows, corners]
    return rows, lattice[rows, corners], near * (reach[rows, corners] ** 4 / SCALE)[:, None]


@functools.lru_cache(maxsize=16)
def _permutation(seed: int) -> Ints:
    """OpenSimplex's table: 256 numbers shuffled by a 64-bit linear congruential generator."""

    def advance(state: int) -> int:
        return (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)

    state = seed & (2**64 - 1)
    for _ in range(3):
        state = advance(state)
    source, table = list(range(256)), np.empty(256, np.int64)
    for last in range(255, -1, -1):
        state = advance(state)
        signed = state - 2**64 if state >= 2**63 else state
        place = (signed + 31) % (last + 1)  # Python's modulo: never negative
        table[last] = source[place]
        source[place] = source[last]
    return table
