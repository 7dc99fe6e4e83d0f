"""CDO's white noise and RD++'s simplex noise against the published laws."""

from __future__ import annotations

import numpy as np
import pytest

import ias_zoo
from ias_zoo import Request
from ias_zoo.errors import OptionError
from ias_zoo.imaging.simplex import GRADIENTS, FractalNoise, fractal_noise, gradients, simplex3
from ias_zoo_handcrafted.cdo import OBJECTS, background


def flat(height=256, width=256, level=128):
    return np.full((height, width, 3), level, np.uint8)


def samples(name, count, normal, *, region=None, **options):
    requests = [Request(seed=seed, normal=normal, region=region) for seed in range(count)]
    return ias_zoo.load(name, **options).synthesize(requests)


@pytest.fixture(scope="module")
def published():
    """CDO as published, on a texture."""
    return samples("cdo", 1500, flat(), preset="texture", allow_clean=True)


def test_cdo_number_and_size_of_patches(published):
    numbers = np.array([len(sample.recipe["drawn"]["boxes"]) for sample in published])
    shares = np.bincount(numbers, minlength=5) / len(numbers)
    assert np.abs(shares - 0.2).max() < 4 * np.sqrt(0.16 / len(numbers))
    assert shares.size == 5
    boxes = np.array([box for sample in published for box in sample.recipe["drawn"]["boxes"]])
    for side in (2, 3):
        assert set(np.unique(boxes[:, side])) == set(range(12, 49, 2))
        assert boxes[:, side].mean() == pytest.approx(30, abs=0.6)
    for corner, side in ((0, 2), (1, 3)):
        assert boxes[:, corner].min() >= 0
        assert (boxes[:, corner] + boxes[:, side]).max() <= 256
    for sample in published[:200]:
        union = np.zeros((256, 256), bool)
        for top, left, height, width in sample.recipe["drawn"]["boxes"]:
            union[top : top + height, left : left + width] = True
        assert np.array_equal(sample.mask, union)


def test_cdo_noise_is_white_and_never_255(published):
    inside = np.concatenate([sample.image[sample.mask] for sample in published[:300]]).astype(float)
    assert inside.max() == 254
    assert inside.min() == 0
    assert np.abs(inside.mean(axis=0) - 127).max() < 3
    assert np.abs(inside.std(axis=0) - 73).max() < 3
    assert np.abs(np.corrcoef(inside.T)[np.triu_indices(3, 1)]).max() < 0.05
    one = next(sample for sample in published if len(sample.recipe["drawn"]["boxes"]) == 1)
    top, left, height, width = one.recipe["drawn"]["boxes"][0]
    patch = one.image[top : top + height, left : left + width, 0].astype(float)
    assert abs(np.corrcoef(patch[:, 1:].ravel(), patch[:, :-1].ravel())[0, 1]) < 0.15


def test_cdo_leaves_the_rest_and_its_input_alone():
    normal = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    before = normal.copy()
    for variant in ("v1", "v2"):
        for sample in samples("cdo", 20, normal, variant=variant):
            assert sample.mask.any()
            assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
            assert len(sample.recipe["drawn"]["boxes"]) >= 1
    assert np.array_equal(normal, before)


