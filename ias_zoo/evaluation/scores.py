"""Scores of a detector on real pictures: how well its maps find the defects' pixels, and the defective pictures.

Score maps are kept as float16, whose 65,536 values are in order when read as integers: a histogram of them holds
everything that the scores need, whatever the number of pixels. Given the float16 values the scores are exact. Logits
fit best; probabilities very close to 1 fall together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.synthesizer import Mask

    Map = npt.NDArray[np.floating[Any]]
    Counts = npt.NDArray[np.float64]

LEVELS = 1 << 16
PRO_LIMIT = 0.3
CURVE_POINTS = 101


class PixelScores:
    """Pixel scores, picture by picture; all pixels of all pictures are pooled.

    ``auroc`` and ``ap`` (average precision) are scikit-learn's. ``f1_max`` is the best F1 over all thresholds,
    ``threshold`` the highest one that reaches it, and ``iou`` the intersection over union of all pixels there.
    ``pro`` is the per-region overlap of Bergmann et al. (*The MVTec Anomaly Detection Dataset*, IJCV 2021): the mean
    over the masks' 8-connected regions of the share of the region that is found, integrated over the false positive
    rate from 0 to 0.3 and divided by 0.3, straight lines between the thresholds.
    """

    def __init__(self) -> None:
        self._parts: dict[str | None, _Histogram] = {}

    def add(self, score: Map, mask: Mask, defect: str | None) -> None:
        """Add one picture.

        Parameters
        ----------
        score:
            H x W, higher is more defective, within ±65,504.
        mask:
            H x W bool: the defect's pixels; empty for a normal.
        defect:
            The defect type; None for a normal.

        Raises
        ------
        DataError
            If the shapes differ or a score is not a number of that range.
        """
        if score.shape != mask.shape:
            raise DataError(f"a score map of {score.shape} for a mask of {mask.shape}")
        self._parts.setdefault(defect, _Histogram()).add(_levels(score), mask)

    def scores(self) -> dict[str, float | None]:
        """All pictures together; None where a score is not defined (no defective pixel, or no other)."""
        return _scores(_Histogram.total(self._parts.values()))

    def by_defect(self) -> dict[str, dict[str, float | None]]:
        """The same for each defect type against the normals: the pictures of the other types are left out."""
        good = self._parts.get(None, _Histogram())
        kinds = sorted(kind for kind in self._parts if kind is not None)
        return {kind: _scores(_Histogram.total([good, self._parts[kind]])) for kind in kinds}

    def curve(self, points: int = CURVE_POINTS) -> dict[str, list[float]]:
        """The precision-recall curve for plotting: at evenly spaced recalls, the best precision at or beyond each."""
        total = _Histogram.total(self._parts.values())
        if not total.positives.any():
            return {"recall": [], "precision": [], "threshold": []}
        precision, recall, thresholds = _precision_recall(total)
        best = np.maximum.accumulate(precision)  # from the lowest threshold, the highest recall, on
        # recall falls along the arrays: the last place where it is still at least the wanted one
        wanted = np.linspace(0, 1, points)
        places = np.clip(np.searchsorted(-recall, -wanted, side="right") - 1, 0, len(thresholds) - 1)
        return {
            "recall": [float(value) for value in wanted],
            "precision": [float(best[place]) for place in places],
            "threshold": [float(thresholds[place]) for place in places],
        }


def image_scores(scores: Sequence[float], defective: Sequence[bool]) -> dict[str, float | None]:
    """Area under the ROC curve, average precision and best F1 of one score a picture; None with one kind only."""
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    truth = np.asarray(defective, dtype=bool)
    if truth.all() or not truth.any():
        return {"auroc": None, "ap": None, "f1_max": None}
    precision, recall, _ = precision_recall_curve(truth, scores)
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "ap": float(average_precision_score(truth, scores)),
        "f1_max": float(_f1(precision, recall).max()),
    }


class _Histogram:
    """Defective and other pixels a level; ``regions`` counts each region's pixels as one over the region's area."""

    def __init__(self) -> None:
        self.positives: Counts = np.zeros(LEVELS)
        self.negatives: Counts = np.zeros(LEVELS)
        self.regions: Counts = np.zeros(LEVELS)
        self.number = 0

    def add(self, levels: npt.NDArray[np.intp], mask: Mask) -> None:
        self.negatives += np.bincount(levels[~mask], minlength=LEVELS)
        if not mask.any():
            return
        from scipy import ndimage

        found = levels[mask]
        self.positives += np.bincount(found, minlength=LEVELS)
        regions, number = ndimage.label(mask, structure=np.ones((3, 3)))
        area = np.bincount(regions.ravel())
        self.regions += np.bincount(found, weights=1.0 / area[regions[mask]], minlength=LEVELS)
        self.number += int(number)

    @staticmethod
    def total(parts: Any) -> _Histogram:
        result = _Histogram()
        for part in parts:
            result.positives += part.positives
            result.negatives += part.negatives
            result.regions += part.regions
            result.number += part.number
        return result


def _levels(score: Map) -> npt.NDArray[np.intp]:
    """Float16 values as integers 0 to 65,535 of the same order."""
    if not np.isfinite(score).all() or float(np.abs(score).max(initial=0)) > 65504:
        raise DataError("a score map holds values that are no numbers, or beyond 65,504 in size; scale it first")
    half = np.asarray(score, dtype=np.float16) + np.float16(0)  # -0 becomes 0
    bits = half.view(np.uint16).astype(np.intp)
    return np.where(bits & 0x8000, 0xFFFF - bits, bits + 0x8000)


def _value(level: int) -> float:
    bits = level - 0x8000 if level >= 0x8000 else 0xFFFF - level
    return float(np.array(bits, dtype=np.uint16).view(np.float16))


def _scores(total: _Histogram) -> dict[str, float | None]:
    if not total.positives.any() or not total.negatives.any():
        return dict.fromkeys(("auroc", "ap", "f1_max", "threshold", "iou", "pro"))
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, level, weight = _as_samples(total)
    precision, recall, thresholds = _precision_recall(total)
    f1 = _f1(precision, recall)
    best = len(f1) - 1 - int(np.argmax(f1[::-1]))
    return {
        "auroc": float(roc_auc_score(truth, level, sample_weight=weight)),
        "ap": float(average_precision_score(truth, level, sample_weight=weight)),
        "f1_max": float(f1[best]),
        "threshold": float(thresholds[best]),
        "iou": float(f1[best] / (2 - f1[best])),  # TP / (TP + FP + FN), from 2 TP / (2 TP + FP + FN)
        "pro": _pro(total),
    }


def _as_samples(total: _Histogram) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp], Counts]:
    """What scikit-learn takes: one weighted sample a level and kind."""
    positive, negative = np.flatnonzero(total.positives), np.flatnonzero(total.negatives)
    truth = np.repeat([True, False], [positive.size, negative.size])
    weight = np.concatenate([total.positives[positive], total.negatives[negative]])
    return truth, np.concatenate([positive, negative]), weight


def _precision_recall(total: _Histogram) -> tuple[Counts, Counts, Counts]:
    """Precision, recall and threshold (a score), from the lowest threshold to the highest."""
    from sklearn.metrics import precision_recall_curve

    truth, level, weight = _as_samples(total)
    precision, recall, thresholds = precision_recall_curve(truth, level, sample_weight=weight)
    return precision[:-1], recall[:-1], np.array([_value(int(each)) for each in thresholds])


def _f1(precision: Any, recall: Any) -> Counts:
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12), dtype=np.float64)


def _pro(total: _Histogram) -> float:
    from sklearn.metrics import auc

    rate = np.concatenate([[0.0], np.cumsum(total.negatives[::-1]) / total.negatives.sum()])
    overlap = np.concatenate([[0.0], np.cumsum(total.regions[::-1]) / total.number])
    end = int(np.searchsorted(rate, PRO_LIMIT, side="right"))  # first point beyond the limit; the last point is 1
    at_limit = np.interp(PRO_LIMIT, rate[end - 1 : end + 1], overlap[end - 1 : end + 1])
    return float(auc([*rate[:end], PRO_LIMIT], [*overlap[:end], at_limit]) / PRO_LIMIT)
