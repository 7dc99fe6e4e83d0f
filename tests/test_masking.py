"""The methods that hide parts of a normal, and what they share: grids, holes, inpainters, likeness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import ias_zoo
from ias_zoo import Request
from ias_zoo.errors import OptionError, RequestError
from ias_zoo.imaging import inpaint
from ias_zoo.imaging.grids import cell_counts, enlarge, partition, window_start
from ias_zoo.imaging.similarity import msgms_map, ssim_map
from ias_zoo.imaging.strokes import irregular_mask
from ias_zoo_handcrafted import i3ad, intra, riad


def picture(height=256, width=256, seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(large.astype(int) + rng.integers(-9, 10, large.shape), 0, 255).astype(np.uint8)


def samples(name, count, normal, *, region=None, mask=None, **options):
    requests = [Request(seed=seed, normal=normal, region=region, mask=mask) for seed in range(count)]
    return ias_zoo.load(name, **options).synthesize(requests)


def two_discs(height, width):
    y, x = np.mgrid[:height, :width]
    return ((y - 60) ** 2 + (x - 60) ** 2 < 900) | ((y - 150) ** 2 + (x - 180) ** 2 < 400)


# -- what they share ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", inpaint.FILLS)
def test_hidden_pixels_have_no_influence_on_what_hides_them(fill):
    normal, rng = picture(90, 110), np.random.default_rng(1)
    mask = np.zeros((90, 110), bool)
    mask[20:40, 30:70] = True
    other = normal.copy()
    other[mask] = rng.integers(0, 256, (int(mask.sum()), 3))
    one, two = inpaint.hide(normal, mask, fill), inpaint.hide(other, mask, fill)
    assert np.array_equal(one, two)
    assert np.array_equal(one[~mask], normal[~mask])
    assert not np.shares_memory(one, normal)


def test_fills_are_what_they_are_called():
    normal = picture(70, 50)
    mask = np.zeros((70, 50), bool)
    mask[5:69, 3:20] = True
    mask[0, 0] = True
    expected = {"black": 0, "grey": 128, "mean": np.rint(normal[~mask].mean(axis=0))}
    for fill, value in expected.items():
        assert (inpaint.hide(normal, mask, fill)[mask] == value).all(), fill
    everything = np.ones_like(mask)
    assert (inpaint.hide(normal, everything, "mean") == 128).all()
    assert (inpaint.hide(normal, everything, "inpaint") == 128).all()
    for fill in inpaint.FILLS:
        assert np.array_equal(inpaint.hide(normal, ~everything, fill), normal)


def test_built_in_inpainters_are_opencvs_on_the_whole_image():
    normal, mask = picture(120, 100), np.zeros((120, 100), bool)
    mask[40:60, 30:55] = mask[0:10, 80:100] = True
    for ours, flag in ((inpaint.telea, cv2.INPAINT_TELEA), (inpaint.navier_stokes, cv2.INPAINT_NS)):
        whole = cv2.inpaint(normal, mask.astype(np.uint8), 3, flag)
        filled = ours(normal, mask)
        assert np.array_equal(filled[mask], whole[mask])
        assert np.array_equal(filled[~mask], normal[~mask])
        error = np.abs(filled[mask].astype(int) - normal[mask]).mean()
        assert error < np.abs(normal[mask].astype(int) - normal.mean(axis=(0, 1))).mean(), "no better than the mean"


def test_partition_is_fair():
    rng = np.random.default_rng(0)
    for rows, columns, parts in ((16, 16, 3), (1, 2, 3), (1, 1, 2), (7, 9, 5)):
        cells = partition(rows, columns, parts, rng)
        sizes = np.bincount(cells.ravel(), minlength=parts)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == rows * columns
    shares = np.mean([partition(6, 5, 3, rng) == 2 for _ in range(3000)], axis=0)  # every cell as often as any other
    assert np.abs(shares - 1 / 3).max() < 4 * np.sqrt(2 / 9 / 3000)


def test_grid_is_cut_at_the_border():
    cells = partition(*cell_counts(250, 333, 16), 3, np.random.default_rng(0))
    large = enlarge(cells, 16, 250, 333)
    assert large.shape == (250, 333)
    y, x = np.mgrid[:250, :333]
    assert np.array_equal(large, cells[y // 16, x // 16])


def test_ssim_is_the_published_one():
    skimage = pytest.importorskip("skimage.metrics")
    one, other = picture(64, 80), picture(64, 80, seed=5)
    _, theirs = skimage.structural_similarity(
        one, other, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    inner = np.s_[6:-6, 6:-6]  # there the treatment of the border plays no part
    assert np.abs(ssim_map(one, other)[inner] - theirs.mean(axis=2)[inner]).max() < 1e-4
    assert (ssim_map(one, one) == 1).all()


def test_msgms_sees_edges_and_nothing_where_pictures_agree():
    one = picture(64, 64)
    other = one.copy()
    other[20:40, 20:40] = 255 - other[20:40, 20:40][::-1]
    found = 1 - msgms_map(one, other)
    assert msgms_map(one, one) == pytest.approx(1)
    assert found[22:38, 22:38].mean() > 5 * found[:8, 50:].mean()
    flat = np.full((16, 16, 3), 90, np.uint8)  # a step of one tenth: g = 0.1 * 1/3 * 3 at both its columns
    step = flat.copy()
    step[:, 8:] = 90 + 51
    assert msgms_map(flat, step, scales=1)[8, 8] == pytest.approx(0.0026 / (0.2**2 + 0.0026), rel=1e-4)
    assert msgms_map(flat, step, scales=1)[8, 3] == pytest.approx(1)


def test_irregular_masks_cover_what_is_asked_within_the_region():
    rng, region = np.random.default_rng(2), np.zeros((256, 256), bool)
    region[60:200, 40:220] = True
    for within in (region, np.ones((256, 256), bool)):
        for share in (0.1, 0.3, 0.5):
            covered = [irregular_mask(within, share, rng) for _ in range(20)]
            assert not any((mask & ~within).any() for mask in covered)
            shares = np.array([mask[within].mean() for mask in covered])
            assert shares.min() >= share - 1 / within.sum()
            assert shares.mean() < share + 0.13
    tiny = np.zeros((256, 256), bool)
    tiny[7, 9] = True
    assert irregular_mask(tiny, 0.1, rng).sum() == 1


# -- InTra --------------------------------------------------------------------------------------------------------


def test_intra_hides_one_tile_of_its_window():
    normal = picture()
    windows, tiles = [], []
    for sample in samples("intra", 800, normal):
        window, tile = sample.recipe["drawn"]["window"], sample.recipe["drawn"]["tile"]
        rows, columns = np.nonzero(sample.mask)
        assert [rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1] == tile
        assert sample.mask.sum() == 256
        assert window[2:] == [112, 112]
        assert all(window[i] <= tile[i] <= window[i] + 96 for i in (0, 1))
        assert (sample.image[sample.mask] == 0).all()
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        windows.append((window[0] // 16, window[1] // 16))
        tiles.append(((tile[0] - window[0]) // 16, (tile[1] - window[1]) // 16))
    for drawn, count in ((np.array(windows), 10), (np.array(tiles), 7)):  # uniform, down and across
        for axis in (0, 1):
            share = np.bincount(drawn[:, axis], minlength=count) / 800
            assert share.size == count
            assert np.abs(share - 1 / count).max() < 4 * np.sqrt((1 - 1 / count) / count / 800)


def test_intra_windows_are_what_the_network_sees():
    normal = picture()
    whole, cut = (samples("intra", 20, normal, output=output) for output in ("image", "window"))
    for one, other in zip(whole, cut, strict=True):
        assert one.recipe["drawn"]["tile"] == other.recipe["drawn"]["tile"]
        top, left, height, width = one.recipe["drawn"]["window"]
        assert np.array_equal(one.image[top : top + height, left : left + width], other.image)
        assert np.array_equal(one.mask[top : top + height, left : left + width], other.mask)
        changed = normal.copy()
        changed[one.mask] = 255 - changed[one.mask]
        seed = one.recipe["request"]["seed"]
        (again,) = ias_zoo.load("intra").synthesize([Request(seed=seed, normal=changed)])
        assert np.array_equal(again.image, one.image), "hidden pixels reach the network"


@pytest.mark.parametrize("size", [(256, 256), (100, 333), (16, 16), (127, 48)])
def test_intra_hides_every_tile_once_in_the_middle_where_it_can(size):
    views = list(intra.views(*size))
    rows, columns = size[0] // 16, size[1] // 16
    assert [(view.row, view.column) for view in views] == [(r, c) for r in range(rows) for c in range(columns)]
    for view in views:
        assert view.tile[:2] == (16 * view.row, 16 * view.column)
        for start, length, place, count in (
            (view.window.top, view.window.height, view.row, rows),
            (view.window.left, view.window.width, view.column, columns),
        ):
            assert length == 16 * min(7, count)
            assert 0 <= start <= 16 * count - length
            assert start <= 16 * place < start + length
            if 3 <= place <= count - 4:
                assert start == 16 * (place - 3)
    assert [window_start(cell, 7, 16) for cell in (0, 3, 4, 12, 15)] == [0, 0, 1, 9, 9]


def test_intra_oracle_gives_the_image_back():
    normal = picture(100, 75)
    tiles = iter(intra.views(100, 75))

    def oracle(window, mask):
        view = next(tiles)
        assert (window[mask] == 0).all()
        return normal[view.window.slices].copy()

    assert np.array_equal(intra.reconstruct(normal, oracle), normal[:96, :64])


def test_intra_keeps_to_the_region_and_refuses_what_holds_no_tile():
    region = two_discs(200, 260)
    for sample in samples("intra", 60, picture(200, 260), region=region):
        top, left = sample.recipe["drawn"]["tile"][:2]
        assert 2 * region[top : top + 16, left : left + 16].sum() >= 256, "mostly outside the region"
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()
    for given in (picture(15, 60), picture(64, 8)):
        with pytest.raises(RequestError, match="holds no tile of 16x16"):
            samples("intra", 1, given)
    corner = np.zeros((50, 50), bool)
    corner[49, 49] = True
    with pytest.raises(RequestError, match="outside the grid"):
        samples("intra", 1, picture(50, 50), region=corner)


# -- I3AD ---------------------------------------------------------------------------------------------------------


def test_i3ad_fills_holes_of_the_drawn_share():
    normal = picture()
    made = samples("i3ad", 30, normal)
    drawn = [sample.recipe["drawn"]["share"] for sample in made]
    assert min(drawn) >= 0.1
    assert max(drawn) <= 0.5
    for sample, share in zip(made, drawn, strict=True):
        assert sample.mask.mean() >= share - 1e-4
        assert np.array_equal(sample.image, inpaint.telea(normal, sample.mask))
    hole = np.zeros((256, 256), bool)
    hole[100:140, 90:200] = True
    (pair,) = samples("i3ad", 1, normal, mask=hole, fill="black")
    assert np.array_equal(pair.mask, hole)
    assert (pair.image[hole] == 0).all()
    with pytest.raises(OptionError, match="smaller"):
        ias_zoo.load("i3ad", coverage=(0.5, 0.1))


def test_i3ad_identity_finds_nothing_in_one_step():
    normal = picture(96, 96)
    answers = []

    def identity(image, mask):  # fills in what was there
        answers.append(mask)
        return normal.copy()

    found = i3ad.repair(normal, identity, threshold=0.05)
    assert not found.mask.any()
    assert np.array_equal(found.image, normal)
    assert len(answers) == 2, "two checkerboards and no step more"
    assert np.array_equal(answers[0], ~answers[1])


def test_i3ad_oracle_repairs_a_defect():
    clean = picture(128, 128)
    image, defect = clean.copy(), np.zeros((128, 128), bool)
    defect[40:70, 50:90] = True
    image[defect] = picture(128, 128, seed=9)[defect]
    found = i3ad.repair(image, lambda seen, mask: clean.copy(), threshold=0.05)
    assert found.mask[defect].mean() >= 0.95
    assert np.array_equal(found.image[found.mask], clean[found.mask])
    assert np.array_equal(found.image[~found.mask], image[~found.mask])
    assert all(later <= earlier for earlier, later in zip(found.areas, found.areas[1:], strict=False))
    around = cv2.dilate(defect.astype(np.uint8), np.ones((17, 17))).astype(bool)
    assert found.score[defect].mean() > 10 * found.score[~around].mean()


def test_i3ad_takes_from_the_inpainter_what_it_asked_for_alone():
    clean = picture(128, 128)
    image, defect = clean.copy(), np.zeros((128, 128), bool)
    defect[40:70, 50:90] = True
    image[defect] = picture(128, 128, seed=9)[defect]

    def scribbler(seen, mask):  # right inside the mask, wrong everywhere else
        assert not seen[mask].any(), "it is not shown what it has to fill in"
        return np.where(mask[..., None], clean, 255 - clean).astype(np.uint8)

    # One step: with more, both would end at the same picture whatever happens on the way.
    tidy = i3ad.repair(image, lambda seen, mask: clean.copy(), threshold=0.05, steps=1)
    found = i3ad.repair(image, scribbler, threshold=0.05, steps=1)
    assert np.array_equal(found.image, tidy.image)
    assert np.array_equal(found.mask, tidy.mask)
    assert np.array_equal(found.score, tidy.score)


def test_i3ad_widens_its_mask_by_the_dilation():
    clean = picture(96, 96)
    image = clean.copy()
    image[40:60, 30:50] = 255 - image[40:60, 30:50]
    bare, wide = (
        i3ad.repair(image, lambda seen, mask: clean.copy(), threshold=0.05, steps=0, dilation=pixels).mask
        for pixels in (0, 3)
    )
    y, x = np.nonzero(bare)
    reach = [(slice(a - 3, a + 4), b) for a, b in ((y.min(), x[y.argmin()]), (y.max(), x[y.argmax()]))]
    assert all(wide[place].all() for place in reach)
    assert (wide & ~bare).any()
    assert not (wide & ~cv2.dilate(bare.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)).any()


def test_i3ad_threshold_is_a_percentile_on_normals():
    normals = [picture(64, 64, seed) for seed in range(3)]
    threshold = i3ad.calibrate(normals, inpaint.telea, 90)
    above = [i3ad.repair(normal, inpaint.telea, threshold, steps=0, dilation=0).mask.mean() for normal in normals]
    assert np.mean(above) == pytest.approx(0.1, abs=0.005)
    with pytest.raises(ValueError, match="no normals"):
        i3ad.calibrate([], inpaint.telea)


# -- RIAD ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(256, 256), (250, 333)])
def test_riad_parts_share_the_image_out(size):
    normal, synthesizer = picture(*size), ias_zoo.load("riad")
    cells = set()
    for seed in range(24):
        request = Request(seed=seed, normal=normal)
        parts = synthesizer.parts(request)
        (sample,) = synthesizer.synthesize([request])
        drawn = sample.recipe["drawn"]
        side = drawn["cell"]
        cells.add(side)
        assert np.array_equal(sum(mask.astype(int) for _, mask in parts), np.ones(size, int)), "hidden exactly once"
        grid = [mask[::side, ::side].sum() for _, mask in parts]
        assert max(grid) - min(grid) <= 1
        assert np.array_equal(sample.image, parts[drawn["part"]][0])
        assert np.array_equal(sample.mask, parts[drawn["part"]][1])
        for image, mask in parts:
            assert (image[mask] == 0).all()
            assert np.array_equal(image[~mask], normal[~mask])
    assert cells == {2, 4, 8, 16}


def test_riad_identity_gives_the_image_back():
    normal = picture(250, 333)
    seen = []

    def identity(image, mask):
        assert (image[mask] == 0).all()
        seen.append(mask)
        return normal.copy()

    assert np.array_equal(riad.reconstruct(normal, identity, 16, np.random.default_rng(0)), normal)
    assert len(seen) == 3
    assert riad.score_map(normal, lambda image, mask: normal.copy(), np.random.default_rng(0)).max() < 1e-6
    spoilt = normal.copy()
    spoilt[100:140, 100:140] = 255
    score = riad.score_map(spoilt, lambda image, mask: normal.copy(), np.random.default_rng(0))
    assert score[100:140, 100:140].mean() > 20 * score[:60, :60].mean()


def test_riad_in_small_regions_and_images():
    region = np.zeros((60, 60), bool)
    region[30:32, 30:33] = True
    for sample in samples("riad", 40, picture(60, 60), region=region):
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()
    for sample in samples("riad", 20, picture(1, 2)):
        assert sample.mask.any()