def test_cdo_keeps_centres_off_the_background():
    normal = flat(level=10)
    normal[90:170, 60:200] = 120
    product = ~background(normal)
    assert product[125, 130]
    assert not product[95, 130], "the background is widened by nine pixels"
    for preset in ("auto", "screw", "object"):
        for sample in samples("cdo", 60, normal, preset=preset):
            assert sample.recipe["drawn"]["background_rejected"]
            for top, left, height, width in sample.recipe["drawn"]["boxes"]:
                assert product[top + height // 2, left + width // 2]
    free = samples("cdo", 60, normal, preset="cable")
    centres = [(t + h // 2, x + w // 2) for s in free for t, x, h, w in s.recipe["drawn"]["boxes"]]
    assert np.mean([product[centre] for centre in centres]) < 0.5
    published = {"bottle", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "zipper"}
    assert published == OBJECTS
    assert not any(s.recipe["drawn"]["background_rejected"] for s in samples("cdo", 3, flat()))  # auto, a texture


def test_cdo_always_finds_a_place_on_a_small_product():
    normal = flat(level=250)
    normal[100:124, 100:124] = 120  # of which the widened background leaves six by six pixels
    for sample in samples("cdo", 40, normal):
        assert sample.mask.any()
        assert sample.mask[100:124, 100:124].any()


def test_cdo_v2_is_shrunk_noise_with_soft_borders():
    made = samples("cdo", 60, flat(), variant="v2", preset="screw")
    full = np.concatenate([sample.image[sample.label_map == 1] for sample in made]).astype(float)
    assert full.std() == pytest.approx(12.1, abs=0.7)  # as measured on the published pipeline
    assert full.mean() == pytest.approx(127, abs=1)
    for sample in made:
        soft = sample.label_map
        assert np.array_equal(sample.mask, soft > 0)
        assert ((soft > 0) & (soft < 1)).any()
        sides = np.array(sample.recipe["drawn"]["boxes"])[:, 2:]
        assert sides.min() >= 50
        assert sides.max() <= 202
        assert sample.recipe["drawn"]["unit"] == 0.25


def test_cdo_scales_with_the_image_and_keeps_to_a_region():
    for size, (low, high) in {(64, 64): (2, 10), (1024, 512): (24, 204)}.items():
        boxes = [b for s in samples("cdo", 40, flat(*size)) for b in s.recipe["drawn"]["boxes"]]
        sides = np.array(boxes)[:, 2:]
        assert sides.min() >= low
        assert sides.max() <= high
    region = np.zeros((256, 256), bool)
    region[100:140, 30:90] = True
    for variant in ("v1", "v2"):
        for sample in samples("cdo", 40, flat(), region=region, variant=variant):
            assert sample.mask.any()
            assert not (sample.mask & ~region).any()


def test_simplex_is_opensimplex():
    # the value in the documentation of the package opensimplex 0.4 for its default seed
    assert simplex3(np.array([[0.5, 0.5, 0.5]]), 3)[0] == pytest.approx(0.39504955501618155, abs=1e-12)
    points = np.random.default_rng(0).uniform(-40, 40, (20000, 3))
    values = simplex3(points, 7)
    assert np.abs(values).max() <= 1
    assert values.std() > 0.2
    assert np.abs(simplex3(points + 1e-7, 7) - values).max() < 1e-5, "the noise has a jump"
    lattice = np.array([[0, 0, 0], [1, 2, -5]])
    assert simplex3(lattice + lattice.sum(axis=1, keepdims=True) / 3, 7) == pytest.approx(0, abs=1e-12)
    assert np.abs(GRADIENTS).sum(axis=1).tolist() == [19] * 24
    assert len(np.unique(GRADIENTS, axis=0)) == 24
    assert not np.array_equal(gradients(lattice, 1), gradients(lattice, 2))


def test_simplex_agrees_with_the_package():
    """The package leaves out the smallest parts of a few points' sums; all others agree to the last digits."""
    import opensimplex

    points = np.random.default_rng(1).uniform(-40, 40, (300, 3))
    for seed in (0, 3, -(10**9), 10**12):
        generator = opensimplex.OpenSimplex(seed=seed)
        expected = [generator.noise3(*point) for point in points.tolist()]
        apart = np.abs(simplex3(points, seed) - expected)
        assert (apart < 1e-12).mean() > 0.92
        assert apart.max() < 1e-4  # of values up to 1


def test_fractal_noise_is_the_sum_of_its_octaves():
    noise = FractalNoise(20, 3, 6, 0.6, 32.0)
    y, x, c = np.meshgrid(np.arange(13), np.arange(20), np.arange(3), indexing="ij")
    pixels = np.stack([x.ravel(), y.ravel(), c.ravel()], axis=1).astype(float)
    expected = sum(0.6**o * simplex3(pixels / (32 / 2**o), 42) for o in range(6)).reshape(13, 20, 3)
    assert np.abs(noise.fixed(13, 20, 42) - expected).max() < 1e-12
    assert np.array_equal(noise.fixed(8, 5, 42), noise.fixed(13, 20, 42)[:8, :5])
    assert noise.bound == pytest.approx(2.38336)
    assert fractal_noise(20, 3, 6, 0.6, 32.0) is fractal_noise(20, 3, 6, 0.6, 32.0)


def test_rdpp_rectangle_is_the_published_one():
    normal = np.random.default_rng(0).integers(70, 180, (256, 256, 3), dtype=np.uint8)
    boxes = []
    for sample in samples("rdpp", 1200, normal):
        box = sample.recipe["drawn"]["box"]
        expected = np.zeros((256, 256), bool)
        expected[box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = True
        assert np.array_equal(sample.mask, expected)
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        assert np.abs(sample.image.astype(int) - normal).max() <= 0.2 * 2.384 * 255 + 0.5
        boxes.append(box)
    tops, lefts, heights, widths = np.array(boxes).T
    for sides, starts in ((heights, tops), (widths, lefts)):
        assert set(sides) == set(range(10, 32))
        assert sides.mean() == pytest.approx(20.5, abs=0.8)
        assert starts.min() == 1
        assert (starts + sides).max() == 255


def test_rdpp_noise_has_the_published_size_and_is_nearly_grey():
    made = samples("rdpp", 400, flat(), side=(31, 31))
    deviations, correlations = [], []
    for sample in made:
        noise = (sample.image[sample.mask].astype(float) - 128) / 255 / 0.2
        deviations.append(noise.std())
        correlations.append(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1])
    assert np.median(deviations) == pytest.approx(0.30, abs=0.02)
    assert np.percentile(deviations, 5) > 0.18
    assert np.percentile(deviations, 95) < 0.45
    assert np.mean(correlations) > 0.85
    assert np.percentile(correlations, 1) > 0.8


def test_rdpp_fields_are_its_own_unless_legacy():
    def noises(**options):
        for sample in samples("rdpp", 12, flat(), side=(20, 20), **options):
            top, left = sample.recipe["drawn"]["box"][:2]
            yield sample.image[top : top + 20, left : left + 20]

    own = list(noises())
    assert len({noise.tobytes() for noise in own}) == 12
    legacy = list(noises(legacy_fixed_field=True))
    assert len({noise.tobytes() for noise in legacy}) == 1
    assert legacy[0].tobytes() != next(noises(legacy_fixed_field=True, field_seed=1)).tobytes()
    expected = 128 + 255 * 0.2 * fractal_noise(20, 3, 6, 0.6, 32.0).fixed(20, 20, 0)
    assert np.array_equal(legacy[0], np.clip(np.rint(expected), 0, 255))


def test_rdpp_on_other_sizes_and_in_a_region():
    for size, (low, high) in {(1024, 1400): (40, 124), (128, 64): (2, 8), (8, 8): (1, 1)}.items():
        boxes = [s.recipe["drawn"]["box"] for s in samples("rdpp", 60, flat(*size))]
        sides = np.array(boxes)[:, 2:]
        assert sides.min() >= low
        assert sides.max() <= high
    absolute = [s.recipe["drawn"]["box"] for s in samples("rdpp", 60, flat(1024, 1024), scale_side=False)]
    assert np.array(absolute)[:, 2:].max() <= 31
    region = np.zeros((256, 256), bool)
    region[200:, 200:] = True
    for sample in samples("rdpp", 60, flat(), region=region):
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()
    with pytest.raises(OptionError, match="smaller"):
        ias_zoo.load("rdpp", side=(20, 10))
