"""CutPaste, CutPaste-Scar and 3-way CutPaste against the published laws."""

from __future__ import annotations

import dataclasses
import importlib
import math

import numpy as np
import pytest

from ias_zoo import Request
from ias_zoo.options import build_options
from ias_zoo.synthesizer import PluginId, Setup
from ias_zoo_handcrafted.methods.cutpaste import METHODS

BY_NAME = {method.name: method for method in METHODS}
SIZES = [(1, 40), (40, 1), (1, 1), (5, 3), (37, 91), (200, 300), (517, 256)]


def make(name, **options):
    method = BY_NAME[name]
    module, _, attribute = method.options.partition(":")
    options_class = getattr(importlib.import_module(module), attribute)
    module, _, attribute = method.implementation.partition(":")
    implementation = getattr(importlib.import_module(module), attribute)
    built = build_options(options_class, options, method=name)
    return implementation(Setup(method=method, plugin=PluginId(name="t", distribution="t", version="0"), options=built))


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def samples(synthesizer, count, normal, **fields):
    return synthesizer.synthesize([Request(seed=seed, normal=normal, **fields) for seed in range(count)])


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


@pytest.fixture(scope="module")
def patches():
    return samples(make("cutpaste"), 2000, picture(256, 256))


@pytest.fixture(scope="module")
def scars():
    return samples(make("cutpaste_scar"), 1000, picture(256, 256))


def test_patch_covers_2_to_15_percent_uniformly(patches):
    areas = np.array([sample.mask.mean() for sample in patches])
    assert areas.min() >= 0.02 - 0.0015
    assert areas.max() <= 0.15 + 0.0015  # half a pixel of each side
    assert abs(areas.mean() - 0.085) < 3 * 0.13 / math.sqrt(12 * 2000)
    assert np.percentile(areas, 25) == pytest.approx(0.0525, abs=0.004)  # uniform, not log-uniform (0.033)


def test_patch_aspect_is_the_papers_two_branch_law(patches):
    aspects = np.array([width / height for _, _, height, width in (bounds(sample.mask) for sample in patches)])
    assert aspects.min() >= 0.3 * 0.97
    assert aspects.max() <= 3.3 * 1.03
    drawn = np.array([sample.recipe["drawn"]["aspect"] for sample in patches])
    assert np.abs(aspects / drawn - 1).max() < 0.05
    assert abs((drawn < 1).mean() - 0.5) < 3 * 0.5 / math.sqrt(2000)
    assert drawn[drawn > 1].mean() == pytest.approx(2.15, abs=3 * 2.3 / math.sqrt(12 * 1000))  # log-uniform: 1.93


def test_log_uniform_aspect():
    drawn = [
        s.recipe["drawn"]["aspect"] for s in samples(make("cutpaste", aspect_law="log_uniform"), 2000, picture(64, 64))
    ]
    logs = np.log(drawn)
    middle, width = (math.log(0.3) + math.log(3.3)) / 2, math.log(3.3) - math.log(0.3)
    assert logs.mean() == pytest.approx(middle, abs=3 * width / math.sqrt(12 * 2000))
    assert logs.std() == pytest.approx(width / math.sqrt(12), rel=0.05)


def test_positions_are_uniform_and_independent(patches):
    drawn = [sample.recipe["drawn"] for sample in patches]
    shares = {}
    for which in ("source", "destination"):
        for axis, size in ((0, 2), (1, 3)):
            shares[which, axis] = np.array([d[which][axis] / (256 - d[which][size]) for d in drawn])
    for share in shares.values():
        assert share.min() < 0.01
        assert share.max() > 0.99
        assert abs(share.mean() - 0.5) < 3 / math.sqrt(12 * 2000)
    assert abs(np.corrcoef(shares["source", 0], shares["destination", 0])[0, 1]) < 0.07


def test_without_jitter_the_pasted_block_is_the_source_block_and_nothing_else_changes():
    normal = picture(200, 300)
    for sample in samples(make("cutpaste", jitter=0.0), 50, normal):
        (y, x, h, w), (to_y, to_x, _, _) = (sample.recipe["drawn"][key] for key in ("source", "destination"))
        assert np.array_equal(sample.image[to_y : to_y + h, to_x : to_x + w], normal[y : y + h, x : x + w])
        assert bounds(sample.mask) == (to_y, to_x, h, w)
        assert sample.mask.sum() == h * w
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])


