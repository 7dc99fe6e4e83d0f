"""NSA's laws of drawing, its table and its options."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np
import pytest
from scipy import stats
from smallpictures import pairs, product, texture

import ias_zoo
from ias_zoo.errors import OptionError
from ias_zoo.imaging.patches import Box
from ias_zoo.options import describe_options
from ias_zoo_handcrafted.nsa import ellipses
from ias_zoo_handcrafted.options.nsa import NSAOptions
from ias_zoo_handcrafted.presets import NSA as PRESETS

# ------------------------------------------------------------------------------------------------ laws of drawing


def test_half_sizes_follow_the_shifted_gamma_law() -> None:
    synthesizer = ias_zoo.load("nsa", preset="texture")
    rng = np.random.default_rng(0)
    side, limits = 1_000_000, (30_000, 400_000)
    drawn = np.array([synthesizer._half_side(side, limits, 1.0, rng) for _ in range(5000)]) / side
    inner = drawn[drawn < 0.4]
    law = stats.gamma(2, loc=0.03, scale=0.05)
    assert stats.kstest(inner, lambda value: law.cdf(value) / law.cdf(0.4)).pvalue > 0.01
    assert abs((drawn >= 0.4).mean() - law.sf(0.4)) < 4 * np.sqrt(law.sf(0.4) / 5000)
    assert np.median(drawn) == pytest.approx(0.114, abs=0.003)


def test_patches_have_the_sizes_of_the_law_without_resizing() -> None:
    synthesizer = ias_zoo.load("nsa", preset="texture", resize=False, patches=1, label="binary")
    sides = []
    for request in pairs(texture, 300):
        (patch,) = synthesizer.synthesize([request])[0].recipe["drawn"]["patches"]
        box = Box(*patch["source"])
        if 0 < box.top < 256 - box.height:  # not cut at the border
            sides.append(box.height / 2 / 256)
    low, middle, high = np.quantile(sides, [0.05, 0.5, 0.95])
    # Boxes that are not cut are the smaller ones: a half side s stays whole with probability (1 - 2 s) / 0.94.
    grid = np.linspace(0.03, 0.4, 4000)
    weight = stats.gamma.pdf(grid, 2, loc=0.03, scale=0.05) * (1 - 2 * grid)
    cumulative = np.cumsum(weight) / weight.sum()
    expected = [grid[np.searchsorted(cumulative, q)] for q in (0.05, 0.5, 0.95)]
    np.testing.assert_allclose([low, middle, high], expected, rtol=0.2, atol=0.008)


@pytest.mark.parametrize(("kind", "preset", "most"), [(texture, "texture", 4), (product, "object", 3)])
def test_the_number_of_patches_is_one_plus_binomial(kind: Any, preset: str, most: int) -> None:
    synthesizer = ias_zoo.load("nsa", preset=preset, label="binary", min_object_share=0.0, min_overlap_share=0.0)
    counts = np.zeros(most + 1)
    for request in pairs(kind, 400):
        (sample,) = synthesizer.synthesize([request])
        counts[len(sample.recipe["drawn"]["patches"])] += 1
    expected = 400 * stats.binom.pmf(np.arange(most), most - 1, 0.5)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:], expected).pvalue > 0.01


@pytest.mark.parametrize(("legacy", "least", "most"), [(True, 0.38, 0.4), (False, 0.65, 0.8)])
def test_legacy_clip_holds_sides_below_the_half_bounds(legacy: bool, least: float, most: float) -> None:
    synthesizer = ias_zoo.load(
        "nsa", preset="texture", patches=1, legacy_clip=legacy, label="binary", half_size=[0.1, 2.0, 0.1]
    )
    sides = []
    for request in pairs(texture, 120):
        for patch in synthesizer.synthesize([request])[0].recipe["drawn"]["patches"]:
            box = Box(*patch["destination"])
            sides += [box.height / 256, box.width / 256]
    assert least <= max(sides) <= most + 0.5 / 256


def test_resizing_keeps_the_aspect_within_the_bounds() -> None:
    synthesizer = ias_zoo.load("nsa", preset="texture", patches=1, label="binary")
    factors = []
    for request in pairs(texture, 300):
        (patch,) = synthesizer.synthesize([request])[0].recipe["drawn"]["patches"]
        old, new = Box(*patch["source"]), Box(*patch["destination"])
        if 16 < new.height < 203 and 16 < new.width < 203:  # no bound of a side was met
            factors.append(new.width / old.width)
            assert new.height / old.height == pytest.approx(factors[-1], rel=0.1)
    assert min(factors) == pytest.approx(0.5, abs=0.05)
    assert max(factors) == pytest.approx(2.0, abs=0.1)
    assert np.median(factors) == pytest.approx(1.0, abs=0.1)


def test_places_are_uniform() -> None:
    synthesizer = ias_zoo.load("nsa", preset="texture", patches=1, label="binary", resize=False)
    shares = []
    for request in pairs(texture, 400):
        (patch,) = synthesizer.synthesize([request])[0].recipe["drawn"]["patches"]
        box = Box(*patch["destination"])
        shares.append((box.left - 1 + 0.5) / (256 - box.width - 2))
    assert stats.kstest(shares, "uniform").pvalue > 0.01


def test_a_factor_is_drawn_where_it_shows_and_labels_the_change() -> None:
    factors = []
    synthesizer = ias_zoo.load("nsa", blend="uniform", label="continuous", patches=1)
    for request in pairs(texture, 600):
        (sample,) = synthesizer.synthesize([request])
        factor = sample.recipe["drawn"]["factor"]
        factors.append(factor)
        np.testing.assert_array_equal(sample.label_map, sample.mask * np.float32(factor))
    assert 0.05 <= min(factors) < 0.07
    assert 0.93 < max(factors) <= 0.95
    assert stats.kstest(factors, stats.uniform(0.05, 0.9).cdf).pvalue > 0.01
    (hard,) = ias_zoo.load("nsa", blend="swap", label="continuous").synthesize(pairs(texture, 1))
    assert "factor" not in hard.recipe["drawn"]
    np.testing.assert_array_equal(hard.label_map, hard.mask)


def test_ellipses_turn_without_shear(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        monkeypatch.setattr("ias_zoo_handcrafted.nsa.ELLIPSES", 1)
        shape = ellipses((400, 400), ((60, 99), (20, 99)), (61, 21), rng)
        if shape[[0, -1]].any() or shape[:, [0, -1]].any():
            continue
        assert shape.sum() == pytest.approx(np.pi * 60 * 20, rel=0.03)  # a shear would change it with the angle
        y, x = np.nonzero(shape)
        axes.append(np.sqrt(np.linalg.eigvalsh(np.cov(y, x))) * 2)
    assert len(axes) > 20
    np.testing.assert_allclose(axes, np.tile([20, 60], (len(axes), 1)), rtol=0.04)


# --------------------------------------------------------------------------------------------------- the presets


def test_the_table_is_the_published_one() -> None:
    def row(name: str) -> tuple[Any, ...]:
        preset = PRESETS[name]
        return preset.patches, preset.bounds_h, preset.bounds_w, preset.steepness, preset.midpoint, preset.blend

    wide = (0.03, 0.4)
    assert row("bottle") == (3, wide, wide, 1 / 12, 24, "normal")
    assert row("cable") == (3, (0.05, 0.4), (0.05, 0.4), 1 / 12, 24, "normal")
    assert row("capsule") == (3, (0.03, 0.15), wide, 1 / 2, 4, "normal")
    assert row("hazelnut") == (3, (0.03, 0.35), (0.03, 0.35), 1 / 12, 24, "normal")
    assert row("metal_nut") == (3, wide, wide, 1 / 3, 7, "normal")
    assert row("pill") == (3, (0.03, 0.2), wide, 1 / 3, 7, "normal")
    assert row("screw") == (4, (0.03, 0.12), (0.03, 0.12), 1, 3, "normal")
    assert row("toothbrush") == (3, wide, (0.03, 0.2), 1 / 6, 15, "normal")
    assert row("transistor") == (3, wide, wide, 1 / 6, 15, "normal")
    assert row("zipper") == (4, wide, (0.03, 0.2), 1 / 6, 15, "normal")
    for name in ("carpet", "grid", "leather", "tile"):
        assert row(name) == (4, wide, wide, 1 / 3, 7, "mixed")
    assert row("wood") == (4, wide, wide, 1 / 6, 15, "mixed")
    shares = {name: preset.min_object_share for name, preset in PRESETS.items() if preset.foreground == "tone"}
    high = dict.fromkeys(("bottle", "capsule", "hazelnut", "pill", "zipper"), 0.7)
    assert shares == high | {"metal_nut": 0.5, "screw": 0.5, "toothbrush": 0.25}
    assert {name for name, preset in PRESETS.items() if preset.background == ((200, 60),)} == {
        "bottle",
        "screw",
        "capsule",
        "zipper",
    }
    assert {name for name, preset in PRESETS.items() if preset.background == ((20, 20),)} == {
        "hazelnut",
        "pill",
        "toothbrush",
        "metal_nut",
    }
    assert {preset.min_overlap_share for preset in PRESETS.values()} == {0.25}
    assert {name for name, preset in PRESETS.items() if preset.resize_bounds == (0.5, 2.0)} == {
        "texture",
        "carpet",
        "grid",
        "leather",
        "tile",
        "wood",
    }
    assert PRESETS["carpet"].resize_bounds != PRESETS["bottle"].resize_bounds == (0.7, 1.3)


def test_every_preset_can_be_asked_for_and_every_option_is_described() -> None:
    hints = typing.get_type_hints(NSAOptions)
    assert set(typing.get_args(hints["preset"])) == {"auto", *PRESETS}
    for option in describe_options(NSAOptions):
        assert option.help


def test_whatever_defaults_to_the_preset_can_be_overridden() -> None:
    other: dict[str, Any] = {
        "patches": 9,
        "bounds_h": (0.1, 0.11),
        "bounds_w": (0.2, 0.21),
        "resize_bounds": (0.9, 1.0),
        "background": ((1.0, 2.0),),
        "min_object_share": 0.123,
        "min_overlap_share": 0.456,
        "steepness": 7.0,
        "midpoint": 8.0,
    }
    assert {name for name in typing.get_type_hints(NSAOptions) if getattr(NSAOptions(), name) is None} == set(other)
    preset = ias_zoo.load("nsa", **other)._preset("screw")
    assert {name: getattr(preset, name) for name in other} == other


def test_options_override_the_preset() -> None:
    synthesizer = ias_zoo.load("nsa", preset="screw", patches=1, bounds_h=[0.1, 0.2], midpoint=9.0, foreground="all")
    preset = synthesizer._preset("screw")
    assert (preset.patches, preset.bounds_h, preset.bounds_w) == (1, (0.1, 0.2), (0.03, 0.12))
    assert (preset.midpoint, preset.steepness, preset.foreground) == (9.0, 1, "all")
    assert ias_zoo.load("nsa", background=[[10.0, 5.0]])._preset("texture").foreground == "tone"


@pytest.mark.parametrize(
    "options", [{"bounds_h": [0.3, 0.1]}, {"preset": "spoon"}, {"patches": 0}, {"min_object_share": 1.0}]
)
def test_impossible_options_are_refused(options: Any) -> None:
    with pytest.raises(OptionError):
        ias_zoo.load("nsa", **options)


def test_auto_tells_products_from_textures() -> None:
    presets = {}
    for kind in (texture, product):
        (sample,) = ias_zoo.load("nsa").synthesize(pairs(kind, 1))
        presets[kind] = sample.recipe["drawn"]["preset"], sample.recipe["drawn"]["blend"]
    assert presets == {texture: ("texture", "mixed"), product: ("object", "normal")}
