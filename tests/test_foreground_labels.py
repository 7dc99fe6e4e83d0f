"""Change labels, box counting and product masks: the published chains and SciPy as oracles."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from scipy import ndimage
from smallpictures import product, texture

import ias_zoo
from ias_zoo.imaging import foreground, labels
from ias_zoo.imaging.placement import BoxCounter, first_true

# ---------------------------------------------------------------------------------------------------- the labels


def test_the_change_mask_is_the_published_chain() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((80, 90), (256, 37), (1, 40)):
        before = texture(1, height, width)
        after = np.clip(before + rng.integers(-3, 4, before.shape), 0, 255).astype(np.uint8)
        where = np.zeros((height, width), bool)
        where[height // 4 : height // 2 + 1, 5:30] = True
        m = where[..., None]
        d0 = np.mean(np.abs(1.0 * m * before - 1.0 * m * after), axis=2)
        expected = cv2.medianBlur((d0 > 1).astype(np.uint8), 5).astype(bool)
        assert 0 < expected.mean() < 1
        np.testing.assert_array_equal(labels.change_mask(before, after, where), expected)


def test_the_median_difference_is_the_published_chain() -> None:
    rng = np.random.default_rng(0)
    y, x = np.ogrid[-5:6, -5:6]
    disk = y * y + x * x <= 25
    assert disk.sum() == 81
    for height, width in ((80, 90), (60, 31), (3, 40)):
        before, after = texture(1, height, width), texture(2, height, width)
        mask = rng.random((height, width)) < 0.8
        mask[:, width // 2 :] = False
        m = mask[..., None]
        d = np.mean(np.abs(1.0 * m * before - 1.0 * m * after), axis=2)
        expected = ndimage.median_filter(d, footprint=disk, mode="nearest")
        assert expected.max() > 5
        np.testing.assert_allclose(labels.median_difference(before, after, mask), expected, atol=1e-4)
        inside = labels.median_difference(before, after, mask, at=mask)
        np.testing.assert_allclose(inside, np.where(mask, expected, 0), atol=1e-4)


@pytest.mark.parametrize("radius", [0, 1, 5, 8])
def test_the_disk_median_is_scipys(radius: int) -> None:
    rng = np.random.default_rng(radius)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = y * y + x * x <= radius * radius
    for top in (1, 766, 65536):
        values = rng.integers(0, top, (70, 83)).astype(np.uint16)
        at = rng.random(values.shape) < 0.9  # more than one block of pixels
        expected = ndimage.median_filter(values, footprint=disk, mode="nearest")[at]
        np.testing.assert_array_equal(labels.disk_median(values, at, radius), expected)
    with pytest.raises(ValueError, match="radius"):
        labels.disk_median(values, at, 9)


def test_the_logistic_label_is_half_at_the_midpoint_and_rises() -> None:
    d = np.linspace(0, 255, 511, dtype=np.float32)[None]
    mask = np.ones(d.shape, bool)
    mask[0, 100] = False
    label = labels.logistic_label(d, mask, 1 / 12, 24.0)
    assert label[0, 48] == pytest.approx(0.5)
    assert label[0, 100] == 0
    rising = label[mask]
    assert (np.diff(rising) >= 0).all()
    assert rising[:10].max() < 0.2
    assert label[0, 72] == pytest.approx(1 / (1 + np.exp(-1)))
    steep = labels.logistic_label(d, mask, 1000.0, 255.0)  # no overflow
    assert steep[0, 0] == pytest.approx(0, abs=1e-30)


def test_without_a_change_there_is_no_label() -> None:
    picture = texture(0)
    empty = np.zeros((256, 256), bool)
    assert not labels.change_mask(picture, picture, empty).any()
    assert not labels.change_mask(picture, picture, ~empty).any()
    assert not labels.median_difference(picture, picture, empty).any()


# ------------------------------------------------------------------------------------------ placement, foreground


def test_boxes_are_counted() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((50, 70)) < 0.4
    y: Any = np.sort(rng.integers(0, 51, (2, 300)), axis=0)
    x: Any = np.sort(rng.integers(0, 71, (2, 300)), axis=0)
    counts = BoxCounter(mask).count(y[0], x[0], y[1] - y[0], x[1] - x[0])
    expected = [mask[a:b, c:d].sum() for a, b, c, d in zip(y[0], y[1], x[0], x[1], strict=True)]
    np.testing.assert_array_equal(counts, expected)
    assert BoxCounter(mask).total == mask.sum()
    assert first_true(np.array([False, True, True])) == 1
    assert first_true(np.array([False, False])) is None
    assert first_true(np.array([], bool)) is None


def test_tone_distance_is_the_published_rule() -> None:
    picture = product(3)
    for pairs in ([(200, 60)], [(84, 12)], [(225, 30.5), (80, 7.5)]):
        far = np.ones(picture.shape[:2], bool)
        for tone, threshold in pairs:
            far &= np.abs(picture.mean(axis=2) - tone) > threshold
        expected = cv2.medianBlur(far.astype(np.uint8), 7).astype(bool)
        assert 0 < expected.mean() < 1
        np.testing.assert_array_equal(foreground.tone_distance(picture, pairs), expected)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_binary_median_is_opencvs(size: int) -> None:
    mask = np.random.default_rng(0).random((61, 45)) < 0.5
    expected = cv2.medianBlur(mask.astype(np.uint8), size).astype(bool)
    np.testing.assert_array_equal(foreground.binary_median(mask, size), expected)


@pytest.mark.parametrize("inverted", [False, True])
def test_otsu_finds_the_product_on_either_background(inverted: bool) -> None:
    picture = product(4)
    truth = foreground.tone_distance(picture, [(225, 1)])
    picture[120:135, 120:135] = 225  # a hole, which belongs to the product
    picture[5:10, 5:10] = 40  # dirt, which does not
    found = foreground.otsu_foreground(255 - picture if inverted else picture)
    overlap = (found & truth).sum() / (found | truth).sum()
    assert overlap > 0.97
    assert found[127, 127]
    assert not found[7, 7]


@pytest.mark.parametrize("seed", range(5))
def test_large_parts_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = cv2.GaussianBlur(rng.normal(0, 1, (150, 170)), (0, 0), 4) > 0.03
    filled = ndimage.binary_fill_holes(mask)
    parts, _ = ndimage.label(filled, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    large = sizes >= 0.01 * mask.size
    large[0] = False
    assert 0 < large.sum() < sizes.size - 1  # some parts stay, some go
    np.testing.assert_array_equal(foreground._large_parts(mask), large[parts])


def test_grabcut_leaves_the_soft_shadow_that_otsu_takes() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :340]
    truth = ((y - 150) / 80) ** 2 + ((x - 150) / 60) ** 2 < 1
    shadow = cv2.GaussianBlur((((y - 160) / 80) ** 2 + ((x - 172) / 60) ** 2 < 1).astype(np.float64), (0, 0), 12)
    grain = cv2.GaussianBlur(rng.normal(0, 1, y.shape), (0, 0), 1.5)
    clean = np.where(truth, 80 + 30 * grain / grain.std(), 215 - 90 * shadow) + rng.normal(0, 3, y.shape)
    picture = np.repeat(np.clip(clean, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    found, otsu = foreground.grabcut_foreground(picture), foreground.otsu_foreground(picture)
    assert (otsu & truth).sum() / (otsu | truth).sum() < 0.9
    assert (found & truth).sum() / (found | truth).sum() > 0.97
    cv2.setRNGSeed(12345)  # OpenCV's own random state plays no part
    np.testing.assert_array_equal(foreground.grabcut_foreground(picture), found)
    assert foreground.grabcut_foreground(texture(0)).all()


def test_the_product_is_the_region_or_what_is_asked_for() -> None:
    picture = product(4)
    region = np.zeros(picture.shape[:2], bool)
    region[3:5, 6:9] = True
    for how in ("otsu", "grabcut", "all"):
        assert foreground.product(picture, how, region) is region
        assert foreground.product(picture, how, np.ones_like(region)) is None
    assert foreground.product(picture, "all") is None
    assert foreground.product(texture(0), "otsu") is None
    np.testing.assert_array_equal(foreground.product(picture, "otsu"), foreground.otsu_foreground(picture))
    np.testing.assert_array_equal(foreground.product(picture, "grabcut"), foreground.grabcut_foreground(picture))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adsas", {"foreground": "grabcut"}),
        ("memseg", {"preset": "grabcut"}),
    ],
)
def test_methods_use_grabcut_when_told_to(name: str, options: Any) -> None:
    picture = product(4, 128, 128)
    where = cv2.dilate(foreground.grabcut_foreground(picture).view(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert where.mean() < 0.6
    synthesizer = ias_zoo.load(name, **options)
    requests = [ias_zoo.Request(seed=seed, normal=picture, source=product(5, 128, 128)) for seed in range(12)]
    for sample in synthesizer.synthesize(requests):
        assert not (sample.mask & ~where).any()
    (sample,) = ias_zoo.load("nsa", foreground="grabcut").synthesize(requests[:1])
    assert sample.recipe["drawn"]["product"][0] == foreground.grabcut_foreground(picture).mean()


def test_otsu_gives_up_where_there_is_no_background() -> None:
    assert foreground.otsu_foreground(texture(0)).all()
    assert foreground.otsu_foreground(np.full((40, 40, 3), 7, np.uint8)).all()
    speck = np.full((100, 100, 3), 200, np.uint8)
    speck[40:52, 40:52] = 20  # 1.4 % of the image
    assert foreground.otsu_foreground(speck).all()


def test_the_fixed_threshold_has_a_polarity() -> None:
    picture = product(0)
    brighter = foreground.threshold_foreground(picture, 200)
    darker = foreground.threshold_foreground(picture, 200, "darker")
    assert 0.2 < darker.mean() < 0.5
    assert not (brighter & darker).any()
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(~(brighter | darker), grey == 200)
    assert foreground.everywhere(picture).all()
