"""DRAEM's anomaly generator against the published laws."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from ias_zoo import Request
from ias_zoo.errors import DataError
from ias_zoo.imaging.blending import mix
from ias_zoo.imaging.photometric import OPERATIONS, apply_operations
from ias_zoo.options import build_options
from ias_zoo.synthesizer import PluginId, Setup
from ias_zoo_handcrafted.draem import PAPER_OPERATIONS, Draem
from ias_zoo_handcrafted.methods.draem import METHODS
from ias_zoo_handcrafted.options.draem import DraemOptions

SIZES = [(1, 40), (40, 1), (1, 1), (2, 2), (37, 91), (250, 333), (300, 225)]


def make(**options):
    built = build_options(DraemOptions, options, method="draem")
    plugin = PluginId(name="t", distribution="t", version="0")
    return Draem(Setup(method=METHODS[0], plugin=plugin, options=built))


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def samples(synthesizer, count, normal, **fields):
    return synthesizer.synthesize([Request(seed=seed, normal=normal, **fields) for seed in range(count)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small texture pictures."""
    path = tmp_path_factory.mktemp("textures")
    for seed in range(2):
        cv2.imwrite(str(path / f"{seed}.png"), picture(64, 64, seed))
    return path


@pytest.fixture(scope="module")
def published(folder):
    """The published code's masks: no retry, before the 0.5 gate."""
    synthesizer = make(textures=str(folder), retry_empty=False)
    return samples(synthesizer, 3000, np.full((256, 256, 3), 90, dtype=np.uint8))


def test_mask_area_law(published):
    areas = np.array([sample.mask.mean() for sample in published])
    assert areas.mean() == pytest.approx(0.049, abs=0.005)
    assert (areas == 0).mean() == pytest.approx(0.05, abs=0.015)
    assert np.percentile(areas, 5) == pytest.approx(0.0, abs=0.002)
    assert np.percentile(areas, 95) == pytest.approx(0.093, abs=0.01)


def test_lattice_cells_are_independent_powers_of_two(published):
    cells = np.array([sample.recipe["drawn"]["cells"] for sample in published])
    counts = {size: (cells[:, 0] == size).mean() for size in (1, 2, 4, 8, 16, 32)}
    assert set(np.unique(cells)) == set(counts)
    for share in counts.values():
        assert share == pytest.approx(1 / 6, abs=3 * math.sqrt(5 / 36 / 3000))
    both = ((cells[:, 0] == 1) & (cells[:, 1] == 1)).mean()
    assert both == pytest.approx(1 / 36, abs=3 * math.sqrt(1 / 36 / 3000))
    empty = [not sample.mask.any() for sample, size in zip(published, cells, strict=True) if tuple(size) == (1, 1)]
    assert np.mean(empty) == pytest.approx(0.57, abs=0.18)  # the measured rate of the published noise


def test_noise_is_turned_with_zeros_in_the_corners(published):
    degrees = np.array([sample.recipe["drawn"]["noise_degrees"] for sample in published])
    assert np.abs(degrees).max() <= 90
    assert degrees.std() == pytest.approx(180 / math.sqrt(12), rel=0.04)
    share = np.mean([sample.mask for sample in published], axis=0)
    corners = np.mean([share[y, x] for y in (slice(30), slice(-30, None)) for x in (slice(30), slice(-30, None))])
    assert corners < 0.3 * share[64:192, 64:192].mean()  # upright noise: 0.65


def test_texture_opacity_is_uniform_from_a_fifth_to_one(published):
    opacity = 1 - np.array([sample.recipe["drawn"]["b"] for sample in published])
    assert 0.2 <= opacity.min() < 0.203
    assert 0.997 < opacity.max() <= 1.0
    for quarter in (0.25, 0.5, 0.75):
        assert np.quantile(opacity, quarter) == pytest.approx(0.2 + 0.8 * quarter, abs=0.025)


def test_three_different_operations_out_of_ten(published):
    names = [[operation["name"] for operation in sample.recipe["drawn"]["operations"]] for sample in published]
    assert all(len(set(three)) == 3 == len(three) for three in names)
    for position in range(3):  # the order is random too
        for name in OPERATIONS:
            share = np.mean([three[position] == name for three in names])
            assert share == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 3000))


def test_image_is_the_documented_mix_and_exact_outside_the_mask(folder):
    normal, synthesizer = picture(96, 80, 7), make(textures=str(folder))
    for sample in samples(synthesizer, 60, normal):
        drawn = sample.recipe["drawn"]
        texture = cv2.cvtColor(cv2.imread(str(folder / drawn["texture"]["picture"])), cv2.COLOR_BGR2RGB)
        texture = cv2.resize(texture, (80, 96), interpolation=cv2.INTER_LINEAR)
        augmented = apply_operations(texture, drawn["operations"]).astype(np.float64)
        expected = drawn["b"] * normal + (1 - drawn["b"]) * augmented
        assert np.abs(sample.image[sample.mask] - expected[sample.mask]).max() <= 0.5 + 1e-3
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        assert sample.mask.any()


def test_paper_variant(folder):
    drawn = [s.recipe["drawn"] for s in samples(make(textures=str(folder), variant="paper"), 600, picture(32, 32))]
    opacity = 1 - np.array([d["b"] for d in drawn])
    assert 0.1 <= opacity.min() < 0.12
    assert 0.98 < opacity.max() <= 1.0
    assert opacity.mean() == pytest.approx(0.55, abs=3 * 0.9 / math.sqrt(12 * 600))
    used = {operation["name"] for d in drawn for operation in d["operations"]}
    assert used == set(PAPER_OPERATIONS)
    assert len(used) == 7
    assert len({d["threshold"] for d in drawn}) > 500


