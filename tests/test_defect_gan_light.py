"""Light in Defect-GAN's few-shot training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ias_zoo
from ias_zoo.generation.requests import Normals
from ias_zoo.training.shots import TrainingSet
from ias_zoo_defect_gan.light import LARGEST, exposed, light_of
from ias_zoo_defect_gan.networks import Architecture
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.stages import Batch, Batches

pytestmark = pytest.mark.usefixtures("one_thread")


def darkened(toys: TrainingSet) -> TrainingSet:
    """Shots in a third of the light of the brightest normals; normals in many."""
    shots = tuple(replace(shot, image=np.rint(shot.image / 3).astype(np.uint8)) for shot in toys.shots)
    pictures = [toys.normals.read(number % len(toys.normals)).image for number in range(6)]
    normals = [
        np.rint(image * share).astype(np.uint8) for image, share in zip(pictures, np.linspace(0.6, 1, 6), strict=True)
    ]
    return TrainingSet(shots, Normals(normals), toys.defects)


def drawn_batches(data: TrainingSet, light: bool | None, count: int = 1) -> list[Batch]:
    architecture = Architecture(("scratch",), size=32, width=4, discriminator_layers=5)
    options = DefectGANOptions(batch=8, light=light)
    source = Batches(data, options, architecture, 40, 0, torch.device("cpu"), masks=True)
    return [source.make("generator", step, 0) for step in range(count)]


def test_a_picture_takes_on_the_mean_of_another_by_one_factor() -> None:
    dark = np.random.default_rng(0).integers(30, 90, (40, 50, 3), dtype=np.uint8)
    pixels = dark.astype(np.float32) / 127.5 - 1
    levels = (exposed(pixels, light_of(dark), 150.0) + 1) * 127.5
    assert levels.mean() == pytest.approx(150, abs=0.01)
    assert np.allclose(levels / dark, 150 / dark.mean(), rtol=1e-4)
    part = (exposed(pixels[:10, :10], light_of(dark), 150.0) + 1) * 127.5  # by the whole picture's light
    assert np.allclose(part, levels[:10, :10], atol=1e-3)
    assert np.allclose(exposed(pixels, 60.0, 60.0), pixels, atol=1e-6)
    ends = np.array([-1.0, -0.9, 0.5], np.float32)
    assert exposed(ends, 1.0, 250.0).tolist() == pytest.approx([-1, 4 * 0.1 - 1, 1])  # a bounded factor; clipped
    assert exposed(ends, 0.0, 0.0).tolist() == pytest.approx([-1, 0.1 / 4 - 1, 1.5 / 4 - 1])
    assert LARGEST == 4


def test_the_light_of_a_shot_is_measured_outside_its_mask() -> None:
    image, mask = np.full((10, 10, 3), 100, np.uint8), np.zeros((10, 10), np.bool_)
    mask[:5] = True
    image[mask] = 0
    assert light_of(image, mask) == 100
    assert light_of(image) == 50
    assert light_of(image, np.ones((10, 10), np.bool_)) == 50  # nothing lies outside


def test_light_changes_each_picture_by_one_factor_and_nothing_else(toys: TrainingSet) -> None:
    data = darkened(toys)
    (plain,), (lit,), (again,) = (drawn_batches(data, light) for light in (None, True, True))
    for name in ("masks", "labels"):
        assert torch.equal(getattr(plain, name), getattr(lit, name))
    assert plain.spatial == lit.spatial
    assert all(torch.equal(a, b) for a, b in zip(plain.noise(), lit.noise(), strict=True))
    factors = []
    for name in ("normals", "defects"):
        assert torch.equal(getattr(lit, name), getattr(again, name))
        for before, after in zip(getattr(plain, name), getattr(lit, name), strict=True):
            inner = (after < 0.999) & (before > -0.95)
            ratio = (after[inner] + 1) / (before[inner] + 1)
            assert float(ratio.max() - ratio.min()) < 1e-3 * float(ratio.mean())
            factors.append(round(float(ratio.mean()), 4))
    assert len(set(factors)) > 8  # drawn for each picture


def test_with_light_shots_and_normals_are_lit_by_one_law(toys: TrainingSet) -> None:
    data = darkened(toys)
    gaps = {}
    for light in (False, True):
        batches = drawn_batches(data, light, 20)
        shots = np.mean([float(batch.defects.mean(dim=1, keepdim=True)[batch.masks == 0].mean()) for batch in batches])
        normals = np.mean([float(batch.normals.mean()) for batch in batches])
        gaps[light] = abs(shots - normals)
    assert gaps[False] > 0.4
    assert gaps[True] < 0.1


def test_light_is_on_with_a_base_and_off_without_one(
    defect_gan_base: Path, toys: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Watched(Batches):
        def make(self, turn: str, step: int, micro: int) -> Batch:
            seen.append(bool(self.options.light))
            return super().make(turn, step, micro)

    monkeypatch.setattr("ias_zoo_defect_gan.synthesizer.Batches", Watched)
    for base, options, wanted in (
        (str(defect_gan_base), {}, True),
        (str(defect_gan_base), {"light": False}, False),
        (None, {"width": 4, "size": 64}, False),
        (None, {"width": 4, "size": 64, "light": True}, True),
    ):
        seen.clear()
        ias_zoo.load("defect_gan", base=base, device="cpu", steps=1, batch=1, **options).fit(toys)
        assert set(seen) == {wanted}
