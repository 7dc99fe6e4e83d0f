"""Whole pictures or native tiles: the decision, the cover, the stitching."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ias_zoo.evaluation.tiles import View, starts
from ias_zoo.training.shots import Shot


def shot(height: int, width: int, defect: int) -> Shot:
    mask = np.zeros((height, width), bool)
    mask[10 : 10 + defect, 10 : 10 + defect] = True
    return Shot("a", np.zeros((height, width, 3), np.uint8), mask, "dent", "")


def test_small_defects_bring_tiles_large_ones_whole_pictures() -> None:
    # of a 512-pixel picture brought to 128, 4 cells of 8 x 8 are 16 x 16 pixels: 64 x 64 native ones
    assert View.choose([shot(512, 512, 63)], 128, "auto") == View(128, True, 1024, 32)
    assert not View.choose([shot(512, 512, 64)], 128, "auto").native
    assert not View.choose([shot(512, 512, 8)], 128, "off").native
    assert not View.choose([shot(100, 120, 8)], 128, "auto").native  # no larger than a crop
    assert View.choose([shot(100, 400, 8)], 128, "auto").side == 128  # narrow: borders are mirrored
    assert View.choose([shot(512, 512, 63)], 128, "auto", 64) == View(64, True, 512, 16)
    assert View.choose([shot(512, 512, 64)], 128, "auto", 64).side == 128
    assert View.choose([shot(512, 512, 200)], 128, "90") == View(96, True, 768, 24)


@pytest.mark.parametrize(("length", "tile", "overlap"), [(64, 64, 16), (65, 64, 16), (300, 64, 16), (1024, 256, 32)])
def test_tiles_cover_a_side(length: int, tile: int, overlap: int) -> None:
    begin = starts(length, tile, overlap)
    assert (begin[0], begin[-1]) == (0, length - tile)
    assert all(later - earlier <= tile - overlap for earlier, later in pairwise(begin))


@pytest.mark.parametrize("shape", [(300, 200), (40, 333), (64, 64), (17, 5)])
def test_stitching_gives_back_what_tiles_agree_on(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    view = View(32, True, 64, 16)
    sizes = []

    def predict(tiles):
        sizes.extend(tile.shape for tile in tiles)
        return [tile[:, :, 0].astype(np.float32) for tile in tiles]

    score = view.score_map(image, predict)
    assert (score.shape, score.dtype) == (shape, np.float32)
    assert np.allclose(score, image[:, :, 0], atol=1e-3)
    assert all(side % 32 == 0 and side <= 64 for size in sizes for side in size[:2])


def test_where_tiles_disagree_the_border_counts_least() -> None:
    view = View(32, True, 64, 16)
    answers = iter([0.0, 1.0])
    score = view.score_map(
        np.zeros((32, 64, 3), np.uint8),  # with its mirrored border 64 x 96: two tiles
        lambda tiles: [np.full(tile.shape[:2], next(answers), np.float32) for tile in tiles],
    )
    row = score[16]
    assert (row[:16] == 0).all()
    assert (row[48:] == 1).all()
    assert (np.diff(row) >= 0).all()
    assert 0 < row[16] < 0.1
    assert 0.9 < row[47] < 1


def test_whole_pictures_are_resized_and_their_maps_back() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 200
    seen = []

    def predict(pictures):
        seen.extend(picture.shape for picture in pictures)
        return [picture[:, :, 0].astype(np.float32) for picture in pictures]

    score = View(32, False, 64, 8).score_map(image, predict)
    assert seen == [(32, 32, 3)]
    assert score.shape == (40, 80)
    assert score[:, :38].max() == 0
    assert score[:, 42:].min() == 200
