"""Pixel and image scores against brute force, on small arrays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ias_zoo.errors import DataError
from ias_zoo.evaluation.scores import PixelScores, image_scores


def brute_curve(scores, masks):
    """Every threshold in turn: threshold, TP, FP, FN, TN, mean overlap of the regions."""
    pixels = np.concatenate([score.ravel() for score in scores])
    truth = np.concatenate([mask.ravel() for mask in masks])
    rows = []
    for threshold in sorted(set(pixels.tolist()), reverse=True):
        found = pixels >= threshold
        overlaps = []
        for score, mask in zip(scores, masks, strict=True):
            count, regions = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            overlaps += [float(np.mean(score[regions == number] >= threshold)) for number in range(1, count)]
        tp, fp = int((found & truth).sum()), int((found & ~truth).sum())
        rows.append((threshold, tp, fp, int(truth.sum()) - tp, int((~truth).sum()) - fp, float(np.mean(overlaps))))
    return rows


@pytest.fixture
def maps():
    rng = np.random.default_rng(5)
    masks = [np.zeros((24, 30), bool) for _ in range(4)]
    masks[0][3:9, 4:7] = True
    masks[0][9, 7] = True  # touches by a corner: one region with 8 neighbours
    masks[1][12:14, 2:20] = True
    masks[1][20, 20] = True
    masks[2][5:20, 5:25] = True
    noise = [rng.normal(0, 1, mask.shape) for mask in masks]
    # few distinct values: ties within and between the kinds
    scores = [np.round((each + 1.2 * mask) * 4).astype(np.float32) / 4 for each, mask in zip(noise, masks, strict=True)]
    return scores, masks, ["crack", "crack", "dent", None]


def pooled(maps):
    pixels = PixelScores()
    for score, mask, defect in zip(*maps, strict=True):
        pixels.add(score, mask, defect)
    return pixels


def test_scores_equal_brute_force(maps):
    scores, masks, _ = maps
    rows = brute_curve(scores, masks)
    found = pooled(maps).scores()
    assert set(found) == {"auroc", "ap", "f1_max", "threshold", "iou", "pro"}
    pixels, truth = np.concatenate([s.ravel() for s in scores]), np.concatenate([m.ravel() for m in masks])
    pairs = np.sign(pixels[truth][:, None] - pixels[~truth][None])
    assert found["auroc"] == pytest.approx((pairs + 1).mean() / 2)
    before, ap = 0.0, 0.0
    for _, tp, fp, fn, _, _ in rows:
        ap += (tp / (tp + fn) - before) * tp / (tp + fp)
        before = tp / (tp + fn)
    assert found["ap"] == pytest.approx(ap)
    f1 = [2 * tp / (2 * tp + fp + fn) for _, tp, fp, fn, _, _ in rows]
    best = int(np.argmax(f1))
    threshold, tp, fp, fn, _, _ = rows[best]
    assert found["f1_max"] == pytest.approx(f1[best])
    assert found["threshold"] == threshold
    assert found["iou"] == pytest.approx(tp / (tp + fp + fn))
    # PRO: the curve as straight lines between its points, summed on a fine grid
    rate = [0.0, *(fp / (fp + tn) for _, _, fp, _, tn, _ in rows)]
    overlap = [0.0, *(row[5] for row in rows)]
    grid = np.linspace(0, 0.3, 300_001)
    assert found["pro"] == pytest.approx(float(np.mean(np.interp(grid, rate, overlap))), abs=1e-4)


def test_each_defect_is_scored_against_the_normals_alone(maps):
    scores, masks, _ = maps
    alone = PixelScores()
    alone.add(scores[2], masks[2], "dent")
    alone.add(scores[3], masks[3], None)
    assert pooled(maps).by_defect()["dent"] == alone.scores()
    assert sorted(pooled(maps).by_defect()) == ["crack", "dent"]


def test_the_curve_holds_the_best_precision_at_each_recall(maps):
    scores, masks, _ = maps
    curve = pooled(maps).curve(11)
    rows = [(tp / (tp + fn), tp / (tp + fp)) for _, tp, fp, fn, _, _ in brute_curve(scores, masks)]
    assert curve["recall"] == pytest.approx(np.linspace(0, 1, 11))
    for wanted, precision in zip(curve["recall"], curve["precision"], strict=True):
        assert precision == pytest.approx(max(p for recall, p in rows if recall >= wanted - 1e-12))
    assert all(later <= earlier for earlier, later in zip(curve["precision"], curve["precision"][1:], strict=False))


def test_rounding_to_half_precision_moves_scores_by_little():
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    mask = np.zeros((512, 512), bool)
    mask[100:180, 200:260] = True
    score = (rng.normal(0, 3, mask.shape) + 5 * mask - 6).astype(np.float32)
    pixels = PixelScores()
    pixels.add(score, mask, "spot")
    found = pixels.scores()
    assert found["ap"] == pytest.approx(average_precision_score(mask.ravel(), score.ravel()), abs=1e-4)
    assert found["auroc"] == pytest.approx(roc_auc_score(mask.ravel(), score.ravel()), abs=1e-5)
    assert found["pro"] is not None


def test_order_is_kept_over_signs_and_sizes():
    values = np.array([[-6e4, -1.0, -6e-8, 0.0, -0.0, 6e-8, 1e-3, 0.5, 1.0, 6e4]], np.float32)
    mask = values > 0.4
    pixels = PixelScores()
    pixels.add(values, mask, "spot")
    assert (pixels.scores()["auroc"], pixels.scores()["threshold"], pixels.scores()["iou"]) == (1.0, 0.5, 1.0)
    mirrored = PixelScores()
    mirrored.add(-values, mask, "spot")
    assert mirrored.scores()["auroc"] == 0.0


def test_what_is_not_defined_is_none_and_what_is_wrong_is_refused():
    pixels = PixelScores()
    pixels.add(np.zeros((4, 4)), np.zeros((4, 4), bool), None)
    assert set(pixels.scores().values()) == {None}
    assert pixels.curve() == {"recall": [], "precision": [], "threshold": []}
    with pytest.raises(DataError, match="no numbers"):
        pixels.add(np.full((4, 4), np.nan), np.zeros((4, 4), bool), None)
    with pytest.raises(DataError, match="beyond 65,504"):
        pixels.add(np.full((4, 4), 1e6), np.zeros((4, 4), bool), None)
    with pytest.raises(DataError, match=r"\(4, 4\) for a mask of \(4, 5\)"):
        pixels.add(np.zeros((4, 4)), np.zeros((4, 5), bool), None)


def test_image_scores():
    # by hand: of 2 x 2 pairs 3 are in order; precision 1 at recall 1/2, 2/3 at recall 1
    assert image_scores([0.9, 0.4, 0.6, 0.1], [True, True, False, False]) == {
        "auroc": 0.75,
        "ap": pytest.approx(0.5 * 1 + 0.5 * 2 / 3),
        "f1_max": pytest.approx(0.8),
    }
    assert image_scores([0.9, 0.4], [True, True]) == {"auroc": None, "ap": None, "f1_max": None}
