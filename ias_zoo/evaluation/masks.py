"""Masks: their sizes, and how well they cover what changed.

Where a sample was made on a normal that is still at hand, what changed is the difference of the two. Otherwise, and for
real shots, a nearest-neighbour detector that has seen normals only says what is abnormal (the idea of PatchCore, Roth
et al., arXiv 2106.08265, without its coreset): its agreement with the masks of real shots is what good masks can reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.evaluation.extractors import BATCH, needs, to_batch
from ias_zoo.evaluation.fidelity import Figure, figure
from ias_zoo.generation.gate import CHANGED_LEVELS

if TYPE_CHECKING:
    import torch

    from ias_zoo.evaluation.extractors import Extractor
    from ias_zoo.synthesizer import RGB, Mask

Fit = dict[str, float | None]
"""What :func:`difference_fit` finds, by name; None for what cannot be said of a sample."""

SAME_LEVELS = 12
"""A sample counts as made on its normal when half of the pixels outside the mask differ by at most so many levels."""

FULL = 0.95
"""A mask over more of the picture than this marks no place."""

MEMORY = 4096
"""Feature vectors of normals that the detector keeps, drawn at random."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def mask_statistics(areas: Sequence[float], protocol: Mapping[str, Any]) -> dict[str, Figure]:
    """Shares of empty and of full masks, and quantiles of the marked area.

    Parameters
    ----------
    areas:
        The share of its picture that each mask marks, 0..1, at the mask's own size.
    """
    protocol = {**protocol, "masks": len(areas)}
    if not len(areas):
        return {name: figure(None, protocol, warning="no masks") for name in ("mask_empty", "mask_full", "mask_area")}
    found = np.asarray(areas, dtype=np.float64)
    quantiles = {f"{share:g}": float(np.quantile(found, share)) for share in QUANTILES}
    return {
        "mask_empty": figure(float((found == 0).mean()), protocol),
        "mask_full": figure(float((found > FULL).mean()), {**protocol, "full_above": FULL}),
        "mask_area": figure(
            quantiles["0.5"], {**protocol, "what": "median marked share of the picture"}, quantiles=quantiles
        ),
    }


def auroc(scores: np.ndarray[Any, Any], mask: Mask) -> float | None:
    """Chance that a marked pixel scores higher than an unmarked one, ties half; None where only one kind is there."""
    if mask.all() or not mask.any():
        return None
    metrics = needs("sklearn.metrics", "scikit-learn")
    return float(metrics.roc_auc_score(mask.ravel(), np.asarray(scores, dtype=np.float64).ravel()))


def levels_auroc(levels: np.ndarray[Any, np.dtype[np.uint8]], mask: Mask) -> float | None:
    """:func:`auroc` for scores of 0..255, exact and without sorting."""
    inside = np.bincount(levels[mask], minlength=256).astype(np.float64)
    outside = np.bincount(levels[~mask], minlength=256).astype(np.float64)
    if not inside.sum() or not outside.sum():
        return None
    below = np.cumsum(outside) - outside
    return float((inside * (below + outside / 2)).sum() / (inside.sum() * outside.sum()))


