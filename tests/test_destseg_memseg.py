"""DeSTSeg's and MemSeg's anomaly generators against their laws, and the steps they share with DRAEM's."""

from __future__ import annotations

import math
from collections import Counter

import cv2
import numpy as np
import pytest

import ias_zoo
from ias_zoo import Request
from ias_zoo.imaging.affine import turn_normal
from ias_zoo.imaging.foreground import otsu_foreground, threshold_foreground
from ias_zoo.imaging.noise import perlin_mask
from ias_zoo.imaging.photometric import apply_operations
from ias_zoo.imaging.tiles import permute_tiles
from ias_zoo_handcrafted.destseg import ROTATION
from ias_zoo_handcrafted.memseg import FOREGROUND, PAPER_OPERATIONS

CATEGORIES = {
    "off": ("capsule", "metal_nut", "pill", "toothbrush", "transistor"),
    "small": ("wood", "zipper", "cable"),
    "quarters": ("bottle", "grid", "hazelnut", "leather", "tile", "carpet", "screw"),
}


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def samples(name, count, normal, region=None, mask=None, **options):
    requests = [Request(seed=seed, normal=normal, region=region, mask=mask) for seed in range(count)]
    return ias_zoo.load(name, **options).synthesize(requests)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two small texture pictures."""
    path = tmp_path_factory.mktemp("textures")
    for seed in range(2):
        cv2.imwrite(str(path / f"{seed}.png"), picture(64, 64, seed))
    return path


def resized(folder, drawn, height, width):
    texture = cv2.cvtColor(cv2.imread(str(folder / drawn["picture"])), cv2.COLOR_BGR2RGB)
    return cv2.resize(texture, (width, height), interpolation=cv2.INTER_LINEAR)


# -- destseg ---------------------------------------------------------------------------------------------------------


def test_it_is_draem_without_augmentation_and_gate(folder) -> None:
    normal = picture(96, 80, 5)
    draem = ias_zoo.load("draem", textures=str(folder), operations=0, retry_empty=False)
    destseg = ias_zoo.load("destseg", textures=str(folder), retry_empty=False)
    for seed in range(40):
        request = Request(seed=seed, normal=normal)
        rng = np.random.default_rng(seed)
        rng.random(2)  # DRAEM's two coins: turn the normal? leave it clean?
        one, other = draem.draw(request, np.random.default_rng(seed)), destseg.draw(request, rng)
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.mask, other.mask)


def test_inside_is_the_resized_texture_itself(folder) -> None:
    normal = picture(100, 70, 7)
    for sample in samples("destseg", 40, normal, textures=str(folder)):
        drawn = sample.recipe["drawn"]
        texture = resized(folder, drawn["texture"], 100, 70).astype(np.float64)
        expected = drawn["b"] * normal + (1 - drawn["b"]) * texture
        assert np.abs(sample.image[sample.mask] - expected[sample.mask]).max() <= 0.5 + 1e-3
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        assert "operations" not in drawn


def test_never_clean_but_for_empty_noise(folder) -> None:
    found = samples("destseg", 500, picture(256, 256), textures=str(folder), retry_empty=False)
    empty = [sample for sample in found if not sample.mask.any()]
    assert len(empty) / 500 == pytest.approx(0.05, abs=0.035)
    assert all(sample.recipe["drawn"]["anomalous"] == sample.mask.any() for sample in found)
    assert np.mean([sample.mask.mean() for sample in found]) == pytest.approx(0.049, abs=0.008)
    assert all(sample.mask.any() for sample in samples("destseg", 60, picture(40, 50), textures=str(folder)))


def test_opacities_of_both_variants(folder) -> None:
    for variant, low in (("code", 0.2), ("paper", 0.15)):
        found = samples("destseg", 500, picture(16, 16), textures=str(folder), variant=variant)
        opacity = 1 - np.array([sample.recipe["drawn"]["b"] for sample in found])
        assert low <= opacity.min() < low + 0.02
        assert 0.98 < opacity.max() <= 1
        assert opacity.mean() == pytest.approx((1 + low) / 2, abs=3 * (1 - low) / math.sqrt(12 * 500))


@pytest.mark.parametrize(("how", "names"), CATEGORIES.items())
def test_each_category_is_turned_in_its_way(folder, how, names) -> None:
    assert {name for name, way in ROTATION.items() if way == how} == {how, *names}
    found = samples("destseg", 120, picture(32, 32), textures=str(folder), rotate_normal=names[0])
    turns = [sample.recipe["drawn"].get("normal_degrees") for sample in found]
    if how == "off":
        assert set(turns) == {None}
        return
    quarter = np.round(np.array(turns) / 90).astype(int)
    assert np.abs(np.array(turns) - 90 * quarter).max() <= 5
    assert set(quarter) == ({0, 1, 2, 3} if how == "quarters" else {0})


def test_turned_normals_have_grey_corners_and_a_turned_region(folder) -> None:
    normal = np.full((60, 90, 3), 200, np.uint8)
    image, _ = turn_normal(normal, None, 45.0, fill=114)
    assert (image[0, 0] == 114).all()
    assert np.abs(image[30, 45].astype(int) - 200).max() <= 1
    assert image.min() >= 113
    region = np.zeros((60, 90), np.bool_)
    region[20:40, 30:60] = True
    for sample in samples("destseg", 20, normal, region=region, rotate_normal="quarters", textures=str(folder)):
        turned = turn_normal(normal, region, sample.recipe["drawn"]["normal_degrees"], fill=114)
        assert sample.mask.any()
        assert not (sample.mask & ~turned[1]).any()
        assert np.array_equal(sample.image[~sample.mask], turned[0][~sample.mask])
    corner = np.zeros((16, 200), np.bool_)
    corner[:, :3] = True
    assert turn_normal(np.zeros((16, 200, 3), np.uint8), corner, 90.0) is None


# -- memseg ----------------------------------------------------------------------------------------------------------


def test_structure_is_a_permutation_of_the_images_tiles() -> None:
    normal = picture(64, 96, 3)
    whole = np.ones((64, 96), np.bool_)
    for sample in samples(
        "memseg", 20, normal, mask=whole, structure_probability=1.0, operations=0, opacity=(1.0, 1.0)
    ):
        drawn = sample.recipe["drawn"]
        assert sorted(drawn["tiles"]) == list(range(64))
        assert np.array_equal(sample.image, permute_tiles(normal, 8, 8, np.array(drawn["tiles"])))
        assert _tiles(sample.image, 8, 8) == _tiles(normal, 8, 8)


def _tiles(image, rows, columns):
    tall, wide = image.shape[0] // rows, image.shape[1] // columns
    return Counter(
        image[r * tall : (r + 1) * tall, c * wide : (c + 1) * wide].tobytes()
        for r in range(rows)
        for c in range(columns)
    )


def test_tiles_go_where_the_order_says_and_odd_sizes_are_continued() -> None:
    image = np.repeat(np.arange(6, dtype=np.uint8).reshape(2, 3), 4, axis=0).repeat(5, axis=1)
    image = np.repeat(image[..., None], 3, axis=2)  # 8 x 15, tile k holds the level k
    moved = permute_tiles(image, 2, 3, np.array([5, 4, 3, 2, 1, 0]))
    assert moved[::4, ::5, 0].tolist() == [[5, 4, 3], [2, 1, 0]]
    for size in ((1, 1), (3, 5), (7, 100), (61, 33)):
        odd = picture(*size)
        same = permute_tiles(odd, 8, 8, np.arange(64))
        assert np.array_equal(same, odd)
        assert permute_tiles(odd, 8, 8, np.random.default_rng(0).permutation(64)).shape == odd.shape


def test_source_and_opacity_laws(folder) -> None:
    found = [s.recipe["drawn"] for s in samples("memseg", 900, picture(24, 24), textures=str(folder), preset="texture")]
    share = np.mean([drawn["source"] == "structure" for drawn in found])
    assert share == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(900))
    delta = np.array([drawn["delta"] for drawn in found])
    assert 0.15 <= delta.min() < 0.16
    assert 0.99 < delta.max() <= 1
    assert delta.mean() == pytest.approx(0.575, abs=3 * 0.85 / math.sqrt(12 * 900))
    for drawn in found:
        if drawn["source"] == "structure":
            assert len({operation["name"] for operation in drawn["operations"]}) == 3
        else:
            assert "operations" not in drawn


def test_inside_is_the_documented_mix(folder) -> None:
    normal = picture(72, 56, 9)
    for sample in samples("memseg", 60, normal, textures=str(folder), preset="texture"):
        drawn = sample.recipe["drawn"]
        if drawn["source"] == "texture":
            source = resized(folder, drawn["texture"], 72, 56)
        else:
            source = permute_tiles(apply_operations(normal, drawn["operations"]), 8, 8, np.array(drawn["tiles"]))
        expected = drawn["delta"] * source.astype(np.float64) + (1 - drawn["delta"]) * normal
        assert np.abs(sample.image[sample.mask] - expected[sample.mask]).max() <= 0.5 + 1e-3
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])


def test_papers_structure() -> None:
    found = samples("memseg", 200, picture(32, 32), variant="paper", structure_probability=1.0)
    drawn = [sample.recipe["drawn"] for sample in found]
    assert {operation["name"] for d in drawn for operation in d["operations"]} == set(PAPER_OPERATIONS)
    assert {len(d["tiles"]) for d in drawn} == {32}
    for axis in (0, 1):
        assert np.mean([axis in d["mirrored_axes"] for d in drawn]) == pytest.approx(0.5, abs=0.11)
    assert not any(
        s.recipe["drawn"]["mirrored_axes"] for s in samples("memseg", 30, picture(8, 8), structure_probability=1.0)
    )


@pytest.mark.parametrize("category", sorted(FOREGROUND))
def test_the_mask_lies_in_the_published_foreground(category) -> None:
    normal = np.full((80, 80, 3), 255 if FOREGROUND[category][1] == "darker" else 0, np.uint8)
    level, side = FOREGROUND[category]
    cv2.circle(normal, (40, 40), 25, [int(level) - 30 if side == "darker" else int(level) + 30] * 3, cv2.FILLED)
    where = threshold_foreground(normal, level, side)
    assert 0.2 < where.mean() < 0.4
    for sample in samples("memseg", 12, normal, preset=category):
        assert sample.mask.any()
        assert not (sample.mask & ~where).any()
        assert sample.recipe["drawn"]["product"] == pytest.approx(where.mean())


def test_foreground_where_there_is_no_table() -> None:
    normal = np.full((80, 80, 3), 230, np.uint8)
    cv2.circle(normal, (40, 40), 25, (60, 60, 60), cv2.FILLED)
    where = otsu_foreground(normal)
    for sample in samples("memseg", 12, normal):
        assert not (sample.mask & ~where).any()
    everywhere = np.zeros((80, 80), np.bool_)
    for preset in (
        "texture",
        "carpet",
        "cable",
        "hazelnut",
    ):  # hazelnut: nothing is brighter than 50 on a black picture
        for sample in samples("memseg", 12, np.zeros((80, 80, 3), np.uint8), preset=preset):
            everywhere |= sample.mask
            assert sample.recipe["drawn"]["product"] == 1.0
    assert everywhere[:15].any()
    region = np.zeros((80, 80), np.bool_)
    region[:10, :10] = True
    for sample in samples("memseg", 12, normal, region=region):
        assert not (sample.mask & ~region).any()
    for sample in samples("memseg", 5, normal, mask=region):
        assert np.array_equal(sample.mask, region)


def test_an_empty_mask_is_never_called_anomalous() -> None:
    found = samples("memseg", 300, picture(64, 64), retry_empty=False, preset="texture")
    assert any(not sample.mask.any() for sample in found)
    assert all(sample.recipe["drawn"]["anomalous"] == sample.mask.any() for sample in found)


# -- what they share -------------------------------------------------------------------------------------------------


def test_masks_are_copies_of_a_given_one_within_the_region() -> None:
    given, region = np.zeros((9, 12), np.bool_), np.zeros((9, 12), np.bool_)
    given[2:7, 3:5], region[:4] = True, True
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    mask, drawn = perlin_mask((9, 12), rng, given=given)
    assert np.array_equal(mask, given)
    assert not np.shares_memory(mask, given)
    assert drawn == {}
    assert rng.bit_generator.state == before
    assert np.array_equal(perlin_mask((9, 12), rng, given=given, region=region)[0], given & region)


@pytest.mark.parametrize("name", ["destseg", "memseg"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (37, 91), (250, 333)])
def test_any_size(name, size) -> None:
    normal = picture(*size)
    for options in ({}, {"variant": "paper"}):
        for sample in samples(name, 6, normal, **options):
            assert sample.image.shape == normal.shape
            assert sample.mask.any()
            assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
