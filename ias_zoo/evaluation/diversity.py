"""Diversity among samples: IC-LPIPS in both published variants, the same inside the mask; and the background.

Intra-cluster LPIPS (Ojha et al., arXiv 2104.06820, taken over by the field): each sample goes to its nearest shot by
LPIPS; within each cluster the mean LPIPS over all pairs; the mean over the clusters. The published scripts differ in
how many members of a cluster count and in what a cluster with fewer than two is worth, so their numbers are not
comparable:

``zero``
    at most 140 members; a cluster with fewer than two counts as 0 (arXiv 2410.14987).
``skip``
    at most 50 members; such a cluster is left out (arXiv 2408.13509).

Both use LPIPS with VGG at 256 x 256 in print; the network used here is named in the result. The members of a large
cluster are drawn at random (our design where a script does not say how).

IC-LPIPS alone rewards a broken background, which differs from picture to picture. The background figure is its
counterweight: LPIPS between a sample and the nearest normal with the defect blanked in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data.images import resize_image, resize_mask
from ias_zoo.errors import OptionError
from ias_zoo.evaluation.fidelity import Figure, figure

if TYPE_CHECKING:
    from ias_zoo.evaluation.perceptual import Lpips
    from ias_zoo.synthesizer import RGB, Mask

BLANK = 128
"""What covers what is not to be compared, 0..255: mid grey."""

INSIDE = 128
"""The side of a defect that is compared by itself, in pixels, after resizing."""

NEAREST = 3
"""Normals with the nearest background, in plain pixels, that LPIPS is measured to."""


@dataclass(frozen=True)
class Variant:
    """How IC-LPIPS treats large and small clusters."""

    cap: int
    small: str


VARIANTS: dict[str, Variant] = {"zero": Variant(140, "counts as 0"), "skip": Variant(50, "left out")}


def cluster(to_shots: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The nearest shot of each sample, from N x K distances."""
    return np.asarray(to_shots.argmin(axis=1), dtype=np.int64)


def ic_lpips(
    lpips: Lpips,
    samples: Sequence[RGB],
    nearest: np.ndarray[Any, Any],
    shots: int,
    protocol: Mapping[str, Any],
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seed: int = 0,
) -> dict[str, Figure]:
    """IC-LPIPS of samples, by variant.

    Parameters
    ----------
    samples:
        N pictures of one size.
    nearest:
        N numbers of shots, from :func:`cluster`.
    shots:
        How many clusters there are, empty ones included.

    Returns
    -------
    dict
        For each variant a figure with the clusters' sizes, the members that counted, and their means.
    """
    for name in variants:
        if name not in VARIANTS:
            raise OptionError(f"no variant {name!r} of IC-LPIPS; there are: {', '.join(VARIANTS)}")
    if len(nearest) != len(samples) or (len(nearest) and int(nearest.max()) >= shots):
        raise OptionError(f"{len(samples)} samples, {len(nearest)} cluster numbers below {shots} expected")
    most = max(VARIANTS[name].cap for name in variants)
    rng = np.random.default_rng(seed)
    sizes, matrices = [], []
    for number in range(shots):
        members = np.flatnonzero(nearest == number)
        sizes.append(len(members))
        drawn = rng.permutation(members)[:most]  # a smaller cap takes the first of them
        matrices.append(lpips.matrix([samples[i] for i in drawn]))
    return {
        name: _variant(name, sizes, matrices, {**protocol, "seed": seed, "generated": len(samples)})
        for name in variants
    }


def _variant(name: str, sizes: Sequence[int], matrices: Sequence[Any], protocol: Mapping[str, Any]) -> Figure:
    variant = VARIANTS[name]
    means: list[float | None] = []
    for full in matrices:
        matrix = full[: variant.cap, : variant.cap]
        pairs = matrix[np.triu_indices(len(matrix), 1)]
        means.append(float(pairs.mean()) if len(pairs) else None)
    known = [mean for mean in means if mean is not None]
    counted = [mean or 0.0 for mean in means] if name == "zero" else known
    small = len(means) - len(known)
    warning = None
    if not known:
        warning = "no cluster has two members: no diversity can be measured"
    elif small:
        warning = f"{small} of {len(means)} shots have fewer than 2 samples near them"
    return figure(
        float(np.mean(counted)) if known else None,
        {**protocol, "variant": name, **asdict(variant), "clusters": len(means)},
        warning=warning,
        std=float(np.std(counted)) if known else None,
        without_small_clusters=float(np.mean(known)) if known else None,
        cluster_sizes=list(sizes),
        cluster_means=means,
    )


def inside(image: RGB, mask: Mask, *, side: int = INSIDE) -> RGB:
    """The defect by itself: a square around the mask, all else blanked, side x side x 3 uint8 (our design).

    A cut keeps small defects comparable; over the whole picture their distances would vanish in the blank.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.full((side, side, 3), BLANK, np.uint8)
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    square = np.full((max(height, width), max(height, width), 3), BLANK, np.uint8)
    top, left = (len(square) - height) // 2, (len(square) - width) // 2
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    square[top : top + height, left : left + width] = np.where(mask[part][:, :, None], image[part], BLANK)
    return resize_image(square, side, side)


def blanked(image: RGB, mask: Mask) -> RGB:
    """The picture without what is in the mask."""
    return np.where(mask[:, :, None], np.uint8(BLANK), image)


def background_lpips(
    lpips: Lpips, pictures: Sequence[RGB], masks: Sequence[Mask], normals: Sequence[RGB], *, margin: int = 4
) -> np.ndarray[Any, Any]:
    """LPIPS of each picture's background to the nearest normal's; N float64.

    The mask, grown by ``margin`` pixels, is blanked in both pictures, so that a background taken from a normal as it
    is gives exactly 0. Of all normals the ``NEAREST`` by mean squared pixel difference outside the mask are tried.

    Parameters
    ----------
    pictures, masks, normals:
        All of one size.
    """
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    grown = [cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in masks]
    side = min(64, *pictures[0].shape[:2]) if len(pictures) else 64
    small = np.stack([resize_image(normal, side, side) for normal in normals]).astype(np.float32)
    first, second, counts = [], [], []
    for picture, mask in zip(pictures, grown, strict=True):
        outside = ~resize_mask(mask, side, side)
        away = np.square(small - resize_image(picture, side, side)).mean(axis=3)[:, outside].mean(axis=1)
        near = np.argsort(away if outside.any() else np.zeros(len(normals)), kind="stable")[:NEAREST]
        first += [blanked(picture, mask)] * len(near)
        second += [blanked(normals[i], mask) for i in near]
        counts.append(len(near))
    found = lpips.distance(first, second)
    return np.array([part.min() for part in np.split(found, np.cumsum(counts)[:-1])]) if counts else found