def test_jitter_stays_within_its_strength():
    grey = np.full((128, 128, 3), 100, dtype=np.uint8)  # contrast, saturation and hue change nothing on plain grey
    drawn = samples(make("cutpaste"), 300, grey)
    values = np.array([sample.image[sample.mask][0, 0] for sample in drawn], dtype=float)
    assert values.min() >= 90
    assert values.max() <= 110
    assert values.std() == pytest.approx(20 / math.sqrt(12), rel=0.15)
    orders = {tuple(sample.recipe["drawn"]["jitter"]["order"]) for sample in drawn}
    assert len(orders) == 24
    hues = np.array([sample.recipe["drawn"]["jitter"]["hue"] for sample in drawn])
    assert -0.1 <= hues.min() < -0.09
    assert 0.09 < hues.max() <= 0.1


def test_patch_may_span_either_axis_of_an_oblong_image():
    sample_sizes = [bounds(s.mask)[2:] for s in samples(make("cutpaste", area=[0.15, 0.15]), 400, picture(40, 300))]
    assert any(height == 40 for height, _ in sample_sizes)  # clamped to the image
    sample_sizes = [bounds(s.mask)[2:] for s in samples(make("cutpaste"), 400, picture(200, 300))]
    assert any(height > 130 for height, _ in sample_sizes)
    assert any(width > 150 for _, width in sample_sizes)


def test_scar_sizes_and_angles(scars):
    drawn = [sample.recipe["drawn"] for sample in scars]
    for sample, d in zip(scars, drawn, strict=True):
        assert 2 <= d["width"] <= 16
        assert 10 <= d["length"] <= 25
        assert abs(d["angle"]) <= 45
        # Along its own axes (upright, then turned counter-clockwise) the scar's pixel centres span width and length.
        rows, columns = np.nonzero(sample.mask)
        cos, sin = math.cos(math.radians(d["angle"])), math.sin(math.radians(d["angle"]))
        for extent, expected in (
            (np.ptp(rows * cos + columns * sin), d["length"]),
            (np.ptp(columns * cos - rows * sin), d["width"]),
        ):
            assert expected - 2 <= extent <= expected
        assert sample.mask.sum() == pytest.approx(d["width"] * d["length"], abs=0.75 * (d["width"] + d["length"]))
    filled = [sample.mask.sum() / (d["width"] * d["length"]) for sample, d in zip(scars, drawn, strict=True)]
    assert np.mean(filled) == pytest.approx(1.0, abs=0.01)
    widths, lengths = np.array([d["width"] for d in drawn]), np.array([d["length"] for d in drawn])
    assert widths.mean() == pytest.approx(9, abs=3 * 14 / math.sqrt(12 * 1000))
    assert lengths.mean() == pytest.approx(17.5, abs=3 * 15 / math.sqrt(12 * 1000))
    angles = np.array([d["angle"] for d in drawn])
    assert angles.std() == pytest.approx(90 / math.sqrt(12), rel=0.06)


def test_scar_is_never_cut_by_the_border(scars):
    touching = 0
    for sample in scars:
        y, x, h, w = sample.recipe["drawn"]["destination"]
        assert bounds(sample.mask) == (y, x, h, w)  # the whole turned shape is there
        touching += y == 0 or x == 0 or y + h == 256 or x + w == 256
    assert touching > 0  # the border itself can be reached


def test_scar_pixels_are_the_sources_without_jitter():
    normal = np.arange(90 * 120, dtype=np.uint32).reshape(90, 120)
    normal = np.stack([normal % 256, normal // 256, np.zeros_like(normal)], axis=2).astype(np.uint8)  # all different
    for sample in samples(make("cutpaste_scar", jitter=0.0, scale_scar=False), 50, normal):
        y, x, h, w = sample.recipe["drawn"]["source"]
        source = {tuple(pixel) for pixel in normal[y : y + h, x : x + w].reshape(-1, 3)}
        assert {tuple(pixel) for pixel in sample.image[sample.mask]} <= source
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])


def test_scar_upright_is_a_plain_copy():
    normal = picture(64, 64)
    synthesizer = make("cutpaste_scar", jitter=0.0, scale_scar=False, scar_angle=[0.0, 0.0])
    for sample in samples(synthesizer, 20, normal):
        (y, x, h, w), (to_y, to_x, _, _) = (sample.recipe["drawn"][key] for key in ("source", "destination"))
        assert np.array_equal(sample.image[to_y : to_y + h, to_x : to_x + w], normal[y : y + h, x : x + w])


def test_scar_scales_with_the_image_unless_told_not_to():
    normal = picture(512, 768)
    scaled = np.array([s.recipe["drawn"]["length"] for s in samples(make("cutpaste_scar"), 300, normal)])
    absolute = [s.recipe["drawn"]["length"] for s in samples(make("cutpaste_scar", scale_scar=False), 300, normal)]
    assert 20 <= scaled.min() < scaled.max() <= 50
    assert scaled.mean() == pytest.approx(35, abs=1.6)
    assert 10 <= min(absolute) < max(absolute) <= 25


