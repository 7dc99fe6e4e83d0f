"""Shapes of defects: cut out, turned, placed."""

from __future__ import annotations

import numpy as np
import pytest

from ias_zoo.imaging.cutouts import Shape


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_shapes_at_a_border_stay_at_one(quarters: int, mirror: bool) -> None:
    whole = np.zeros((20, 30), np.bool_)
    whole[:4, 10:13] = True
    whole[1, 13] = True
    shape = Shape("chip", whole[:4, 10:14], (True, False, False, False)).turned(quarters, mirror)
    turned = np.rot90(whole, quarters)
    turned = turned[:, ::-1] if mirror else turned
    sides = (turned[0].any(), turned[-1].any(), turned[:, 0].any(), turned[:, -1].any())
    assert shape.sides == sides
    for seed in range(10):
        placed = shape.placed((40, 50), None, np.random.default_rng(seed))
        assert placed.sum() == 13
        touched = (placed[0].any(), placed[-1].any(), placed[:, 0].any(), placed[:, -1].any())
        assert all(there or not wanted for there, wanted in zip(touched, sides, strict=True))


def test_a_shape_is_cut_with_the_borders_it_touches() -> None:
    mask = np.zeros((12, 16), np.bool_)
    mask[0:3, 5:9] = True
    mask[1, 6] = False
    shape = Shape.cut("chip", mask)
    assert shape.sides == (True, False, False, False)
    assert np.array_equal(shape.mask, mask[:3, 5:9])


@pytest.mark.parametrize("sides", [(False,) * 4, (True, False, False, False)])
@pytest.mark.parametrize("side", [3, 40])  # smaller than the region, and larger than it
def test_a_shape_lies_in_the_region_and_is_never_empty(sides: tuple[bool, bool, bool, bool], side: int) -> None:
    region = np.zeros((30, 40), np.bool_)
    region[15:25, 10:30] = True
    shape = Shape("hole", np.ones((side, side), np.bool_), sides)
    for seed in range(10):
        placed = shape.placed((30, 40), region, np.random.default_rng(seed))
        assert placed.any()
        assert not (placed & ~region).any()
        assert side > 3 or placed.sum() == 9, "it fits, so nothing of it is cut off"
