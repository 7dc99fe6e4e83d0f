"""Inception Score, FID, KID, precision and recall: torch-fidelity's formulas on the features of any extractor.

Each figure is a dict: ``value`` (None where it cannot be had), what belongs to it, ``protocol`` (all that decides the
number) and ``warning`` (a line where the number means little, else None). Values are comparable only between equal
protocols; with another extractor than ``inception-v3``, never with published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ias_zoo.errors import OptionError
from ias_zoo.evaluation.extractors import needs

if TYPE_CHECKING:
    import torch

Figure = dict[str, Any]

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
"""Binkowski et al., arXiv 1801.01401, as few-shot papers use it: a subset has at most as many pictures as there are."""

KID_LEAST = 10
"""Below so many pictures on a side, KID's spread between draws is as large as its differences between methods."""

NEIGHBOURS = 3
"""Kynkaanniemi et al., arXiv 1904.06991."""

SPLITS, SPLIT_SIZE = 10, 100
"""Inception Score: ten splits as published, fewer where a split would have under a hundred pictures (our design)."""


def figure(value: float | None, protocol: Mapping[str, Any], *, warning: str | None = None, **more: Any) -> Figure:
    """One figure; a value that is no finite number becomes None."""
    import math

    known = value is not None and math.isfinite(value)
    return {"value": float(value) if known and value is not None else None, **more} | {
        "protocol": dict(protocol),
        "warning": warning,
    }


def fid(generated: torch.Tensor, real: torch.Tensor, protocol: Mapping[str, Any]) -> Figure:
    """Frechet Inception Distance (Heusel et al., arXiv 1706.08500) of N x D and M x D features.

    Both sets are first turned into a basis of the space that they span: the distance stays the same, and D x D
    matrices shrink to N + M.
    """
    metric = needs("torch_fidelity.metric_fid", "torch-fidelity")
    _same_width(generated, real)
    protocol = {**protocol, "formula": "torch-fidelity fid", "generated": len(generated), "real": len(real)}
    least, width = min(len(generated), len(real)), generated.shape[1]
    if least < 2:
        return figure(None, protocol, warning=f"{least} pictures on one side: no covariance")
    first, second = _span(generated.double(), real.double())
    statistics = [metric.fid_features_to_statistics(part) for part in (first, second)]
    value = metric.fid_statistics_to_metric(*statistics, False)[metric.KEY_METRIC_FID]
    warning = None
    if least <= width:
        warning = (
            f"{least} pictures on one side, {width} features: FID is biased upwards by an amount that depends on the "
            "number of pictures and means nothing by itself; read KID"
        )
    return figure(value, protocol, warning=warning)


def kid(
    generated: torch.Tensor,
    real: torch.Tensor,
    protocol: Mapping[str, Any],
    *,
    seed: int = 0,
    subsets: int = KID_SUBSETS,
    subset_size: int = KID_SUBSET_SIZE,
) -> Figure:
    """Kernel Inception Distance: unbiased squared MMD, cubic kernel, mean and spread over random subsets.

    A subset has at most as many pictures as either side, as in few-shot papers (arXiv 2303.02389). The unbiased
    estimate can be slightly below 0.
    """
    metric = needs("torch_fidelity.metric_kid", "torch-fidelity")
    _same_width(generated, real)
    least = min(len(generated), len(real))
    size = min(subset_size, least)
    protocol = {**protocol, "formula": "torch-fidelity kid", "generated": len(generated), "real": len(real)}
    protocol |= {"subsets": subsets, "subset_size": size, "degree": 3, "gamma": "1/D", "coef0": 1, "seed": seed}
    if least < 2:
        return figure(None, protocol, warning=f"{least} pictures on one side: no estimate", std=None)
    found = metric.kid_features_to_metric(
        generated.double(),
        real.double(),
        kid_subsets=subsets,
        kid_subset_size=size,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=seed,
        verbose=False,
    )
    warning = f"only {least} pictures on one side: differences within the spread mean nothing"
    return figure(
        found[metric.KEY_METRIC_KID_MEAN],
        protocol,
        warning=warning if least < KID_LEAST else None,
        std=found[metric.KEY_METRIC_KID_STD],
    )


def inception_score(logits: torch.Tensor | None, protocol: Mapping[str, Any], *, seed: int = 0) -> Figure:
    """Inception Score (Salimans et al., arXiv 1606.03498) of N x K class scores before the softmax.

    It needs no real picture, and rewards odd-looking ones: not a figure to choose a method by.
    """
    metric = needs("torch_fidelity.metric_isc", "torch-fidelity")
    if logits is None:
        return figure(None, protocol, warning="this extractor has no classes: no Inception Score", std=None)
    splits = max(1, min(SPLITS, len(logits) // SPLIT_SIZE))
    protocol = {**protocol, "formula": "torch-fidelity isc", "generated": len(logits), "splits": splits, "seed": seed}
    if len(logits) < 2:
        return figure(None, protocol, warning=f"{len(logits)} pictures: no score", std=None)
    found = metric.isc_features_to_metric(logits, splits=splits, shuffle=True, rng_seed=seed)
    small = len(logits) < SPLIT_SIZE
    return figure(
        found[metric.KEY_METRIC_ISC_MEAN],
        protocol,
        warning=f"only {len(logits)} pictures: the score cannot exceed that number and is biased low"
        if small
        else None,
        std=found[metric.KEY_METRIC_ISC_STD],
    )


def precision_recall(
    generated: torch.Tensor, real: torch.Tensor, protocol: Mapping[str, Any], *, neighbours: int = NEIGHBOURS
) -> dict[str, Figure]:
    """Improved precision and recall: the share of samples within the real pictures' neighbourhoods, and the reverse."""
    metric = needs("torch_fidelity.metric_prc", "torch-fidelity")
    _same_width(generated, real)
    least = min(len(generated), len(real))
    protocol = {**protocol, "formula": "torch-fidelity prc", "generated": len(generated), "real": len(real)}
    protocol |= {"neighbours": neighbours}
    if least <= neighbours:
        warning = f"{least} pictures on one side: fewer than {neighbours} neighbours"
        return {name: figure(None, protocol, warning=warning) for name in ("precision", "recall")}
    found = metric.prc_features_to_metric(
        generated, real, prc_neighborhood=neighbours, prc_batch_size=10000, save_cpu_ram=False, verbose=False
    )
    small = f"only {least} pictures on one side: neighbourhoods are wide" if least < 10 * neighbours else None
    return {
        "precision": figure(found[metric.KEY_METRIC_PRECISION], protocol, warning=small),
        "recall": figure(found[metric.KEY_METRIC_RECALL], protocol, warning=small),
    }


def _span(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in an orthonormal basis of their joint span, where that is smaller than the features."""
    import torch

    both = torch.cat([first, second])
    if both.shape[0] >= both.shape[1]:
        return first, second
    basis = torch.linalg.qr(both.T).Q  # D x (N + M)
    return first @ basis, second @ basis


def _same_width(generated: torch.Tensor, real: torch.Tensor) -> None:
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise OptionError(f"features of shapes {tuple(generated.shape)} and {tuple(real.shape)}: expected N x D, M x D")