@pytest.mark.parametrize("name", sorted(BY_NAME))
@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_an_exact_non_empty_mask(name, size):
    normal = picture(*size)
    before = normal.copy()
    for sample in samples(make(name), 10, normal):
        assert sample.image.shape == normal.shape
        assert sample.image.dtype == np.uint8
        assert sample.mask.shape == size
        assert sample.mask.dtype == np.bool_
        assert sample.mask.any()
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
    assert np.array_equal(normal, before)


@pytest.mark.parametrize("name", sorted(BY_NAME))
@pytest.mark.parametrize("size", [(80, 120), (37, 91), (1, 30)])
def test_mask_lies_in_the_region(name, size):
    region = np.zeros(size, dtype=np.bool_)
    region[size[0] // 3 : size[0] // 3 + 6, size[1] // 2 :] = True
    for sample in samples(make(name), 100, picture(*size), region=region):
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_one_pixel_region(name):
    region = np.zeros((64, 64), dtype=np.bool_)
    region[20, 63] = True
    for sample in samples(make(name), 30, picture(64, 64), region=region):
        assert np.array_equal(sample.mask, region)


def test_patch_comes_from_the_region_too():
    normal = np.zeros((96, 96, 3), dtype=np.uint8)
    region = np.zeros((96, 96), dtype=np.bool_)
    region[30:70, 30:70] = True
    normal[region] = 200
    for sample in samples(make("cutpaste", area=[0.02, 0.02], jitter=0.0), 100, normal, region=region):
        y, x, h, w = sample.recipe["drawn"]["source"]
        assert region[y + h // 2, x + w // 2]


def test_same_request_same_bytes_and_the_global_state_is_left_alone():
    np.random.seed(3)  # noqa: NPY002 - it must not matter
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for name in BY_NAME:
        synthesizer, normal = make(name), picture(70, 50)
        first = synthesizer.synthesize([Request(seed=5, normal=normal)])[0]
        again = synthesizer.synthesize([Request(seed=4, normal=normal), Request(seed=5, normal=normal)])[1]
        assert np.array_equal(first.image, again.image)
        assert first.recipe == again.recipe
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_three_way_is_a_fair_coin_and_keeps_the_class():
    kinds = [sample.defect for sample in samples(make("cutpaste_3way"), 1000, picture(32, 32))]
    assert set(kinds) == {"cutpaste", "cutpaste_scar"}
    assert abs(kinds.count("cutpaste") / 1000 - 0.5) < 3 * 0.5 / math.sqrt(1000)


def test_three_way_makes_the_kind_that_is_asked_for():
    for kind in ("cutpaste", "cutpaste_scar"):
        for sample in samples(make("cutpaste_3way"), 10, picture(32, 32), defect=kind):
            assert sample.recipe["drawn"]["kind"] == kind == sample.defect
    other = samples(make("cutpaste_3way"), 40, picture(32, 32), defect="dent")
    assert {sample.defect for sample in other} == {"dent"}
    assert {sample.recipe["drawn"]["kind"] for sample in other} == {"cutpaste", "cutpaste_scar"}


def test_three_way_triple():
    synthesizer, normal = make("cutpaste_3way"), picture(64, 48)
    unchanged, patch, scar = synthesizer.triple(Request(seed=9, normal=normal))
    assert np.array_equal(unchanged, normal)
    assert unchanged is not normal
    assert (patch.defect, scar.defect) == ("cutpaste", "cutpaste_scar")
    for sample in (patch, scar):
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        request = Request(seed=sample.recipe["request"]["seed"], normal=normal, defect=sample.defect)
        assert np.array_equal(synthesizer.synthesize([request])[0].image, sample.image)
    assert patch.recipe["request"]["seed"] != scar.recipe["request"]["seed"]


def test_options_are_the_papers_and_are_checked():
    options = make("cutpaste_3way").options
    assert dataclasses.asdict(options) == {
        "area": (0.02, 0.15),
        "aspect": (0.3, 3.3),
        "aspect_law": "two_branch",
        "jitter": 0.1,
        "scar_width": (2.0, 16.0),
        "scar_length": (10.0, 25.0),
        "scar_angle": (-45.0, 45.0),
        "scale_scar": True,
    }
    for bad in ({"area": [0.2, 0.1]}, {"aspect": [1.5, 2.0]}, {"scar_width": [5.0, 2.0]}, {"jitter": -0.1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            make("cutpaste_3way", **bad)
