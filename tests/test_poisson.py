"""Poisson blending: OpenCV's as the oracle, and what any solution has to satisfy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from ias_zoo.imaging.poisson import blend_box, poisson_blend, solve_poisson


def noise(seed: int, height: int, width: int, blur: float = 1.5, channels: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    smooth = cv2.GaussianBlur(raw, (0, 0), blur).reshape(height, width, channels)
    low, high = smooth.min(), smooth.max()
    spread = (30 + 195.0 * (smooth - low) / (high - low)).astype(np.uint8)
    return np.repeat(spread, 3 // channels, axis=2)


def opencv(destination: Any, patch: Any, top: int, left: int, mask: Any, mode: int) -> Any:
    """seamlessClone with the patch framed by one unmasked pixel, so that the mask's box is the patch's."""
    height, width = mask.shape
    framed = np.pad(patch, ((1, 1), (1, 1), (0, 0)))
    mask = np.pad(mask, 1).astype(np.uint8) * 255
    return cv2.seamlessClone(framed, destination, mask, (left + width // 2, top + height // 2), mode)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("shape", ["rectangle", "ellipse"])
@pytest.mark.parametrize("channels", [3, 1])
def test_agrees_with_opencv(mixed: Any, shape: Any, channels: Any) -> None:
    rng = np.random.default_rng(5)
    destination, source = noise(1, 150, 210, 2.0, channels), noise(2, 150, 210, 1.2, channels)
    worst, differing, pixels, changed = 0, 0, 0, 0
    rounded_up = []
    for _ in range(12):
        height, width = (int(n) for n in rng.integers(12, 100, 2))
        top, left = int(rng.integers(0, 150 - height)), int(rng.integers(0, 210 - width))
        patch = source[3 : 3 + height, 5 : 5 + width]
        mask = np.ones((height, width), bool)
        if shape == "ellipse":
            y, x = np.mgrid[:height, :width]
            mask = (2 * y / (height - 1) - 1) ** 2 + (2 * x / (width - 1) - 1) ** 2 <= 1.0
            mask[height // 2], mask[:, width // 2] = True, True  # the mask's box is the whole patch
        ours = poisson_blend(destination, patch, top, left, mask, mixed=mixed)
        theirs = opencv(destination, patch, top, left, mask, cv2.MIXED_CLONE if mixed else cv2.NORMAL_CLONE)
        difference = ours.astype(int) - theirs  # we round, OpenCV truncates: 0 or 1
        assert difference.min() >= -1
        if shape == "rectangle" and not mixed:
            rounded_up.append(np.count_nonzero(difference == 1) / np.count_nonzero(theirs != destination))
        worst = max(worst, int(difference.max()))
        differing += int(np.count_nonzero(difference < 0))
        pixels += difference.size
        changed = max(changed, int(np.abs(theirs.astype(int) - destination).max()))
    assert worst == 1
    assert differing <= 1e-3 * pixels
    assert all(0.4 < share < 0.6 for share in rounded_up)  # half of the fractions are above one half
    assert changed > 40  # there was something to agree on


def test_agrees_with_opencv_at_sizes_that_are_awkward_for_a_transform() -> None:
    destination, source = noise(3, 300, 300), noise(4, 300, 300, 1.0)
    for height, width in ((128, 108), (255, 60), (54, 230)):
        mask = np.ones((height, width), bool)
        ours = poisson_blend(destination, source[:height, :width], 20, 30, mask)
        theirs = opencv(destination, source[:height, :width], 20, 30, mask, cv2.NORMAL_CLONE)
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("mixed", [False, True])
def test_the_destination_as_patch_changes_nothing(mixed: Any) -> None:
    destination = noise(1, 80, 90)
    np.testing.assert_array_equal(
        poisson_blend(destination, destination[10:60, 20:70], 10, 20, mixed=mixed), destination
    )


def test_a_constant_offset_disappears() -> None:
    destination = noise(1, 80, 90) // 2
    patch = destination[10:60, 20:70] + np.array([40, 7, 100], np.uint8)
    np.testing.assert_array_equal(poisson_blend(destination, patch, 10, 20), destination)


def test_nothing_changes_outside_the_mask_box_and_on_its_ring() -> None:
    destination, patch = noise(1, 100, 120), noise(2, 60, 70)
    mask = np.zeros((60, 70), bool)
    mask[5:45, 20:65] = True
    for mixed in (False, True):
        changed = (poisson_blend(destination, patch, 30, 40, mask, mixed=mixed) != destination).any(axis=2)
        inner = np.zeros_like(changed)
        inner[36:74, 61:104] = True  # the box without its ring
        assert changed[inner].mean() > 0.9
        assert not changed[~inner].any()


def test_inputs_are_left_alone_and_calls_repeat() -> None:
    destination, patch = noise(1, 60, 60), noise(2, 30, 40)
    mask = np.ones((30, 40), bool)
    before = [array.copy() for array in (destination, patch, mask)]
    first = poisson_blend(destination, patch, 5, 6, mask, mixed=True)
    second = poisson_blend(destination, patch, 5, 6, mask, mixed=True)
    assert first.tobytes() == second.tobytes()
    assert (first != destination).any()
    for array, copy in zip((destination, patch, mask), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_strength_weighs_the_change() -> None:
    destination, patch = noise(1, 60, 60), noise(2, 50, 50)
    full = poisson_blend(destination, patch, 5, 5).astype(float) - destination
    third = poisson_blend(destination, patch, 5, 5, strength=1 / 3).astype(float) - destination
    unclipped = (np.abs(full + destination - 127.5) < 127).all(axis=2)
    assert unclipped.mean() > 0.8
    np.testing.assert_allclose(third[unclipped], full[unclipped] / 3, atol=1.0)
    np.testing.assert_array_equal(poisson_blend(destination, patch, 5, 5, strength=0.0), destination)


def test_a_grey_picture_stays_grey_and_matches_the_colour_path() -> None:
    destination, patch = noise(1, 70, 70, channels=1), noise(2, 50, 50, channels=1)
    tinted = patch.copy()
    tinted[0, 0, 0] ^= 1  # in the part that the erosion keeps out: no longer grey, same result
    for mixed in (False, True):
        grey = poisson_blend(destination, patch, 5, 5, mixed=mixed)
        np.testing.assert_array_equal(grey, poisson_blend(destination, tinted, 5, 5, mixed=mixed))
        np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (2, 2), (6, 30), (1, 1)])
def test_boxes_too_small_for_the_erosion_change_nothing(size: Any) -> None:
    destination, patch = noise(1, 60, 60), noise(2, 60, 60)[: size[0], : size[1]]
    np.testing.assert_array_equal(poisson_blend(destination, patch, 10, 10), destination)


def test_seven_pixels_are_the_smallest_box_that_changes() -> None:
    destination, patch = noise(1, 60, 60), noise(2, 7, 7, 0.5)
    assert (poisson_blend(destination, patch, 10, 10) != destination).any()


def test_an_empty_mask_changes_nothing() -> None:
    destination = noise(1, 40, 40)
    result = poisson_blend(destination, destination[::-1][:20, :20], 3, 3, np.zeros((20, 20), bool))
    np.testing.assert_array_equal(result, destination)
    assert result is not destination


def test_a_patch_outside_the_destination_is_refused() -> None:
    destination = noise(1, 40, 40)
    with pytest.raises(ValueError, match="leaves"):
        poisson_blend(destination, destination[:20, :20], 21, 0)
    with pytest.raises(ValueError, match="leaves"):
        poisson_blend(destination, destination[:20, :20], 0, -1)
    with pytest.raises(ValueError, match="mask"):
        poisson_blend(destination, destination[:20, :20], 0, 0, np.ones((20, 19), bool))


def test_blend_box_writes_into_a_view() -> None:
    destination, patch = noise(1, 60, 60), noise(2, 30, 40)
    mask = np.ones((30, 40), bool)
    expected = poisson_blend(destination, patch, 5, 6, mask)
    blend_box(destination[5:35, 6:46], patch, mask)
    np.testing.assert_array_equal(destination, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 40), (126, 31)])
def test_the_solver_inverts_the_laplacian(size: Any) -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(0, 50, (*size, 2)).astype(np.float32)
    framed = np.pad(wanted, ((1, 1), (1, 1), (0, 0))).astype(np.float64)
    laplacian = (
        framed[:-2, 1:-1] + framed[2:, 1:-1] + framed[1:-1, :-2] + framed[1:-1, 2:] - 4 * framed[1:-1, 1:-1]
    ).astype(np.float32)
    np.testing.assert_allclose(solve_poisson(laplacian), wanted, atol=5e-3)
