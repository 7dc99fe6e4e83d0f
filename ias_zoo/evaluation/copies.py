"""Copies: samples that repeat a training shot, and samples that repeat one another. Neither is diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.evaluation.fidelity import Figure, figure

if TYPE_CHECKING:
    from ias_zoo.evaluation.perceptual import Lpips
    from ias_zoo.synthesizer import RGB, Mask

COPY_RATIO = 0.5
"""A sample is a copy when it is nearer to a shot than this share of the median distance between nearest shots."""

COPY_DISTANCE = 0.05
"""The same threshold where there is only one shot, in LPIPS."""

DUPLICATE_DISTANCE, DUPLICATE_OVERLAP = 0.05, 0.5
"""Two samples are near-duplicates below this LPIPS (whole and inside the mask) and above this overlap of masks."""

TURNS = ("as it is", "turned 90", "turned 180", "turned 270")
SHOWN = 20


def orientations(picture: RGB) -> list[RGB]:
    """A square picture in its eight orientations: four turns, then the same mirrored."""
    turned = [np.ascontiguousarray(np.rot90(picture, number)) for number in range(4)]
    return turned + [np.ascontiguousarray(one[:, ::-1]) for one in turned]


def orientation_name(number: int) -> str:
    """What :func:`orientations` did, in words."""
    return TURNS[number % 4] + (", mirrored" if number >= 4 else "")


def memorisation(
    lpips: Lpips,
    samples: Sequence[RGB],
    shots: Sequence[RGB],
    protocol: Mapping[str, Any],
    *,
    names: Sequence[str] = (),
    ratio: float = COPY_RATIO,
) -> Figure:
    """The share of samples that are a shot over again, turned or mirrored ones included.

    What "near" means is learned from the shots: how far each is from the nearest other one. Two real defects are that
    far apart, so a sample much nearer to a shot was not made, but remembered.

    Parameters
    ----------
    samples, shots:
        Square pictures of one size.
    names:
        The samples' names, for the list of copies.

    Returns
    -------
    Figure
        With ``threshold``; ``relative_distance``: the samples' median distance to the nearest shot over that between
        shots; ``copies``: the nearest ones first.
    """
    protocol = {**protocol, "samples": len(samples), "shots": len(shots), "orientations": 8, "ratio": ratio}
    if not len(samples) or not len(shots):
        return figure(None, protocol, warning="no shots to compare with" if len(samples) else "no samples")
    turned = [one for shot in shots for one in orientations(shot)]
    away = lpips.matrix(turned, samples).T.reshape(len(samples), len(shots), 8)
    nearest, flat = away.min(axis=(1, 2)), away.reshape(len(samples), -1).argmin(axis=1)
    scale = _between(lpips, shots, turned)
    threshold = COPY_DISTANCE if scale is None else ratio * scale
    warning = None
    if scale is None:
        warning = f"one shot: nothing tells how far two real defects are apart; a fixed threshold of {COPY_DISTANCE}"
    order = [int(i) for i in np.argsort(nearest, kind="stable") if nearest[i] < threshold]
    return figure(
        len(order) / len(samples),
        protocol,
        warning=warning,
        threshold=threshold,
        between_shots=scale,
        nearest_median=float(np.median(nearest)),
        relative_distance=float(np.median(nearest) / scale) if scale else None,
        copies=[
            {
                "sample": names[i] if i < len(names) else i,
                "shot": int(flat[i] // 8),
                "how": orientation_name(int(flat[i] % 8)),
                "distance": float(nearest[i]),
            }
            for i in order[:SHOWN]
        ],
    )


def _between(lpips: Lpips, shots: Sequence[RGB], turned: Sequence[RGB]) -> float | None:
    """Median distance of a shot to the nearest other one, in any orientation; None for a single shot, or equal ones."""
    if len(shots) < 2:
        return None
    away = lpips.matrix(turned, shots).T.reshape(len(shots), len(shots), 8).min(axis=2)
    np.fill_diagonal(away, np.inf)
    return float(np.median(away.min(axis=1))) or None


def near_duplicates(
    lpips: Lpips,
    samples: Sequence[RGB],
    insides: Sequence[RGB],
    masks: Sequence[Mask],
    protocol: Mapping[str, Any],
    *,
    names: Sequence[str] = (),
    distance: float = DUPLICATE_DISTANCE,
    overlap: float = DUPLICATE_OVERLAP,
) -> Figure:
    """The share of samples that could go without loss: all but one of each group of near-duplicates.

    Two samples are near-duplicates when their masks overlap (intersection over union at least ``overlap``) and both
    the pictures and the defects by themselves are within ``distance`` in LPIPS: two defects at one place of one normal
    are no duplicates, nor is one defect at two places (our design).
    """
    protocol = {**protocol, "samples": len(samples), "lpips_below": distance, "mask_iou_from": overlap}
    if len(samples) < 2:
        return figure(None, protocol, warning="fewer than two samples", pairs=[])
    flat = np.stack([mask.ravel() for mask in masks]).astype(np.float32)
    shared = flat @ flat.T
    areas = flat.sum(axis=1)
    union = areas[:, None] + areas[None] - shared
    near = (shared >= overlap * union) & (union > 0) & (lpips.matrix(samples) < distance)
    first, second = (part.tolist() for part in np.nonzero(np.triu(near, 1)))
    kept = lpips.distance([insides[i] for i in first], [insides[i] for i in second]) < distance
    pairs = [(a, b) for a, b, same in zip(first, second, kept, strict=True) if same]
    return figure(
        1 - _groups(len(samples), pairs) / len(samples),
        protocol,
        number_of_pairs=len(pairs),
        pairs=[[names[i] if i < len(names) else i for i in pair] for pair in pairs[:SHOWN]],
    )


def _groups(count: int, pairs: Sequence[tuple[int, int]]) -> int:
    """How many groups there are when pairs belong together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = [a for a, _ in pairs], [b for _, b in pairs]
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    return int(connected_components(graph, directed=False)[0])
