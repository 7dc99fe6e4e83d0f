"""SMAI: superpixels, their cache, and what is hidden."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage

import ias_zoo
from ias_zoo import Request
from ias_zoo.imaging.superpixels import SuperpixelCache, colour_passes, neighbours, superpixels
from ias_zoo_handcrafted import smai


def picture(height=128, width=160, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def samples(count, normal, *, region=None, **options):
    requests = [Request(seed=seed, normal=normal, region=region) for seed in range(count)]
    return ias_zoo.load("smai", **options).synthesize(requests)


@pytest.mark.parametrize("size", [(128, 160), (37, 91), (1, 64), (3, 3)])
def test_superpixels_cover_the_image_and_hold_together(size):
    labels = superpixels(picture(*size), 60)
    assert labels.shape == size
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    for label in range(labels.max() + 1):
        assert ndimage.label(labels == label)[1] == 1, "a superpixel in two pieces"  # 4-connected


def test_superpixels_follow_colours_and_count():
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, 50:] = (200, 30, 30)  # an edge on no seed's lattice
    labels = superpixels(image, 64)
    assert 40 <= labels.max() + 1 <= 90
    assert len(np.intersect1d(labels[:, :48], labels[:, 52:])) == 0


def test_passes_never_join_neighbours():
    labels = superpixels(picture(), 100)
    passes = colour_passes(labels)
    assert sorted(np.concatenate(passes).tolist()) == list(range(labels.max() + 1))
    assert len(passes) <= 10
    touching = {tuple(pair) for pair in neighbours(labels).tolist()}
    for batch in passes:
        assert not [(i, j) for i in batch for j in batch if (i, j) in touching]
    by_hand = np.array([[0, 0, 1], [2, 2, 1]], np.int32)
    assert neighbours(by_hand).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_hidden_are_whole_superpixels_of_the_drawn_number():
    normal = picture()
    labels = superpixels(normal, 200)
    count = labels.max() + 1
    numbers, grown = [], []
    for sample in samples(400, normal):
        drawn = sample.recipe["drawn"]
        assert np.array_equal(sample.mask, np.isin(labels, drawn["superpixels"]))
        assert (sample.image[sample.mask] == 0).all()
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        numbers.append(len(drawn["superpixels"]))
        grown.append(drawn["grown"])
        if drawn["grown"]:
            assert ndimage.label(sample.mask)[1] == 1, "a grown hole in two pieces"
    most = int(0.1 * count)
    shares = np.bincount(numbers, minlength=most + 1)[1:] / 400
    assert len(shares) == most
    assert np.abs(shares - 1 / most).max() < 4 * np.sqrt(1 / most / 400)
    assert np.mean(grown) == pytest.approx(0.5, abs=3 * 0.5 / 20)


def test_labels_are_cached_by_pixels_not_by_name():
    cache = SuperpixelCache(2**20, 50)
    one, other = picture(seed=1), picture(seed=2)
    first = cache.get(one)
    assert cache.get(one.copy()).labels is first.labels
    assert not np.array_equal(cache.get(other).labels, first.labels)
    warm = ias_zoo.load("smai")
    warm.synthesize([Request(seed=0, normal=one), Request(seed=0, normal=other)])
    for normal in (one, other):
        (again,) = warm.synthesize([Request(seed=5, normal=normal)])
        (cold,) = ias_zoo.load("smai", cache_mb=0).synthesize([Request(seed=5, normal=normal)])
        assert np.array_equal(again.image, cold.image)


def test_swapped_superpixels_take_the_mean_of_others():
    normal = picture()
    labels = superpixels(normal, 200)
    for sample in samples(5, normal, fill="swap"):
        drawn = sample.recipe["drawn"]
        assert not set(drawn["taken"]) & set(drawn["superpixels"])
        colours = {tuple(np.rint(normal[labels == other].mean(axis=0)).astype(int)) for other in drawn["taken"]}
        assert {tuple(colour) for colour in sample.image[sample.mask].tolist()} <= colours


def test_region_is_kept_and_not_overrun():
    normal, region = picture(), np.zeros((128, 160), bool)
    region[30:80, 40:100] = True
    for sample in samples(60, normal, region=region):
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()
        assert sample.mask.sum() < 0.35 * region.sum()
    dot = np.zeros((128, 160), bool)
    dot[5, 5] = True
    assert all(sample.mask.sum() == 1 for sample in samples(5, normal, region=dot))


def test_error_map_is_zero_for_an_oracle_and_marks_a_defect():
    clean = picture()
    labels = superpixels(clean, 100)
    assert (smai.error_map(clean, lambda image, mask: clean.copy(), labels) < 1e-6).all()
    spoilt = clean.copy()
    spoilt[40:60, 60:90] = 255 - spoilt[40:60, 60:90]
    labels = superpixels(spoilt, 100)
    hidden = np.zeros(spoilt.shape[:2], int)

    def oracle(image, mask):
        assert (image[mask] == 0).all()
        hidden[mask] += 1
        return clean.copy()

    error = smai.error_map(spoilt, oracle, labels)
    assert (hidden == 1).all(), "every superpixel is hidden once"
    assert error[40:60, 60:90].mean() > 10 * error[90:, :40].mean()
    for label in range(labels.max() + 1):
        assert np.ptp(error[labels == label]) == 0
