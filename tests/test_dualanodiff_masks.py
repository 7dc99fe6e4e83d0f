"""Masks read off anomalies on grey, and the U2-Net that users may bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ias_zoo.errors import OptionError, WeightsError
from ias_zoo_dualanodiff.masks import by_distance, by_saliency, foreground, mask_reader, stretched
from ias_zoo_dualanodiff.options import DualAnoDiffOptions
from ias_zoo_dualanodiff.u2net import SIDES, Block, U2Net, saliency


def grey(side: int = 128, noise: float = 0.0, seed: int = 0) -> Any:
    values = 127.5 + np.random.default_rng(seed).normal(0, noise, (side, side, 3)) if noise else 127.5
    return np.clip(np.round(np.broadcast_to(values, (side, side, 3))), 0, 255).astype(np.uint8)


def square(color: tuple[int, int, int], side: int = 128, noise: float = 0.0) -> tuple[Any, Any]:
    image, mask = grey(side, noise).copy(), np.zeros((side, side), np.bool_)
    mask[30:70, 50:90] = True
    image[mask] = color
    return image, mask


def iou(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("noise", [0.0, 3.0, 5.0])
def test_plain_grey_has_no_mask(noise: float) -> None:
    for seed in range(5):
        assert not by_distance(grey(noise=noise, seed=seed)).any()
        assert not by_distance(grey(noise=noise, seed=seed), 0.01).any(), "no threshold may make noise a mask"


@pytest.mark.parametrize("color", [(200, 40, 40), (20, 20, 20), (255, 255, 255), (127, 127, 190), (90, 90, 90)])
@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_a_square_on_grey_is_found(color: tuple[int, int, int], noise: float) -> None:
    image, mask = square(color, noise=noise)
    found = by_distance(image)
    assert found.dtype == np.bool_
    assert found.shape == image.shape[:2]
    assert iou(found, mask) > 0.95


@pytest.mark.parametrize("drift", [-30, -12, 25])
def test_a_sampler_that_misses_mid_grey_gets_no_mask_of_everything(drift: int) -> None:
    plain = (grey(noise=3.0).astype(int) + drift).clip(0, 255).astype(np.uint8)
    assert not by_distance(plain).any()
    image, mask = square((20, 20, 20), noise=3.0)
    assert iou(by_distance((image.astype(int) + drift).clip(0, 255).astype(np.uint8)), mask) > 0.95


def test_an_anomaly_larger_than_the_grey() -> None:
    image = grey(noise=3.0).copy()
    image[:100] = np.clip(np.random.default_rng(1).normal(40, 15, (100, 128, 3)), 0, 255)
    found = by_distance(image)
    assert found[5:95].all()
    assert not found[105:].any()


def test_size_does_not_matter() -> None:
    image, mask = square((200, 40, 40))
    large, wanted = (
        cv2.resize(array, (512, 512), interpolation=cv2.INTER_NEAREST) for array in (image, mask.view("u1"))
    )
    assert iou(by_distance(large), wanted.astype(np.bool_)) > 0.95


def test_holes_are_filled_and_specks_dropped() -> None:
    image, mask = square((200, 40, 40))
    image[45:55, 65:75] = 127  # a grey spot in the defect
    image[110, 10] = (255, 0, 0)
    found = by_distance(image)
    assert iou(found, mask) > 0.95
    assert not found[100:].any()
    at_border = grey().copy()
    at_border[:40, :40] = 0
    at_border[10:30, 0:20] = 127  # open to the border: no hole
    assert not by_distance(at_border)[12:28, 0:18].any()


def test_an_outline_is_closed() -> None:
    image, mask = square((60, 60, 60))
    image[34:66, 54:86] = 127  # a grey defect shows its edge alone
    image[30:36, 66:70] = 127  # with a gap
    assert iou(by_distance(image), mask) > 0.9


def test_a_strong_part_does_not_hide_a_weak_one() -> None:
    image, _ = square((255, 0, 0))
    image[90:110, 20:40] = 127 + 55
    assert by_distance(image)[95:105, 25:35].all()


def test_stretching_never_invents_a_mask() -> None:
    ramp = np.linspace(0.0, 1e-3, 64 * 64, dtype=np.float32).reshape(64, 64)
    assert stretched(ramp).max() == 1, "this is what min-max does"
    assert not by_saliency(grey(64, noise=4.0), ramp, 0.5).any()
    assert not stretched(np.full((4, 4), 0.7, np.float32)).any()
    image, mask = square((200, 40, 40))
    assert np.array_equal(by_saliency(image, 0.2 + 0.1 * mask.astype(np.float32), 0.5), mask)


def test_products_are_told_from_their_background() -> None:
    image = np.full((80, 80, 3), 220, np.uint8)
    image[20:60, 25:55] = 40
    found = foreground(image, DualAnoDiffOptions())
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 255}
    assert iou(found == 255, image[:, :, 0] == 40) > 0.95


def test_u2net_is_the_published_size() -> None:
    with torch.device("meta"):
        network = U2Net()
        out = network(torch.empty(2, 3, 320, 320))
        flat = Block(0, 512, 256, 512)(torch.empty(1, 512, 10, 10))
    assert sum(parameter.numel() for parameter in network.parameters()) == 44_009_869  # 176.3 MB in float32
    assert out.shape == (2, 320, 320)
    assert flat.shape == (1, 512, 10, 10)
    names = set(network.state_dict())
    for name in ("stage1.rebnconvin.conv_s1.weight", "stage5d.rebnconv3d.bn_s1.running_mean", "side6.bias"):
        assert name in names
    assert network.outconv.in_channels == len(SIDES) == 6


def test_u2net_weights_of_the_user(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = U2Net().eval()
    save_file(network.state_dict(), tmp_path / "u2net.safetensors")
    options = DualAnoDiffOptions(masks="u2net", foreground="u2net", u2net=str(tmp_path / "u2net.safetensors"))
    image, _ = square((200, 40, 40), side=96)
    found = saliency(network, image)
    assert found.shape == (96, 96)
    assert found.dtype == np.float32
    assert 0 < found.min() <= found.max() < 1
    assert np.array_equal(mask_reader(options)(image), stretched(found) > 0.5)
    assert np.array_equal(foreground(image, options), np.round(stretched(found) * 255))
    assert not mask_reader(options)(grey(96)).any()
    save_file({"stage1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x04")
    for name, error, words in (
        ("none", OptionError, "no such file"),
        ("other.safetensors", WeightsError, "not the weights of the full U2-Net"),
        ("pickle.pth", WeightsError, "as safetensors"),
    ):
        with pytest.raises(error, match=words):
            mask_reader(DualAnoDiffOptions(masks="u2net", u2net=str(tmp_path / name)))