def test_gate_gives_clean_samples(folder):
    normal = picture(48, 48)
    gated = samples(make(textures=str(folder), anomaly_probability=0.5), 600, normal)
    clean = [sample for sample in gated if not sample.recipe["drawn"]["anomalous"]]
    assert len(clean) / 600 == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(600))
    for sample in clean:
        assert not sample.mask.any()
        assert np.array_equal(sample.image, normal)
        assert sample.image is not normal


def test_flag_is_false_when_the_mask_is_empty(published):
    assert all(sample.recipe["drawn"]["anomalous"] == sample.mask.any() for sample in published)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", ["code", "paper"])
def test_any_size_gives_an_exact_non_empty_mask(size, variant):
    normal = picture(*size)
    before = normal.copy()
    for sample in samples(make(variant=variant), 12, normal):
        assert sample.image.shape == normal.shape
        assert sample.image.dtype == np.uint8
        assert sample.mask.shape == size
        assert sample.mask.dtype == np.bool_
        assert sample.mask.any()
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
    assert np.array_equal(normal, before)


@pytest.mark.parametrize("box", [(60, 60, 5, 5), (0, 0, 1, 1), (0, 0, 90, 8), (10, 20, 40, 40)])
def test_mask_lies_in_the_region(box):
    top, left, height, width = box
    region = np.zeros((90, 120), dtype=np.bool_)
    region[top : top + height, left : left + width] = True
    for sample in samples(make(), 25, picture(90, 120), region=region):
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()


def test_requested_mask_is_used_as_it_is():
    wanted = np.zeros((50, 60), dtype=np.bool_)
    wanted[10:30, 5:9] = True
    region = np.zeros_like(wanted)
    region[:20] = True
    normal = picture(50, 60)
    for sample in samples(make(), 10, normal, mask=wanted):
        assert np.array_equal(sample.mask, wanted)
        assert not np.shares_memory(sample.mask, wanted)
        assert np.array_equal(sample.image[~wanted], normal[~wanted])
    for sample in samples(make(), 10, normal, mask=wanted, region=region):
        assert np.array_equal(sample.mask, wanted & region)


def test_turned_normals():
    normal = np.full((64, 96, 3), 200, dtype=np.uint8)
    turned = samples(make(rotate_normal=0.3), 600, normal)
    degrees = [s.recipe["drawn"]["normal_degrees"] for s in turned if "normal_degrees" in s.recipe["drawn"]]
    assert len(degrees) / 600 == pytest.approx(0.3, abs=3 * math.sqrt(0.21 / 600))
    assert np.abs(degrees).max() <= 90
    assert np.std(degrees) == pytest.approx(180 / math.sqrt(12), rel=0.12)
    paper = [
        s.recipe["drawn"]["normal_degrees"] for s in samples(make(rotate_normal=1.0, variant="paper"), 200, normal)
    ]
    assert 35 < np.abs(paper).max() <= 45
    region = np.zeros((64, 96), dtype=np.bool_)
    region[20:40, 30:60] = True
    for sample in samples(make(rotate_normal=1.0), 30, normal, region=region):
        assert sample.image.shape == normal.shape
        assert sample.mask.any()


def test_narrow_region_at_the_rim_is_not_turned_away():
    region = np.zeros((16, 200), dtype=np.bool_)
    region[:, :3] = True
    for sample in samples(make(rotate_normal=1.0), 40, picture(16, 200), region=region):
        assert sample.mask.any()


def test_same_request_same_bytes_whatever_went_before():
    normal = picture(70, 50)
    first = make().synthesize([Request(seed=5, normal=normal)])[0]
    synthesizer = make()
    again = synthesizer.synthesize([Request(seed=seed, normal=normal) for seed in (1, 2, 3, 4, 5)])[-1]
    assert np.array_equal(first.image, again.image)
    assert first.recipe == again.recipe


def test_textures_of_the_folder_are_named_and_a_bad_folder_is_refused(folder, tmp_path):
    seen = {s.recipe["drawn"]["texture"]["picture"] for s in samples(make(textures=str(folder)), 30, picture(16, 16))}
    assert seen == {"0.png", "1.png"}
    with pytest.raises(DataError, match="nowhere"):
        make(textures=str(tmp_path / "nowhere"))


def test_mix_rounds_and_leaves_its_inputs_alone():
    normal, texture = np.full((4, 5, 3), 100, dtype=np.uint8), np.full((4, 5, 3), 201, dtype=np.uint8)
    mask = np.zeros((4, 5), dtype=np.bool_)
    mask[1, 2] = mask[3, 4] = True
    image = mix(normal, texture, mask, 0.25)
    assert image[1, 2].tolist() == [176, 176, 176]  # 25 + 150.75
    assert np.array_equal(image != 100, np.repeat(mask[..., None], 3, axis=2))
    assert (normal == 100).all()
    assert (texture == 201).all()
    assert np.array_equal(mix(normal, texture, np.zeros((4, 5), dtype=np.bool_), 0.25), normal)


def test_options_are_the_published_ones():
    assert dataclasses.asdict(make().options) == {
        "variant": "code",
        "textures": None,
        "max_cells": 32,
        "operations": 3,
        "anomaly_probability": 1.0,
        "rotate_normal": 0.0,
        "retry_empty": True,
        "cache_mb": 256,
    }
