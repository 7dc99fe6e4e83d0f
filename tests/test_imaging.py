"""Noise, colour operations and textures by themselves."""

from __future__ import annotations

import math
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from ias_zoo.errors import DataError
from ias_zoo.imaging import noise, photometric, procedural, textures

SIZES = [(1, 1), (1, 50), (50, 1), (2, 2), (37, 91), (250, 333)]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def picture():
    """A picture with flat and busy parts, all three channels different."""
    y, x = np.mgrid[0:90, 0:120]
    smooth = np.stack([2 * x, 255 - 2 * y, (x * y) // 50], axis=2)
    busy = rng(1).integers(-40, 41, smooth.shape) * (x > 60)[..., None]
    return np.clip(smooth + busy, 0, 255).astype(np.uint8)


def difference(one, other):
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


# -- noise -----------------------------------------------------------------------------------------------------------


def textbook_perlin(height, width, angles):
    """Pixel by pixel, corner by corner, in double precision."""
    cells_y, cells_x = angles.shape[0] - 1, angles.shape[1] - 1

    def fade(t):
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    field = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            p, q = i * cells_y // height, j * cells_x // width
            u, v = i * cells_y / height - p, j * cells_x / width - q
            corner = {
                (r, s): math.cos(angles[p + r, q + s]) * (u - r) + math.sin(angles[p + r, q + s]) * (v - s)
                for r in (0, 1)
                for s in (0, 1)
            }
            left = corner[0, 0] + fade(u) * (corner[1, 0] - corner[0, 0])
            right = corner[0, 1] + fade(u) * (corner[1, 1] - corner[0, 1])
            field[i, j] = math.sqrt(2) * (left + fade(v) * (right - left))
    return field


@pytest.mark.parametrize(
    ("size", "cells"),
    [((64, 64), (8, 4)), ((50, 67), (8, 32)), ((33, 20), (1, 1)), ((7, 5), (16, 16)), ((1, 9), (2, 4))],
)
def test_perlin_equals_an_independent_formula(size, cells):
    angles = rng(3).uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    field = noise.perlin_from_angles(*size, angles)
    assert field.dtype == np.float32
    assert np.abs(field - textbook_perlin(*size, angles)).max() < 1e-6


def test_perlin_draws_its_angles_uniformly_and_stays_in_bounds():
    class Spy:
        def uniform(self, low, high, size):
            assert (low, high) == (0.0, 2 * np.pi)
            return np.full(size, 0.25)

    expected = noise.perlin_from_angles(8, 8, np.full((3, 5), 0.25))
    assert np.array_equal(noise.perlin(8, 8, 2, 4, Spy()), expected)
    fields = [noise.perlin(61, 83, 2**i, 2**j, rng(i * 6 + j)) for i in range(6) for j in range(6)]
    assert all(np.abs(field).max() <= 1 for field in fields)
    assert max(np.abs(field).max() for field in fields) > 0.8


def test_perlin_is_zero_on_the_lattice():
    assert np.abs(noise.perlin(64, 32, 8, 8, rng())[::8, ::4]).max() == 0


def test_rotate_turns_counter_clockwise_about_the_centre_with_zeros_outside():
    field = np.zeros((21, 21), dtype=np.float32)
    field[10, 15] = 1  # right of the centre
    turned = noise.rotate(field, 90)
    assert np.unravel_index(turned.argmax(), turned.shape) == (5, 10)  # above it
    corner = noise.rotate(np.ones((40, 60), dtype=np.float32), 45)
    assert corner[0, 0] == 0
    assert corner[20, 30] == 1


# -- colours ---------------------------------------------------------------------------------------------------------


def test_jitter_steps_equal_torchvisions(picture):
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("torchvision.transforms.functional")
    tensor = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    for ours, theirs, values in (
        (photometric.adjust_brightness, reference.adjust_brightness, (0.5, 0.9, 1.1, 1.6)),
        (photometric.adjust_contrast, reference.adjust_contrast, (0.5, 0.9, 1.1, 1.6)),
        (photometric.adjust_saturation, reference.adjust_saturation, (0.0, 0.9, 1.1, 1.6)),
        (photometric.adjust_hue, reference.adjust_hue, (-0.5, -0.1, 0.03, 0.1, 0.5)),
    ):
        for value in values:
            assert difference(ours(picture, value), theirs(tensor, value).numpy().transpose(1, 2, 0)) <= 2, theirs


def test_jitter_draws_every_factor_from_its_range(picture):
    generator = rng()
    drawn = [photometric.color_jitter(picture[:4, :4], generator, 0.1, 0.2, 0.3, 0.05)[1] for _ in range(2000)]
    for name, low, high in (
        ("brightness", 0.9, 1.1),
        ("contrast", 0.8, 1.2),
        ("saturation", 0.7, 1.3),
        ("hue", -0.05, 0.05),
    ):
        values = np.array([d[name] for d in drawn])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=3 * (high - low) / math.sqrt(12 * 2000))
    orders = Counter(tuple(d["order"]) for d in drawn)
    assert len(orders) == 24
    assert max(orders.values()) < 2.5 * 2000 / 24
    image, steps = photometric.color_jitter(picture, rng(4), 0.1, 0.1, 0.1, 0.1)
    again = picture
    for name in steps["order"]:
        again = getattr(photometric, f"adjust_{name}")(again, steps[name])
    assert np.array_equal(image, again)


def test_operations_equal_pillows(picture):
    pillow = Image.fromarray(picture)
    for factor in (0.0, 0.4, 1.0, 2.0):
        assert difference(photometric.sharpness(picture, factor), ImageEnhance.Sharpness(pillow).enhance(factor)) <= 1
    for cutoff in (0, 7, 20):
        assert difference(photometric.autocontrast(picture, cutoff), ImageOps.autocontrast(pillow, cutoff)) == 0
    assert difference(photometric.equalise(picture), ImageOps.equalize(pillow)) == 0
    for bits in range(1, 9):
        assert difference(photometric.posterise(picture, bits), ImageOps.posterize(pillow, bits)) == 0
    assert difference(photometric.solarise(picture, 100, True), ImageOps.solarize(pillow, 100)) == 0
    assert difference(photometric.invert(picture), ImageOps.invert(pillow)) == 0


def grey(*levels):
    return np.repeat(np.array(levels, dtype=np.uint8)[None, :, None], 3, axis=2)


def test_operations_on_known_levels():
    assert photometric.gamma(grey(128, 255, 0), [2.0, 1.0, 0.5])[0].tolist() == [[64, 128, 181], [255] * 3, [0] * 3]
    assert photometric.solarise(grey(99, 100), 100, True)[0, :, 0].tolist() == [99, 155]
    assert photometric.solarise(grey(99, 100), 100, False)[0, :, 0].tolist() == [99, 100]
    assert set(photometric.posterise(grey(*range(256)), 1).ravel()) == {0, 128}
    assert np.array_equal(photometric.posterise(grey(*range(256)), 8), grey(*range(256)))
    assert photometric.invert(grey(0, 200))[0, :, 1].tolist() == [255, 55]
    red = np.array([[[255, 0, 0]]], dtype=np.uint8)
    for hue, steps in ((50, 35), (-50, -35), (1, 0), (2, 1)):
        turned = cv2.cvtColor(photometric.hue_saturation(red, hue, 0), cv2.COLOR_RGB2HSV)
        assert turned[0, 0, 0] == steps % 180
    assert cv2.cvtColor(photometric.hue_saturation(red, 0, -50), cv2.COLOR_RGB2HSV)[0, 0, 1] == pytest.approx(
        205, abs=1
    )
    flat = grey(50, 50)
    assert np.array_equal(photometric.autocontrast(flat, 20), flat)
    assert np.array_equal(photometric.equalise(flat), flat)


def test_brightness_multiplies_and_adds_in_the_drawn_order():
    # On grey, HSV's brightness is the level itself: 100 * 1.2 + 30 and (100 + 30) * 1.2.
    assert photometric.brightness(grey(100), "hsv", 1.2, 30, True).ravel().tolist() == [150] * 3
    assert photometric.brightness(grey(100), "hsv", 1.2, 30, False).ravel().tolist() == [156] * 3
    # Clipped in between: 250 + 30 is 255 before it is multiplied.
    assert photometric.brightness(grey(250), "hsv", 0.8, 30, False).ravel().tolist() == [204] * 3
    for space in ("ycrcb", "hls", "yuv"):
        assert difference(photometric.brightness(grey(100), space, 1.2, 30, True), grey(150)) <= 2
    for space in ("lab", "luv"):  # another scale of brightness
        assert photometric.brightness(grey(100), space, 1.2, 30, True).min() > 130


def test_turn_fills_with_black(picture):
    turned = photometric.turn(np.full_like(picture, 200), 45.0)
    assert turned[0, 0].tolist() == [0, 0, 0]
    assert turned[45, 60].tolist() == [200, 200, 200]


def test_operation_parameters_follow_the_published_ranges():
    generator = rng()
    draws = {
        name: [operation.draw(generator) for _ in range(1500)] for name, operation in photometric.OPERATIONS.items()
    }

    def check(name, key, low, high, whole=False):
        values = np.concatenate([np.atleast_1d(draw[key]) for draw in draws[name]])
        assert values.min() >= low
        assert values.max() <= high
        if whole:
            assert set(values) == set(range(low, high + 1))
        width = high - low + whole
        assert values.mean() == pytest.approx((low + high) / 2, abs=4 * width / math.sqrt(12 * len(values)))
        assert values.std() == pytest.approx(width / math.sqrt(12), rel=0.06)

    assert len(draws) == 10
    check("gamma", "exponents", 0.5, 2.0)
    check("brightness", "factor", 0.8, 1.2)
    check("brightness", "summand", -30, 30, whole=True)
    check("sharpness", "factor", 0.0, 2.0)
    check("hue_saturation", "hue", -50, 50, whole=True)
    check("hue_saturation", "saturation", -50, 50, whole=True)
    check("solarise", "threshold", 32, 128)
    check("posterise", "bits", 1, 8, whole=True)
    check("autocontrast", "cutoff", 0, 20, whole=True)
    check("turn", "degrees", -45, 45)
    assert np.mean([draw["active"] for draw in draws["solarise"]]) == pytest.approx(0.5, abs=0.04)
    spaces = Counter(draw["space"] for draw in draws["brightness"])
    assert len(spaces) == 6
    assert max(spaces.values()) < 1.3 * 250


@pytest.mark.parametrize("size", SIZES)
def test_operations_take_any_size_and_change_no_input(size):
    image = rng().integers(0, 256, (*size, 3), dtype=np.uint8)
    before = image.copy()
    for name, operation in photometric.OPERATIONS.items():
        for seed in range(8):
            changed = operation.apply(image, **operation.draw(rng(seed)))
            assert changed.shape == image.shape, name
            assert changed.dtype == np.uint8, name
    photometric.color_jitter(image, rng(), 0.1, 0.1, 0.1, 0.1)
    assert np.array_equal(image, before)


# -- textures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", procedural.KINDS)
def test_procedural_textures(kind):
    for size in SIZES:
        texture, name = procedural.draw_texture(*size, rng(), kind)
        assert texture.shape == (*size, 3)
        assert texture.dtype == np.uint8
        assert name == kind
    first, second = (procedural.draw_texture(64, 64, rng(5), kind)[0] for _ in range(2))
    assert np.array_equal(first, second)
    drawn = [procedural.draw_texture(64, 64, rng(seed), kind)[0].astype(float) for seed in range(40)]
    assert np.median([texture.std(axis=(0, 1)).max() for texture in drawn]) > 15  # hardly ever plain
    assert np.std([texture.mean() for texture in drawn]) > 15  # dark ones and bright ones


def test_procedural_kind_is_drawn_uniformly():
    generator = rng()
    kinds = Counter(procedural.draw_texture(8, 8, generator)[1] for _ in range(700))
    assert set(kinds) == set(procedural.KINDS)
    assert min(kinds.values()) > 60


def test_built_in_textures_say_where_they_are_from():
    source = textures.BuiltInTextures()
    assert {path.name for path in source.files} == set(textures.BUNDLED)  # all are in scikit-image's wheel
    generator = rng()
    drawn = [source.sample(24, 31, generator) for _ in range(600)]
    assert all(texture.shape == (24, 31, 3) and texture.dtype == np.uint8 for texture, _ in drawn)
    providers = Counter(info["provider"] for _, info in drawn)
    assert set(providers) == {"scikit-image", "procedural"}
    assert providers["procedural"] / 600 == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(600))
    assert {info["picture"] for _, info in drawn if "picture" in info} == set(textures.BUNDLED)


