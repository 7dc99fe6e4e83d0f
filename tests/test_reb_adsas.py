"""REB's DefectMaker and ADSAS against their laws, and the shapes and placements they share with others."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

import ias_zoo
from ias_zoo import Request
from ias_zoo.imaging.foreground import otsu_foreground
from ias_zoo.imaging.placement import BoxCounter, place_covered
from ias_zoo.imaging.shapes import bezier_blob, coarse_noise, noise_clump, smooth_outline
from ias_zoo_handcrafted.reb_defectmaker import KINDS, noise_fill, soften

SIZES = [(1, 1), (1, 40), (3, 2), (37, 91), (250, 333)]


def picture(height=256, width=256, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def product(height=96, width=128):
    """A dark oval on a bright ground, both with grain, and where it is."""
    rng, mask = np.random.default_rng(3), np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 4), 20, 0, 360, 1, cv2.FILLED)
    grey = np.where(mask > 0, 70, 220)[..., None] + rng.integers(-8, 9, (height, width, 3))
    return grey.astype(np.uint8), mask.astype(np.bool_)


def reb(count, normal, source, region=None, defect=None, source_region=None, **options):
    requests = [
        Request(seed=seed, normal=normal, source=source, region=region, source_region=source_region, defect=defect)
        for seed in range(count)
    ]
    return ias_zoo.load("reb_defectmaker", **({"foreground": "all"} | options)).synthesize(requests)


def adsas(count, normal, region=None, **options):
    requests = [Request(seed=seed, normal=normal, region=region) for seed in range(count)]
    return ias_zoo.load("adsas", **options).synthesize(requests)


# -- shapes ----------------------------------------------------------------------------------------------------------


def test_a_blob_is_one_piece_and_fills_its_box() -> None:
    rng, ratios, clumps = np.random.default_rng(0), [], []
    for _ in range(600):
        height, width = (int(side) for side in rng.integers(15, 100, 2))
        blob = bezier_blob(height, width, rng)
        assert cv2.connectedComponents(blob.view(np.uint8), connectivity=8)[0] == 2
        assert blob[0].any() and blob[-1].any() and blob[:, 0].any() and blob[:, -1].any()  # noqa: PT018
        ratios.append(blob.mean())
        clumps.append(noise_clump(height, width, rng).mean())
    assert 0.45 < np.mean(ratios) < 0.6
    assert 0.08 < np.mean(clumps) < 0.27


def test_a_closed_curve_by_hand() -> None:
    """A square: the shifted midpoints lie on the tangent through each corner, so all four corners look alike."""
    square = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    straight = np.ones(4, np.bool_)
    assert np.allclose(smooth_outline(square, 0.3, straight), square), "a straight segment keeps its corner alone"
    curve = smooth_outline(square, 0.0, ~straight)
    assert curve.shape == (44, 2)
    # At corner (0, 0) the midpoints (0, 2) and (2, 0) are divided at (1, 1); moved by (-1, -1): (-1, 1) and (1, -1).
    t = 1 / 11
    out, back = np.array([1.0, -1.0]), np.array([3.0, -1.0])
    expected = 3 * t * (1 - t) ** 2 * out + 3 * t**2 * (1 - t) * back + t**3 * square[1]
    assert np.allclose(curve[1], expected)
    pulled = smooth_outline(square, 1.0, ~straight)
    assert np.allclose(np.linalg.norm(pulled - curve, axis=1) > 0, np.arange(44) % 11 > 0)
    assert np.allclose(pulled[:11, 1], 0), "a pull of 1 puts the controls onto the corners"


def test_coarse_noise_has_its_levels_and_cells() -> None:
    rng = np.random.default_rng(0)
    flat = coarse_noise(30, 20, 5, 4, (77, 77), 3, rng)
    assert flat.shape == (30, 20, 3)
    assert (flat == 77).all()
    full = coarse_noise(60, 50, 60, 50, (10, 12), 2, rng)
    assert set(np.unique(full)) == {10, 11, 12}
    assert abs(np.corrcoef(full[..., 0].ravel(), full[..., 1].ravel())[0, 1]) < 0.08


# -- reb_defectmaker -------------------------------------------------------------------------------------------------


def test_hard_opaque_fill_is_exactly_the_source_inside_and_the_normal_outside() -> None:
    normal, source = picture(seed=1), picture(200, 300, seed=2)
    for sample in reb(60, normal, source, jitter=0.0, soft_edge=0.0, clump_weight=(1.0, 1.0), fills=["cut"]):
        drawn = sample.recipe["drawn"]
        (top, left, height, width), (y, x, *size) = drawn["destination"], drawn["fill"]["source"]
        assert [height, width] == size
        inside = sample.mask[top : top + height, left : left + width]
        assert inside.sum() == sample.mask.sum() > 0
        image = sample.image[top : top + height, left : left + width]
        assert np.array_equal(image[inside], source[y : y + height, x : x + width][inside])
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])


def test_the_mask_is_exact_with_soft_edges_too() -> None:
    normal = picture(seed=1)
    for sample in reb(40, normal, picture(seed=2), soft_edge=1.0):
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        assert sample.recipe["drawn"]["soft"]


def test_areas_by_shape() -> None:
    normal, source = picture(), picture(seed=1)
    share = {
        shape: [s.mask.mean() for s in reb(count, normal, source, shapes=[shape], soft_edge=0.0, fills=["noise"])]
        for shape, count in (("bezier", 1500), ("scar", 500), ("clump", 500))
    }
    low, median, high = np.percentile(share["bezier"], [5, 50, 95])
    assert (low, median, high) == pytest.approx((0.011, 0.038, 0.084), rel=0.2)
    assert np.median(share["scar"]) == pytest.approx(0.0023, rel=0.2)
    assert np.median(share["clump"]) == pytest.approx(0.014, rel=0.25)


def test_the_box_is_centred_on_the_product_unless_the_border_stops_it() -> None:
    normal, region = product()
    found = otsu_foreground(normal)
    assert 0.05 < found.mean() < 0.95
    for sample in reb(120, normal, normal, foreground="otsu", soft_edge=0.0):
        for box, where in (
            (sample.recipe["drawn"]["destination"], found),
            (sample.recipe["drawn"]["fill"].get("source", None), found),
        ):
            if box is None:
                continue
            top, left, height, width = box
            stopped = top == 0 or left == 0 or top + height == where.shape[0] or left + width == where.shape[1]
            assert where[top + height // 2, left + width // 2] or stopped
    for sample in reb(60, normal, normal, region=region):
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()


def test_noise_fill_keeps_to_its_levels() -> None:
    rng = np.random.default_rng(0)
    seen = {"mean": set(), "spread": set(), "cell": set(), "stretch": set()}
    for _ in range(800):
        noise, drawn = noise_fill(int(rng.integers(5, 60)), int(rng.integers(5, 60)), rng)
        assert abs(noise.mean() - drawn["mean"]) <= drawn["spread"] + 1
        for key, values in seen.items():
            values.add(drawn[key])
        if drawn["spread"] == 0:
            assert (noise == drawn["mean"]).all()
    assert seen["mean"] == set(range(50, 191, 10))
    assert seen["spread"] == set(range(0, 46, 5))
    assert (seen["cell"], seen["stretch"]) == ({1, 2, 4}, {0.25, 0.5, 1.0, 2.0, 4.0})


def test_six_kinds_in_the_published_order_all_different() -> None:
    normal = picture(96, 128)
    synthesizer = ias_zoo.load("reb_defectmaker")
    samples = synthesizer.six(Request(seed=3, normal=normal, source=picture(96, 128, 1), region=None))
    assert tuple(sample.defect for sample in samples) == KINDS
    assert tuple(sample.recipe["drawn"]["kind"] for sample in samples) == KINDS
    assert len({sample.image.tobytes() for sample in samples}) == 6
    kinds = [s.defect for s in reb(600, picture(64, 64), picture(64, 64, 1))]
    for kind in KINDS:
        assert kinds.count(kind) / 600 == pytest.approx(1 / 6, abs=4 * math.sqrt(5 / 36 / 600))
    (named,) = reb(1, normal, normal, defect="scratch")
    assert named.defect == "scratch"
    assert {s.defect for s in reb(20, normal, normal, shapes=["scar"], fills=["noise"])} == {"scar_noise"}


def test_weights_edges_and_angles() -> None:
    normal, source = picture(64, 64), picture(64, 64, 1)
    drawn = [s.recipe["drawn"] for s in reb(600, normal, source)]
    soft = np.mean([d["soft"] for d in drawn])
    assert soft == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(600))
    clump = [d["weight"] for d in drawn if d["kind"].startswith("clump")]
    assert 0.5 <= min(clump) < 0.52
    assert 0.98 < max(clump) <= 1
    assert {d["weight"] for d in drawn if not d["kind"].startswith("clump")} == {1.0}
    scars = [d["shape"] for d in (s.recipe["drawn"] for s in reb(500, picture(), picture(), shapes=["scar"]))]
    assert {s["width"] for s in scars} == set(range(7, 22))
    assert {s["height"] for s in scars} == set(range(15, 31))
    assert (min(s["degrees"] for s in scars), max(s["degrees"] for s in scars)) == (-45, 45)
    half = [s.recipe["drawn"]["shape"]["height"] for s in reb(100, normal, source, shapes=["scar"], scale_sizes=True)]
    absolute = [
        s.recipe["drawn"]["shape"]["height"] for s in reb(100, normal, source, shapes=["scar"], scale_sizes=False)
    ]
    assert max(half) <= 8
    assert min(absolute) >= 15


def test_softening_stays_by_the_shape_and_never_wipes_it_out() -> None:
    disc = cv2.circle(np.zeros((41, 41), np.uint8), (20, 20), 20, 1, cv2.FILLED).astype(np.bool_)
    for kernel in (3.0, 5.0, 9.0):
        alpha = soften(disc, kernel)
        assert alpha[20, 20] == pytest.approx(1)
        assert 0 < alpha[20, 1] < 1
        assert alpha[~disc].max() < 0.15  # the blur is square, the erosion round: a little beyond the rim
        rim = cv2.dilate(disc.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not alpha[~rim].any()
    line = np.zeros((9, 9), np.bool_)
    line[4] = True
    assert np.array_equal(soften(line, 5.0), line.astype(np.float32))


@pytest.mark.parametrize(("shape", "kernel"), [("bezier", 5), ("scar", 3), ("clump", 3)])
def test_each_shapes_edge_is_as_soft_as_published(shape, kernel) -> None:
    """White on black shows the weights; across an edge they rise by the middle of a Gaussian as wide as its sigma."""
    black, white = np.zeros((256, 256, 3), np.uint8), np.full((256, 256, 3), 255, np.uint8)
    options = {"shapes": [shape], "fills": ["cut"], "soft_edge": 1.0, "jitter": 0.0, "clump_weight": (1.0, 1.0)}
    taps = np.exp(-0.5 * (np.arange(-(kernel // 2), kernel // 2 + 1) / kernel) ** 2)
    pictures = [sample.image[..., 0].astype(np.float64) / 255 for sample in reb(30, black, white, **options)]
    steepest = [np.abs(np.diff(levels, axis=axis)).max() for levels in pictures for axis in (0, 1)]
    assert np.median(steepest) == pytest.approx((taps / taps.sum()).max(), abs=0.02)


# -- adsas -----------------------------------------------------------------------------------------------------------


def test_without_augmentation_and_product_it_is_cutpaste() -> None:
    normal = picture(120, 90)
    plain = ias_zoo.load("cutpaste", jitter=0.0)
    for options in ({"region": np.ones((120, 90), np.bool_)}, {"foreground": "all"}):
        for seed, sample in enumerate(adsas(30, normal, augmentations=(0, 0), **options)):
            (expected,) = plain.synthesize([Request(seed=seed, normal=normal)])
            assert np.array_equal(sample.image, expected.image)
            assert np.array_equal(sample.mask, expected.mask)


def test_source_and_destination_lie_on_the_product() -> None:
    normal, region = product()
    found = otsu_foreground(normal)
    for where, given in ((found, None), (region, region)):
        for sample in adsas(80, normal, region=given):
            assert sample.mask.any()
            assert not (sample.mask & ~where).any()
            assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
            for key in ("source", "destination"):
                top, left, height, width = sample.recipe["drawn"][key]
                assert where[top : top + height, left : left + width].mean() >= 0.9


def test_a_slender_product_gets_patches_along_its_whole_length() -> None:
    """A bar with a broad head: most of the patches are on the bar, as most of the product is."""
    region = np.zeros((120, 240), np.bool_)
    region[50:70, 40:], region[20:100, :40] = True, True
    on_bar = [sample.mask[:, 40:].sum() > sample.mask[:, :40].sum() for sample in adsas(150, picture(120, 240), region)]
    assert np.mean(on_bar) > 0.3


@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_any_region(size) -> None:
    normal, tiny = picture(*size), np.zeros(size, np.bool_)
    tiny[size[0] // 2, size[1] // 2] = True
    for sample in [
        *adsas(15, normal),
        *adsas(15, normal, tiny),
        *reb(15, normal, picture(9, 7)),
        *reb(15, normal, normal),
    ]:
        assert sample.image.shape == normal.shape
        assert sample.mask.any()
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
    for sample in adsas(15, normal, tiny):
        assert np.array_equal(sample.mask, tiny)


def test_one_to_three_of_nine_augmentations_within_their_ranges() -> None:
    drawn = [s.recipe["drawn"]["augmentations"] for s in adsas(900, picture(64, 64), foreground="all")]
    counts = np.bincount([len(changes) for changes in drawn], minlength=4)
    assert counts[0] == 0
    assert counts[1:] / 900 == pytest.approx([1 / 3] * 3, abs=4 * math.sqrt(2 / 9 / 900))
    values: dict[str, list[float]] = {}
    for changes in drawn:
        assert len({change["name"] for change in changes}) == len(changes)
        for change in changes:
            for key, value in change.items():
                if key != "name":
                    values.setdefault(f"{change['name']}.{key}", []).append(value)
    used = {name for changes in drawn for name in (change["name"] for change in changes)}
    assert used == {"turn", "flip", "scale", "shear", "colour", "hue", "blur", "grey", "invert"}
    limits = {
        "turn.degrees": (-45, 45),
        "scale.factor": (0.7, 1.3),
        "shear.degrees": (-10, 10),
        "hue.shift": (-0.1, 0.1),
    }
    limits |= {f"colour.{name}": (0.7, 1.3) for name in ("brightness", "contrast", "saturation")}
    limits |= {"blur.sigma": (0.5, 1.5)}
    for key, (low, high) in limits.items():
        assert low <= min(values[key]) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values[key]) <= high


def test_each_augmentation_does_what_it_says() -> None:
    normal = picture(80, 80)
    wanted = {"grey", "invert", "turn"}
    for sample in adsas(400, normal, augmentations=(1, 1), foreground="all"):
        drawn = sample.recipe["drawn"]
        (change,) = drawn["augmentations"]
        y, x, height, width = drawn["source"]
        pasted, cut = sample.image[sample.mask], normal[y : y + height, x : x + width].reshape(-1, 3)
        if change["name"] == "grey":
            assert (pasted == pasted[:, :1]).all()
        if change["name"] == "invert":
            assert np.array_equal(pasted, 255 - cut)
        if change["name"] == "turn":
            assert sample.mask.sum() == pytest.approx(height * width, rel=0.15, abs=12)
        wanted -= {change["name"]}
    assert not wanted


def test_place_covered_counts_right_and_says_when_nothing_fits() -> None:
    rng, mask = np.random.default_rng(0), np.zeros((40, 60), np.bool_)
    mask[10:20, 10:40] = True
    counter, pixels = BoxCounter(mask), np.flatnonzero(mask)
    for _ in range(50):
        box = place_covered(counter, pixels, 8, 20, 0.9, rng)
        assert box is not None
        assert mask[box.slices].mean() >= 0.9
    assert place_covered(counter, pixels, 25, 25, 0.9, rng) is None
