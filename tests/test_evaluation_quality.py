"""Figures against their libraries, closed formulas and hand-computed values."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ias_zoo.errors import OptionError
from ias_zoo.evaluation import diversity
from ias_zoo.evaluation.copies import memorisation, near_duplicates, orientations
from ias_zoo.evaluation.diversity import background_lpips, blanked, cluster, ic_lpips, inside
from ias_zoo.evaluation.fidelity import fid, inception_score, kid, precision_recall
from ias_zoo.evaluation.masks import (
    NormalMemory,
    auroc,
    detector_fit,
    difference_figures,
    difference_fit,
    levels_auroc,
    mask_statistics,
)

torch.set_num_threads(1)


class Squares:
    """A distance that can be computed by hand: the mean squared difference of grey levels, 0..1."""

    name, weights = "squares", "none"

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def matrix(self, rows: list[Any], columns: list[Any] | None = None) -> np.ndarray:
        self.asked.append([int(row[0, 0, 0]) for row in rows])
        a = np.array([row.ravel() / 255 for row in rows])
        b = a if columns is None else np.array([column.ravel() / 255 for column in columns])
        return np.array([[np.square(u - v).mean() for v in b] for u in a]).reshape(len(a), len(b))

    def distance(self, first: list[Any], second: list[Any]) -> np.ndarray:
        return np.array([np.square(u / 255 - v / 255).mean() for u, v in zip(first, second, strict=True)])


def grey(level: int, side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


# --- IC-LPIPS ---


def test_ic_lpips_of_a_set_computed_by_hand() -> None:
    shots = [grey(0), grey(100), grey(255)]
    samples = [grey(level) for level in (0, 10, 20, 95, 250)]
    measure = Squares()
    nearest = cluster(measure.matrix(samples, shots))
    assert nearest.tolist() == [0, 0, 0, 1, 2]
    found = ic_lpips(measure, samples, nearest, 3, {})  # type: ignore[arg-type]
    mean = (10**2 + 10**2 + 20**2) / 3 / 255**2  # the one cluster with pairs
    assert found["skip"]["value"] == pytest.approx(mean)
    assert found["zero"]["value"] == pytest.approx(mean / 3)
    assert found["zero"]["without_small_clusters"] == pytest.approx(mean)
    assert found["zero"]["cluster_sizes"] == [3, 1, 1]
    assert "2 of 3 shots" in found["zero"]["warning"]


def test_ic_lpips_without_a_pair_is_unknown_and_not_zero() -> None:
    found = ic_lpips(Squares(), [grey(0), grey(9)], np.array([0, 1]), 2, {})  # type: ignore[arg-type]
    assert [found[name]["value"] for name in ("zero", "skip")] == [None, None]


def test_large_clusters_are_capped_as_published() -> None:
    assert {name: variant.cap for name, variant in diversity.VARIANTS.items()} == {"zero": 140, "skip": 50}
    samples = [grey(level) for level in range(150)]
    measure = Squares()
    found = ic_lpips(measure, samples, np.zeros(150, int), 1, {}, seed=3)  # type: ignore[arg-type]
    levels = measure.asked[-1]  # what was drawn, in its order
    assert len(levels) == len(set(levels)) == 140
    assert levels != sorted(levels), "drawn at random"
    for name, cap in (("zero", 140), ("skip", 50)):
        kept = levels[:cap]
        pairs = [(a - b) ** 2 / 255**2 for i, a in enumerate(kept) for b in kept[:i]]
        assert found[name]["value"] == pytest.approx(np.mean(pairs))


def test_unknown_variant_and_wrong_clusters() -> None:
    with pytest.raises(OptionError, match="zero, skip"):
        ic_lpips(Squares(), [grey(0)], np.array([0]), 1, {}, variants=["mean"])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="below 1"):
        ic_lpips(Squares(), [grey(0)], np.array([1]), 1, {})  # type: ignore[arg-type]


def test_the_defect_by_itself() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[10:14, 20:28] = True
    mask[11, 22] = False
    cut = inside(image, mask, side=8)
    expected = np.full((8, 8, 3), 128, np.uint8)
    expected[2:6] = image[10:14, 20:28]
    expected[3, 2] = 128
    assert np.array_equal(cut, expected)


def test_background_counts_and_the_defect_does_not() -> None:
    rng = np.random.default_rng(1)
    normals = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(5)]
    mask = np.zeros((64, 64), bool)
    mask[20:30, 20:30] = True
    made = np.where(mask[:, :, None], np.uint8(255), normals[3])
    broken = made.copy()
    broken[50:, 50:] //= 2
    away = background_lpips(Squares(), [made, broken], [mask, mask], normals)  # type: ignore[arg-type]
    assert away[0] == 0
    assert away[1] == pytest.approx(np.square(broken / 255 - made / 255).mean())
    assert np.array_equal(np.unique(blanked(made, mask)[mask]), [128])


# --- fidelity ---


def exact(mean: np.ndarray, variances: np.ndarray, count: int, seed: int) -> torch.Tensor:
    """Features whose sample mean and covariance are exactly those asked for."""
    raw = np.random.default_rng(seed).standard_normal((count, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return torch.from_numpy(white * np.sqrt(variances) + mean)


def test_fid_of_gaussians_in_closed_form() -> None:
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 1.0])
    found = fid(exact(np.zeros(3), a, 50, 0), exact(np.array([1.0, 0, 2]), b, 40, 1), {"extractor": "x"})
    assert found["value"] == pytest.approx(5 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum())
    assert found["warning"] is None
    assert found["protocol"] == {"extractor": "x", "formula": "torch-fidelity fid", "generated": 50, "real": 40}


@pytest.mark.parametrize(("n", "m", "width"), [(12, 9, 64), (80, 70, 16)])
def test_fid_and_kid_are_torch_fidelitys(n: int, m: int, width: int) -> None:
    from torch_fidelity import metric_fid, metric_kid

    rng = np.random.default_rng(5)
    made, real = (torch.from_numpy(rng.standard_normal((count, width)) + shift) for count, shift in ((n, 0.3), (m, 0)))
    statistics = [metric_fid.fid_features_to_statistics(part) for part in (made, real)]
    library = metric_fid.fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    found = fid(made, real, {})
    assert found["value"] == pytest.approx(library, rel=1e-4)
    assert (found["warning"] is None) == (width < m)
    library = metric_kid.kid_features_to_metric(made, real, kid_subsets=100, kid_subset_size=m, rng_seed=4)
    found = kid(made, real, {}, seed=4)
    assert found["value"] == library["kernel_inception_distance_mean"]
    assert found["std"] == library["kernel_inception_distance_std"]
    assert found["protocol"]["subset_size"] == m


def test_kid_is_the_unbiased_estimate() -> None:
    rng = np.random.default_rng(6)
    made, real = rng.standard_normal((5, 4)), rng.standard_normal((5, 4)) + 1
    kernel = lambda x, y: (x @ y / 4 + 1) ** 3  # noqa: E731
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    by_hand = np.mean([kernel(made[i], made[j]) + kernel(real[i], real[j]) for i, j in pairs])
    by_hand -= 2 * np.mean([kernel(x, y) for x in made for y in real])
    found = kid(torch.from_numpy(made), torch.from_numpy(real), {})
    assert found["value"] == pytest.approx(by_hand)
    assert "only 5" in found["warning"]


def test_inception_score_precision_and_recall_of_known_sets() -> None:
    sure = torch.eye(4).repeat(50, 1) * 100  # four classes, even, without doubt
    found = inception_score(sure, {})
    assert found["value"] == pytest.approx(4, rel=0.1)  # each of two splits is nearly even
    assert found["protocol"]["splits"] == 2
    assert inception_score(None, {})["value"] is None
    rng = np.random.default_rng(7)
    real = torch.from_numpy(rng.standard_normal((60, 2)))
    far = precision_recall(real + 100, real, {})
    assert (far["precision"]["value"], far["recall"]["value"]) == (0, 0)
    narrow = precision_recall(real[:1] + 1e-6 * real[:20], real, {})
    assert narrow["precision"]["value"] == 1
    assert narrow["recall"]["value"] == pytest.approx(1 / 60)
    assert precision_recall(real[:3], real, {})["recall"]["value"] is None


def test_too_few_pictures_give_no_number() -> None:
    one, many = torch.zeros(1, 4), torch.zeros(9, 4)
    for found in (fid(one, many, {}), kid(one, many, {}), fid(many, one[:0], {})):
        assert found["value"] is None
        assert found["warning"]
    with pytest.raises(OptionError, match=r"\(9, 4\)"):
        fid(many, torch.zeros(9, 5), {})


# --- masks ---


def test_mask_fit_of_constructed_changes() -> None:
    rng = np.random.default_rng(8)
    normal = rng.integers(40, 200, (40, 40, 3), dtype=np.uint8)
    place = np.zeros((40, 40), bool)
    place[10:20, 10:20] = True
    sample = np.where(place[:, :, None], normal + 30, normal).astype(np.uint8)
    assert difference_fit(sample, normal, place) == {"auroc": 1, "explained": 1, "covered": 1}
    half = place & (np.arange(40) < 15)
    found = difference_fit(sample, normal, half)
    assert found is not None
    assert (found["explained"], found["covered"]) == (0.5, 1)
    wide = place | np.roll(place, 10, axis=0)
    found = difference_fit(sample, normal, wide)
    assert found is not None
    assert found == {"auroc": 0.75, "explained": 1, "covered": 0.5}
    beside = np.roll(place, 20, axis=1)
    found = difference_fit(sample, normal, beside)
    assert found is not None
    assert found["auroc"] < 0.5
    assert found["explained"] == found["covered"] == 0


def test_mask_fit_knows_when_there_is_nothing_to_compare_with() -> None:
    rng = np.random.default_rng(9)
    one, other = (rng.integers(0, 256, (30, 30, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((30, 30), bool)
    mask[3:9, 3:9] = True
    assert difference_fit(one, other, mask) is None, "another picture"
    assert difference_fit(one, None, mask) is None
    assert difference_fit(one, other[:20], mask) is None
    assert difference_fit(one, other, ~np.zeros_like(mask)) is None
    found = difference_figures([None, {"auroc": 0.5, "explained": 0.2, "covered": 1.0}], {})
    assert (found["mask_fit_auroc"]["value"], found["mask_fit_auroc"]["protocol"]["samples"]) == (0.5, 1)
    assert "1 of 2 samples are not counted" in found["mask_fit_auroc"]["warning"]
    assert difference_figures([None], {})["mask_fit_auroc"]["value"] is None
    assert "1 of 1 samples are not counted" in difference_figures([None], {})["mask_is_changed"]["warning"]


def test_masks_over_what_did_not_change_count() -> None:
    """Nine samples that are their normal, one whose mask is right: a tenth of the marked pixels changed."""
    normal = np.random.default_rng(9).integers(40, 200, (30, 30, 3), dtype=np.uint8)
    mask = np.zeros((30, 30), bool)
    mask[3:9, 3:9] = True
    changed = np.where(mask[:, :, None], normal + 30, normal).astype(np.uint8)
    unchanged = difference_fit(normal, normal, mask)
    assert unchanged == {"auroc": 0.5, "explained": None, "covered": 0}
    assert difference_fit(normal, normal, np.zeros_like(mask)) is None, "an empty mask"
    found = difference_figures([unchanged] * 9 + [difference_fit(changed, normal, mask)], {})
    values = {name: (one["value"], one["worst"], one["protocol"]["samples"]) for name, one in found.items()}
    assert values == {
        "mask_fit_auroc": (pytest.approx(0.55), 0.5, 10),
        "mask_explains_change": (1, 1, 1),
        "mask_is_changed": (pytest.approx(0.1), 0, 10),
    }
    warnings = [one["warning"] for one in found.values()]
    assert warnings == [None, "in 9 of 10 samples nothing changed: there is nothing to explain", None]
    alone = difference_figures([unchanged], {})
    assert (alone["mask_is_changed"]["value"], alone["mask_is_changed"]["warning"]) == (0, None)
    assert alone["mask_explains_change"]["value"] is None


def test_fast_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(10)
    levels = rng.integers(0, 12, (20, 30), dtype=np.uint8)
    mask = rng.random((20, 30)) < 0.2
    assert levels_auroc(levels, mask) == pytest.approx(auroc(levels, mask))
    assert auroc(levels, np.zeros((20, 30), bool)) is None


def test_mask_statistics() -> None:
    found = mask_statistics([0, 0.1, 0.2, 0.99], {})
    assert [found[name]["value"] for name in ("mask_empty", "mask_full", "mask_area")] == pytest.approx(
        [0.25, 0.25, 0.15]
    )
    assert mask_statistics([], {})["mask_area"]["value"] is None


class Pixels:
    """Feature maps that are the pictures themselves, 8 times smaller."""

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [torch.nn.functional.avg_pool2d(images.float(), 8)]


def test_detector_finds_what_no_normal_shows_and_leaves_the_own_normal_out() -> None:
    rng = np.random.default_rng(11)
    normals = [rng.integers(100, 120, (128, 128, 3), dtype=np.uint8) for _ in range(6)]
    mask = np.zeros((128, 128), bool)
    mask[48:72, 80:104] = True
    made = np.where(mask[:, :, None], np.uint8(30), normals[2])
    memory = NormalMemory(Pixels(), normals)  # type: ignore[arg-type]
    assert detector_fit(memory, [made], [mask], [2])[0] > 0.98
    assert detector_fit(memory, [made], [np.zeros_like(mask)], [2]) == []
    with_own, without = (memory.score([normals[2]], [own])[0] for own in (None, 2))
    assert with_own.max() < 1e-5
    assert np.median(without) > 1e-4


# --- copies ---


def blobs(seed: int, side: int = 32) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 200, (side, side, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2), 0, 255).astype(np.uint8)


def test_memorisation_flags_copies_in_any_orientation_and_nothing_new() -> None:
    shots = [blobs(seed) for seed in range(4)]
    turned = np.ascontiguousarray(np.rot90(shots[3]))
    faint = np.clip(shots[0].astype(int) + 2, 0, 255).astype(np.uint8)
    samples = [blobs(10), shots[1], np.ascontiguousarray(shots[2][:, ::-1]), turned, faint, blobs(11)]
    found = memorisation(Squares(), samples, shots, {}, names=list("abcdef"))  # type: ignore[arg-type]
    assert found["value"] == pytest.approx(4 / 6)
    copies = {row["sample"]: (row["shot"], row["how"]) for row in found["copies"]}
    assert copies == {
        "b": (1, "as it is"),
        "c": (2, "as it is, mirrored"),
        "d": (3, "turned 90"),
        "e": (0, "as it is"),
    }
    none = memorisation(Squares(), [blobs(10), blobs(11)], shots, {})  # type: ignore[arg-type]
    assert none["value"] == 0
    assert none["relative_distance"] == pytest.approx(1, abs=0.5)


def test_orientations_are_the_eight_of_the_square() -> None:
    picture = blobs(0)
    assert len({one.tobytes() for one in orientations(picture)}) == 8
    lone = memorisation(Squares(), [picture], [picture], {})  # type: ignore[arg-type]
    assert lone["value"] == 1
    assert "one shot" in lone["warning"]


def test_near_duplicates_need_place_picture_and_defect_alike() -> None:
    normal = blobs(1, 64)

    def sample(top: int, level: int) -> tuple[np.ndarray, np.ndarray]:
        mask = np.zeros((64, 64), bool)
        mask[top : top + 12, 20:32] = True
        return np.where(mask[:, :, None], np.uint8(level), normal), mask

    rows = [sample(5, 250), sample(6, 245), sample(5, 10), sample(40, 250), sample(5, 250)]
    images, masks = [row[0] for row in rows], [row[1] for row in rows]
    insides = [inside(image, mask) for image, mask in rows]
    found = near_duplicates(Squares(), images, insides, masks, {}, names=list("abcde"))  # type: ignore[arg-type]
    assert found["pairs"] == [["a", "b"], ["a", "e"], ["b", "e"]]
    assert found["value"] == pytest.approx(2 / 5), "of three alike, two could go"
    assert near_duplicates(Squares(), images[:1], insides[:1], masks[:1], {})["value"] is None  # type: ignore[arg-type]
