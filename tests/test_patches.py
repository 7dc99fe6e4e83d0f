"""Sizes and places of patches."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from ias_zoo.imaging import patches
from ias_zoo.imaging.placement import place


def rng(seed=0):
    return np.random.default_rng(seed)


def test_size_by_area():
    assert patches.size_by_area(256, 256, 0.0625, 1.0) == (64, 64)
    assert patches.size_by_area(256, 256, 0.0625, 4.0) == (32, 128)  # wider than high
    assert patches.size_by_area(10, 1000, 0.15, 0.3) == (10, 21)  # clamped to the image
    assert patches.size_by_area(1, 1, 0.02, 3.0) == (1, 1)


def test_size_uniform_scales_rounds_and_clamps():
    assert {patches.size_uniform(2, 4, 1.0, 99, rng(seed)) for seed in range(60)} == {2, 3, 4}
    assert {patches.size_uniform(2, 4, 0.01, 99, rng(seed)) for seed in range(9)} == {1}
    assert {patches.size_uniform(2, 4, 10.0, 7, rng(seed)) for seed in range(9)} == {7}


def test_boxes_reach_every_position_and_never_leave():
    generator = rng()
    seen = {(box.top, box.left) for box in (place((5, 6, 3), (3, 2), generator) for _ in range(600))}
    assert seen == {(top, left) for top in range(3) for left in range(5)}
    box = patches.Box(1, 2, 3, 4)
    assert np.arange(100).reshape(10, 10)[box.slices].shape == (3, 4)


def test_boxes_within_a_region_are_centred_on_its_pixels():
    region = np.zeros((40, 50), dtype=np.bool_)
    region[0, 0] = region[20, 25] = region[39, 49] = region[10, 5] = True
    generator = rng()
    centres = Counter()
    for _ in range(800):
        top, left, height, width = box = place(region.shape, (6, 8), generator, region)
        assert 0 <= top <= 34
        assert 0 <= left <= 42
        assert region[box.slices].any()
        centres[top + height // 2, left + width // 2] += 1
    assert set(centres) == {(3, 4), (20, 25), (37, 46), (10, 5)}  # the corners' boxes were moved inside
    assert min(centres.values()) > 150


@pytest.mark.parametrize("degrees", [0, 90, -45, 30, 17.3, 180])
@pytest.mark.parametrize("size", [(1, 1), (1, 10), (10, 1), (2, 9), (16, 25), (7, 7)])
def test_rotated_rectangle_is_tight_and_keeps_its_area(size, degrees):
    shape = patches.rotated_rectangle(*size, degrees)
    assert shape.mask.any(axis=0)[[0, -1]].all()
    assert shape.mask.any(axis=1)[[0, -1]].all()
    assert abs(int(shape.mask.sum()) - size[0] * size[1]) <= 0.75 * (size[0] + size[1])
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    assert shape.mask.shape[0] <= size[0] * cos + size[1] * sin + 1
    assert shape.mask.shape[1] <= size[1] * cos + size[0] * sin + 1
    assert shape.rows.max() < size[0]
    assert shape.columns.max() < size[1]


def test_rotated_rectangle_by_right_angles_is_rot90():
    upright = np.arange(6).reshape(2, 3)
    for quarter in range(4):
        shape = patches.rotated_rectangle(2, 3, 90 * quarter)
        assert shape.mask.all()
        assert np.array_equal(upright[shape.rows, shape.columns], np.rot90(upright, quarter))