def difference(image: RGB, normal: RGB) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The largest difference over the channels, H x W uint8."""
    return np.asarray((np.maximum(image, normal) - np.minimum(image, normal)).max(axis=2), dtype=np.uint8)


def difference_fit(image: RGB, normal: RGB | None, mask: Mask) -> Fit | None:
    """How a mask fits what changed between a normal and the sample made on it.

    Returns
    -------
    dict or None
        ``auroc`` of the mask by the difference; ``explained``: the share of changed pixels (more than
        ``CHANGED_LEVELS``) that the mask covers, None where none changed; ``covered``: the share of the mask's pixels
        that changed. None instead of all where the mask is empty or full, or the sample was not made on this normal:
        another size, or another picture outside the mask.
    """
    if normal is None or normal.shape != image.shape or mask.all() or not mask.any():
        return None
    levels = difference(image, normal)
    if np.median(levels[~mask]) > SAME_LEVELS:
        return None
    changed = levels > CHANGED_LEVELS
    every, inside = int(np.count_nonzero(changed)), int(np.count_nonzero(changed & mask))
    return {
        "auroc": levels_auroc(levels, mask),
        "explained": inside / every if every else None,
        "covered": inside / int(np.count_nonzero(mask)),
    }


def difference_figures(fits: Sequence[Fit | None], protocol: Mapping[str, Any]) -> dict[str, Figure]:
    """The means of :func:`difference_fit` over the samples of which it is known; a warning says how many are not."""
    made = [fit for fit in fits if fit is not None]
    said = []
    if len(made) < len(fits) or not fits:
        said.append(
            f"{len(fits) - len(made)} of {len(fits)} samples are not counted: they resemble no normal at hand outside "
            "their mask, or their mask is empty or full"
        )
    found = {}
    names = {"mask_fit_auroc": "auroc", "mask_explains_change": "explained", "mask_is_changed": "covered"}
    for name, key in names.items():
        known = [value for fit in made if (value := fit[key]) is not None]
        unknown = len(made) - len(known)
        more = [f"in {unknown} of {len(fits)} samples nothing changed: there is nothing to explain"] if unknown else []
        found[name] = figure(
            float(np.mean(known)) if known else None,
            {
                **protocol,
                "what": "the difference to the normal it was made on, at the sample's own size",
                "changed_above_levels": CHANGED_LEVELS,
                "samples": len(known),
                "of": len(fits),
            },
            warning="; ".join(said + more) or None,
            worst=min(known, default=None),
        )
    return found


class NormalMemory:
    """A detector made of normals alone: how far each place's features are from the nearest normal ones.

    Parameters
    ----------
    extractor:
        Gives the feature maps; the two finest with at most one place in 8 x 8 pixels are used.
    normals:
        Pictures of one size.
    """

    def __init__(self, extractor: Extractor, normals: Sequence[RGB], *, seed: int = 0) -> None:
        import torch

        self.extractor = extractor
        # Levels count alike, whatever their channels; the scale is the normals', whatever is scored with it.
        self._scales = [float(level.square().sum(1).mean().sqrt()) + 1e-12 for level in self._levels(normals[:BATCH])]
        vectors, owners = [], []
        for start in range(0, len(normals), BATCH):
            found = self._vectors(normals[start : start + BATCH])  # B x P x C
            vectors.append(found.flatten(0, 1))
            owners.append(torch.arange(start, start + len(found)).repeat_interleave(found.shape[1]))
        every, whose = torch.cat(vectors), torch.cat(owners)
        kept = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(len(every))[:MEMORY]))
        memory, self._owners = every[kept.to(every.device)], whose[kept]
        self._centre = memory.mean(0)  # distances come from a matrix product: small numbers keep their digits
        self._memory = memory - self._centre
        self.normals = len(normals)

    def score(self, pictures: Sequence[RGB], own: Sequence[int | None]) -> list[np.ndarray[Any, Any]]:
        """Anomaly maps of pictures of the normals' size, each H x W float32.

        Parameters
        ----------
        own:
            The number of the normal that each picture was made on, which is then left out: a sample must not be
            recognised by its own background. None where there is none among the normals.
        """
        import torch
        from torch.nn import functional

        found = []
        for start in range(0, len(pictures), BATCH):
            part = pictures[start : start + BATCH]
            for vectors, number in zip(self._vectors(part), own[start : start + BATCH], strict=True):
                away = torch.cdist(vectors - self._centre, self._memory)
                if number is not None and self.normals > 1:
                    away[:, (self._owners == number).to(away.device)] = float("inf")
                nearest = away.min(dim=1).values
                side = round(len(nearest) ** 0.5)
                grown = functional.interpolate(
                    nearest.view(1, 1, side, side), size=part[0].shape[:2], mode="bilinear", align_corners=False
                )
                found.append(grown[0, 0].cpu().numpy())
        return found

    def _vectors(self, pictures: Sequence[RGB]) -> torch.Tensor:
        """One vector a place, B x P x C."""
        import torch

        levels = [level / scale for level, scale in zip(self._levels(pictures), self._scales, strict=True)]
        return torch.cat(levels, dim=1).flatten(2).transpose(1, 2).float()

    def _levels(self, pictures: Sequence[RGB]) -> list[torch.Tensor]:
        """The feature maps, each averaged over 3 x 3 neighbours and brought to the size of the finest."""
        from torch.nn import functional

        side = pictures[0].shape[0]
        by_size = {found.shape[-1]: found for found in self.extractor.maps(to_batch(pictures))}  # the last of a size
        sizes = sorted((size for size in by_size if size <= side // 8), reverse=True)[:2] or [min(by_size)]
        levels = []
        for size in sizes:
            smooth = functional.avg_pool2d(by_size[size], 3, stride=1, padding=1, count_include_pad=False)
            levels.append(
                functional.interpolate(smooth, size=(sizes[0], sizes[0]), mode="bilinear", align_corners=False)
            )
        return levels


def detector_fit(
    memory: NormalMemory, pictures: Sequence[RGB], masks: Sequence[Mask], own: Sequence[int | None]
) -> list[float]:
    """Pixel AUROC of each picture's mask by its anomaly map; pictures with an empty or full mask are left out."""
    maps = memory.score(pictures, own)
    found = [auroc(score, mask) for score, mask in zip(maps, masks, strict=True)]
    return [value for value in found if value is not None]