def test_built_in_textures_without_bundled_pictures_are_procedural(monkeypatch):
    monkeypatch.setattr(textures, "_bundled_folder", lambda: None)
    source, generator = textures.BuiltInTextures(), rng()
    assert {source.sample(9, 9, generator)[1]["provider"] for _ in range(50)} == {"procedural"}


@pytest.mark.parametrize("size", SIZES)
def test_built_in_textures_take_any_size(size):
    source, generator = textures.BuiltInTextures(), rng()
    for _ in range(30):
        assert source.sample(*size, generator)[0].shape == (*size, 3)


def test_bundled_pictures_are_found_without_importing_scikit_image(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    assert textures.BuiltInTextures().files
    assert not any(name.partition(".")[0] == "skimage" for name in sys.modules)


def test_folder_textures(tmp_path, picture):
    below = tmp_path / "grün" / "deep"
    below.mkdir(parents=True)
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture).save(below / "b.BMP")
    Image.fromarray(picture[..., 0]).save(below / "c.tif")
    Image.fromarray(np.dstack([picture, picture[..., :1]])).save(below / "d.webp", lossless=True)
    Image.fromarray(picture).save(tmp_path / "e.jpg", quality=95)
    (tmp_path / "notes.txt").write_text("no picture")
    source, generator, seen = textures.FolderTextures(tmp_path), rng(), {}
    for _ in range(60):
        texture, info = source.sample(90, 120, generator)
        assert info["provider"] == "folder"
        seen[info["picture"]] = texture
    assert sorted(seen) == ["a.png", "e.jpg", "grün/deep/b.BMP", "grün/deep/c.tif", "grün/deep/d.webp"]
    assert np.array_equal(seen["a.png"], picture)
    assert np.array_equal(seen["grün/deep/b.BMP"], picture)
    assert np.array_equal(seen["grün/deep/c.tif"], np.repeat(picture[..., :1], 3, axis=2))
    assert difference(seen["e.jpg"], picture) < 120
    # Whole picture, resized without regard to its aspect ratio; what is given away may be written to.
    texture, info = source.sample(64, 64, rng(2))
    texture[:] = 0
    again, _ = source.sample(64, 64, rng(2))
    assert again.any()
    alone = tmp_path / "alone"
    alone.mkdir()
    Image.fromarray(picture).save(alone / "a.png")
    texture, _ = textures.FolderTextures(alone).sample(45, 30, rng())
    assert np.array_equal(texture, cv2.resize(picture, (30, 45), interpolation=cv2.INTER_LINEAR))


def test_folder_textures_refuse_what_is_no_picture(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        textures.FolderTextures(tmp_path / "missing")
    with pytest.raises(DataError, match="no pictures"):
        textures.FolderTextures(tmp_path)
    for content in (b"", b"not a picture"):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.png"):
            textures.FolderTextures(tmp_path).sample(8, 8, rng())
