"""NSA: what a sample changes, labels and records, and what a request may ask for."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
from smallpictures import pairs, product, texture

import ias_zoo
from ias_zoo.errors import RequestError
from ias_zoo.imaging import foreground, labels
from ias_zoo.imaging.patches import Box
from ias_zoo.imaging.poisson import poisson_blend
from ias_zoo.synthesizer import Request
from ias_zoo_handcrafted.nsa import REDRAWS


def difference(sample: Any, request: Request) -> Any:
    assert request.normal is not None
    return np.abs(sample.image.astype(int) - request.normal).mean(axis=2)


def union(sample: Any) -> Any:
    boxes = np.zeros(sample.mask.shape, bool)
    for patch in sample.recipe["drawn"]["patches"]:
        boxes[Box(*patch["destination"]).slices] = True
    return boxes


# ---------------------------------------------------------------------------------------------------- the sample


@pytest.mark.parametrize("kind", [texture, product])
@pytest.mark.parametrize("options", [{}, {"shape": "ellipses"}, {"blend": "swap"}, {"blend": "uniform"}])
def test_a_sample_changes_only_inside_its_boxes_and_labels_the_change(kind: Any, options: Any) -> None:
    synthesizer = ias_zoo.load("nsa", **options)
    for request in pairs(kind, 12):
        sample: Any = synthesizer.synthesize([request])[0]
        changed = difference(sample, request)
        assert not changed[~union(sample)].any()
        assert sample.mask.any()
        assert changed[sample.mask].mean() > 1
        assert sample.image.dtype == np.uint8
        assert sample.mask.dtype == np.bool_
        assert sample.label_map.dtype == np.float32
        assert (sample.label_map[~sample.mask] == 0).all()
        assert (sample.label_map[sample.mask] > 0).all()
        assert sample.label_map.max() <= 1


@pytest.mark.parametrize(
    ("kind", "options", "most"),
    [
        (texture, {}, 0.03),
        (texture, {"shape": "ellipses"}, 0.03),
        (product, {}, 0.10),
        (product, {"shape": "ellipses"}, 0.10),
        (product, {"shape": "ellipses", "exact_mask": True}, 0.0),
        (texture, {"exact_mask": True}, 0.0),
    ],
)
def test_little_of_the_change_is_unlabelled(kind: Any, options: Any, most: float) -> None:
    synthesizer = ias_zoo.load("nsa", label="binary", **options)
    unlabelled: Any = 0
    changed: Any = 0
    for request in pairs(kind, 60):
        (sample,) = synthesizer.synthesize([request])
        visible = difference(sample, request) > 1
        unlabelled += np.count_nonzero(visible & ~sample.mask)
        changed += np.count_nonzero(visible)
    assert unlabelled <= most * changed


def test_exact_mask_restores_every_other_pixel() -> None:
    for request in pairs(product, 8):
        (sample,) = ias_zoo.load("nsa", exact_mask=True).synthesize([request])
        assert request.normal is not None
        np.testing.assert_array_equal(sample.image[~sample.mask], request.normal[~sample.mask])
        (plain,) = ias_zoo.load("nsa").synthesize([request])
        np.testing.assert_array_equal(plain.mask, sample.mask)
        np.testing.assert_array_equal(plain.image[sample.mask], sample.image[sample.mask])


@pytest.mark.parametrize("options", [{}, {"shape": "ellipses", "blend": "mixed"}, {"label": "intensity"}])
def test_the_same_request_gives_the_same_bytes_and_inputs_stay(options: Any) -> None:
    normal, source = product(1), product(2)
    normal.flags.writeable = source.flags.writeable = False
    request = Request(seed=3, normal=normal, source=source)
    one, two = (ias_zoo.load("nsa", **options).synthesize([request])[0] for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.label_map is not None
    assert two.label_map is not None
    assert one.label_map.tobytes() == two.label_map.tobytes()
    assert one.recipe == two.recipe
    (other,) = ias_zoo.load("nsa", **options).synthesize([dataclasses.replace(request, seed=4)])
    assert other.image.tobytes() != one.image.tobytes()


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (37, 91), (91, 37), (255, 257), (1100, 900)])
@pytest.mark.parametrize("kind", [texture, product])
def test_any_size_gives_a_defect(size: tuple[int, int], kind: Any) -> None:
    for seed in range(4):
        request = Request(seed=seed, normal=kind(1, *size), source=kind(2, *size))
        (sample,) = ias_zoo.load("nsa").synthesize([request])
        assert sample.image.shape == (*size, 3)
        assert sample.mask.any()


@pytest.mark.parametrize("size", [(1, 300), (300, 15)])
def test_images_too_small_for_a_patch_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match="at least 16 pixels"):
        ias_zoo.load("nsa").synthesize([Request(seed=0, normal=texture(0, *size), source=texture(1))])


def test_equal_flat_images_have_no_defect_to_offer() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    (sample,) = ias_zoo.load("nsa").synthesize([Request(seed=0, normal=flat, source=flat)])
    assert not sample.mask.any()
    np.testing.assert_array_equal(sample.image, flat)
    assert sample.recipe["drawn"]["redraws"] == REDRAWS


def test_a_source_of_another_size_is_resized() -> None:
    small = texture(2, 128, 100)
    resized = cv2.resize(small, (256, 256), interpolation=cv2.INTER_LINEAR)
    (one,) = ias_zoo.load("nsa").synthesize([Request(seed=1, normal=texture(1), source=small)])
    (two,) = ias_zoo.load("nsa").synthesize([Request(seed=1, normal=texture(1), source=resized)])
    np.testing.assert_array_equal(one.image, two.image)
    region = np.zeros((128, 100), bool)
    region[40:90, 20:90] = True
    (sample,) = ias_zoo.load("nsa").synthesize([Request(seed=1, normal=texture(1), source=small, source_region=region)])
    assert sample.mask.any()


@pytest.mark.parametrize("kind", [texture, product])
@pytest.mark.parametrize("options", [{}, {"shape": "ellipses"}])
def test_a_region_bounds_the_mask_and_the_change(kind: Any, options: Any) -> None:
    region = np.zeros((256, 256), bool)
    region[90:170, 60:200] = True
    region[::6, ::6] = False  # pinholes, which a median would fill
    for request in pairs(kind, 10, region=region):
        (sample,) = ias_zoo.load("nsa", **options).synthesize([request])
        assert sample.mask.any()
        assert not sample.mask[~region].any()
        assert not difference(sample, request)[~region].any()


def test_a_source_region_without_a_pixel_is_refused() -> None:
    nothing = np.zeros((256, 256), bool)
    with pytest.raises(RequestError, match="source_region"):
        ias_zoo.load("nsa").synthesize(pairs(texture, 1, source_region=nothing))


def test_no_product_gives_the_normal_back_and_says_so() -> None:
    (request,) = pairs(texture, 1)
    (sample,) = ias_zoo.load("nsa", background=[[128.0, 120.0]]).synthesize([request])
    assert not sample.mask.any()
    assert request.normal is not None
    np.testing.assert_array_equal(sample.image, request.normal)
    assert sample.recipe["drawn"]["product"] == [0, 0]


@pytest.mark.parametrize("side", [12, 30])
@pytest.mark.parametrize("size", [256, 640])
def test_small_regions_are_served(side: int, size: int) -> None:
    region = np.zeros((size, size), bool)
    region[50 : 50 + side, 170 : 170 + side] = True
    found: Any = 0
    for seed in range(10):
        pair = texture(1, size, size), texture(2, size, size)
        (sample,) = ias_zoo.load("nsa").synthesize([Request(seed=seed, normal=pair[0], source=pair[1], region=region)])
        found += sample.mask.any()
        assert not sample.mask[~region].any()
    assert found == 10


def test_patches_come_from_the_source_region() -> None:
    region = np.zeros((256, 256), bool)
    region[:, :90] = True
    for request in pairs(texture, 12, source_region=region):
        (sample,) = ias_zoo.load("nsa", min_object_share=0.9).synthesize([request])
        for patch in sample.recipe["drawn"]["patches"]:
            assert region[Box(*patch["source"]).slices].mean() > 0.9


def test_a_swap_puts_the_source_exactly_where_the_recipe_says() -> None:
    for request in pairs(texture, 10):
        (sample,) = ias_zoo.load("nsa", blend="swap", resize=False, patches=1).synthesize([request])
        assert request.source is not None
        assert request.normal is not None
        (patch,) = sample.recipe["drawn"]["patches"]
        expected = request.normal.copy()
        expected[Box(*patch["destination"]).slices] = request.source[Box(*patch["source"]).slices]
        np.testing.assert_array_equal(sample.image, expected)


def test_patches_reach_over_the_product_on_every_side() -> None:
    region = np.zeros((256, 256), bool)
    region[100:160, 90:170] = True
    synthesizer = ias_zoo.load("nsa", resize=False, min_object_share=0.1, min_overlap_share=0.0)
    for end, fields in (("destination", {"region": region}), ("source", {"source_region": region})):
        boxes = np.array(
            [
                patch[end]
                for request in pairs(texture, 60, **fields)
                for patch in synthesizer.synthesize([request])[0].recipe["drawn"]["patches"]
            ]
        )
        top, left, height, width = boxes.T
        out = [(top < 100).mean(), (left < 90).mean(), (top + height > 160).mean(), (left + width > 170).mean()]
        assert min(out) > 0.2


@pytest.mark.parametrize(("kind", "mixed"), [(texture, True), (product, False)])
def test_a_blend_is_the_poisson_blend_of_the_framed_patch(kind: Any, mixed: bool) -> None:
    synthesizer = ias_zoo.load("nsa", blend="mixed" if mixed else "normal", resize=False, patches=1)
    for request in pairs(kind, 10):
        (sample,) = synthesizer.synthesize([request])
        assert request.source is not None
        assert request.normal is not None
        (patch,) = sample.recipe["drawn"]["patches"]
        box = Box(*patch["destination"])
        inner = np.zeros((box.height, box.width), bool)
        inner[1:-1, 1:-1] = True  # product or background alike
        pixels = request.source[Box(*patch["source"]).slices]
        expected = poisson_blend(request.normal, pixels, box.top, box.left, inner, mixed=mixed)
        np.testing.assert_array_equal(sample.image, expected)


def test_background_in_both_images_is_not_labelled() -> None:
    synthesizer = ias_zoo.load(
        "nsa", preset="bottle", resize=False, label="binary", tolerance=0.0, min_object_share=0.3
    )
    left_out = 0
    for request in pairs(product, 30):
        (sample,) = synthesizer.synthesize([request])
        assert request.normal is not None
        assert request.source is not None
        there = foreground.tone_distance(request.normal, [(200, 60)])
        here = foreground.tone_distance(request.source, [(200, 60)])
        may = np.zeros(sample.mask.shape, np.uint8)
        for patch in sample.recipe["drawn"]["patches"]:
            box = Box(*patch["destination"])
            may[box.slices] |= here[Box(*patch["source"]).slices] | there[box.slices]
        reach = cv2.dilate(may, np.ones((5, 5), np.uint8)).astype(bool)  # of the 5 x 5 median
        assert not (sample.mask & ~reach).any()
        left_out += int(np.count_nonzero((difference(sample, request) > 0) & ~reach))
    assert left_out > 1000  # there was something not to label


@pytest.mark.parametrize("ellipses", [False, True])
def test_a_patch_meets_product_at_both_ends(ellipses: bool) -> None:
    shape = "ellipses" if ellipses else "rectangle"
    synthesizer = ias_zoo.load(
        "nsa", preset="bottle", min_object_share=0.6, min_overlap_share=0.4, resize=False, shape=shape
    )
    for request in pairs(product, 30):
        (sample,) = synthesizer.synthesize([request])
        assert request.normal is not None
        assert request.source is not None
        there = foreground.tone_distance(request.normal, [(200, 60)])
        here = foreground.tone_distance(request.source, [(200, 60)])
        for patch in sample.recipe["drawn"]["patches"]:
            own, other = here[Box(*patch["source"]).slices], there[Box(*patch["destination"]).slices]
            assert own.mean() > 0.6
            assert (own & other).sum() > 0.4 * own.sum()


@pytest.mark.parametrize("label", ["binary", "continuous", "intensity", "logistic"])
def test_labels_do_not_change_the_picture_but_for_the_factor(label: str) -> None:
    (request,) = pairs(texture, 1)
    (reference,) = ias_zoo.load("nsa", label="binary", preset="tile").synthesize([request])
    sample: Any = ias_zoo.load("nsa", label=label, preset="tile").synthesize([request])[0]
    if label != "continuous":
        np.testing.assert_array_equal(sample.image, reference.image)
        np.testing.assert_array_equal(sample.mask, reference.mask)
    assert request.normal is not None
    d = labels.median_difference(request.normal, sample.image, sample.mask)
    m = sample.mask.astype(np.float32)
    expected = {
        "binary": m,
        "continuous": m * sample.recipe["drawn"].get("factor", 1.0),
        "intensity": d,
        "logistic": m / (1 + np.exp(-(d - 7) / 3)),
    }[label]
    np.testing.assert_allclose(sample.label_map, expected, atol=1e-5)
