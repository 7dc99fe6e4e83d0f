"""How Defect-GAN paints: controls, masks, regions, shapes, squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_defect_gan import NORMAL, request
from torch import nn

from ias_zoo.imaging.cutouts import Shape
from ias_zoo.testing.subject import SHAPE, disc
from ias_zoo.training.shots import TrainingSet
from ias_zoo_defect_gan.networks import Architecture, Noise
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.painting import Painter
from ias_zoo_defect_gan.shapes import Square, cut_shapes, shapes_from_tensors, shapes_to_tensors
from ias_zoo_defect_gan.synthesizer import DefectGAN

pytestmark = pytest.mark.usefixtures("one_thread")


class Known(nn.Module):
    """A generator that paints a known layer and remembers the control it was given."""

    def __init__(self, where: torch.Tensor) -> None:
        super().__init__()
        self.map, self.control = where, torch.zeros(0)

    def forward(self, pictures: torch.Tensor, control: torch.Tensor, noise: Any) -> Any:
        from ias_zoo_defect_gan.networks import Layer

        self.control = control
        return Layer(torch.full_like(pictures, -1.0), self.map.expand(len(pictures), 1, *pictures.shape[2:]))


def painter(where: torch.Tensor, crop: int | None = None, shapes: Any = (), **options: Any) -> Painter:
    architecture = Architecture(("crack", "hole"), size=64, width=4)
    return Painter(architecture, Known(where), DefectGANOptions(**options), crop, shapes, torch.device("cpu"))  # type: ignore[arg-type]


def test_painting_at_native_scale_leaves_the_rest_of_the_picture_as_it_was() -> None:
    where = torch.zeros(1, 1, 64, 64)
    where[..., 10:20, 10:20] = 1
    made = painter(where, crop=64).paint(NORMAL, [0], np.random.default_rng(0))
    top, left, side = made.drawn["square"]
    assert side == 64
    assert made.image.shape == NORMAL.shape
    assert made.mask.sum() == 100
    assert made.mask[top + 10 : top + 20, left + 10 : left + 20].all()
    assert not made.image[made.mask].any()
    assert np.array_equal(made.image[~made.mask], NORMAL[~made.mask])


def test_soft_map_paints_outside_the_mask_and_exact_mask_does_not() -> None:
    where = torch.full((1, 1, 64, 64), 0.3)
    where[..., :20] = 0.8
    soft = painter(where, crop=64, fade=0.0).paint(NORMAL, [0], np.random.default_rng(0))
    exact = painter(where, crop=64, fade=0.0, exact_mask=True).paint(NORMAL, [0], np.random.default_rng(0))
    assert np.array_equal(soft.mask, exact.mask)
    assert (soft.image != NORMAL).any(axis=2)[~soft.mask].any()
    assert np.array_equal(exact.image[~exact.mask], NORMAL[~exact.mask])
    assert float(soft.map.max()) == pytest.approx(0.8)
    wanted = np.rint(NORMAL[soft.mask] * np.float32(0.2))  # the foreground is black
    assert np.abs(soft.image[soft.mask].astype(int) - wanted).max() <= 1


def test_paint_fades_out_towards_the_squares_border_but_not_where_the_defect_is_asked_for() -> None:
    grey = np.full((*SHAPE, 3), 200, np.uint8)
    shapes = [Shape("crack", np.ones((30, 2), np.bool_), (False,) * 4)]
    everywhere = torch.full((1, 1, 64, 64), 0.4)
    hard = painter(everywhere, crop=64, fade=0.0).paint(grey, [0], np.random.default_rng(3))
    soft = painter(everywhere, crop=64, fade=0.25).paint(grey, [0], np.random.default_rng(3))
    top, left, side = soft.drawn["square"]
    assert soft.drawn == hard.drawn
    assert top > 0
    assert left > 0
    assert set(np.unique(hard.map).tolist()) == {0.0, np.float32(0.4)}
    square = soft.map[top : top + side, left : left + side]
    assert np.allclose(square[side // 2, :17], 0.4 * np.minimum(1, np.arange(1, 18) / 16))
    assert np.allclose(square[16:48, 16:48], 0.4)
    assert np.array_equal(soft.image[soft.map == 0], grey[soft.map == 0])
    assert np.abs(np.diff(soft.image[top + side // 2, :, 0].astype(int))).max() <= 6  # no edge: 80 levels in 16 pixels
    assert np.abs(np.diff(hard.image[top + side // 2, :, 0].astype(int))).max() == 80
    small = painter(everywhere + 0.4, crop=16, shapes=shapes, fade=0.5)  # the shape spans the square
    made = small.paint(grey, [0], np.random.default_rng(0))
    assert made.mask.sum() >= 60
    assert made.drawn["place"] == "shape"


def test_nothing_fades_at_the_pictures_own_border() -> None:
    assert (Square(0, 0, 40).faded((40, 40), 0.25) == 1).all()
    weights = Square(0, 10, 40).faded((60, 50), 0.25)
    assert (weights[:20, 20:] == 1).all()
    assert weights[0, 0] == weights[39, 39] == np.float32(0.1)
    assert (weights[:30, 10:] == 1).all()
    assert np.all(np.diff(weights[0, :10]) > 0)


def test_a_given_mask_is_the_control_and_bounds_the_paint() -> None:
    mask = disc(SHAPE)
    made = painter(torch.ones(1, 1, 64, 64), crop=64)
    sample = made.paint(NORMAL, [1], np.random.default_rng(0), mask=mask)
    assert np.array_equal(sample.mask, mask)  # the square grew over all of it
    assert np.array_equal(sample.image[~mask], NORMAL[~mask])
    control = made.generator.control
    assert control.shape == (1, 2, 64, 64)
    assert not control[:, 0].any()
    assert float(control[:, 1].max()) == 1
    assert 0.2 < float(control[:, 1].mean()) < 0.9


def test_without_a_mask_the_control_is_the_label_everywhere_or_a_turned_shape() -> None:
    made = painter(torch.ones(1, 1, 64, 64), crop=64)
    made.paint(NORMAL, [1], np.random.default_rng(0))
    assert made.generator.control.tolist() == [[0, 1]]
    both = made.paint(NORMAL, [0, 1], np.random.default_rng(0))
    assert made.generator.control.tolist() == [[1, 1]]
    assert both.drawn["place"] == "free"
    shapes = [
        Shape("hole", np.ones((6, 9), np.bool_), (False,) * 4),
        Shape("crack", np.ones((3, 3), np.bool_), (False,) * 4),
    ]
    made = painter(torch.ones(1, 1, 64, 64), crop=64, shapes=shapes)
    sample = made.paint(NORMAL, [1], np.random.default_rng(0))
    assert sample.drawn["shape"] == 0
    assert int(made.generator.control[0, 1].sum()) == 54
    assert not made.generator.control[0, 0].any()


def test_region_bounds_the_paint_and_the_shape() -> None:
    region = np.zeros(SHAPE, np.bool_)
    region[5:25, 90:120] = True
    shapes = [Shape("hole", np.ones((6, 9), np.bool_), (True, False, False, False))]
    for given in ([], shapes):
        made = painter(torch.ones(1, 1, 64, 64), crop=32, shapes=given)
        for seed in range(5):
            sample = made.paint(NORMAL, [1], np.random.default_rng(seed), region=region)
            assert sample.mask.any()
            assert not (sample.mask & ~region).any()
            assert np.array_equal(sample.image[~region], NORMAL[~region])
            assert float(made.generator.control.sum()) > 0


def test_model_output_is_the_square_the_model_saw() -> None:
    where = torch.zeros(1, 1, 64, 64)
    where[..., 30:, :] = 1
    sample = painter(where, output="model").paint(NORMAL, [0], np.random.default_rng(0))
    assert sample.image.shape == (64, 64, 3)
    assert sample.mask[30:].all()
    assert not sample.mask[:30].any()


def test_shapes_survive_their_file_and_come_from_the_shots(toys: TrainingSet) -> None:
    shapes = cut_shapes(toys.shots)
    assert [shape.mask.sum() for shape in shapes] == [shot.mask.sum() for shot in toys.shots]
    for kept, read in zip(shapes, shapes_from_tensors(shapes_to_tensors(shapes)), strict=True):
        assert (kept.defect, kept.sides) == (read.defect, read.sides)
        assert np.array_equal(kept.mask, read.mask)


def test_the_square_covers_what_is_wanted() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted = np.zeros((70, 90), np.bool_)
        top, left = int(rng.integers(60)), int(rng.integers(60))
        wanted[top : top + 10, left : left + 25] = True
        for crop in (None, 16, 40, 500):
            square = Square.chosen((70, 90), wanted, crop, rng)
            assert square.side == min(70, max(25, crop or 70))
            assert wanted[square.slices].sum() == 250
            assert 0 <= square.top <= 70 - square.side
            assert 0 <= square.left <= 90 - square.side


def test_noise_makes_samples_of_one_place_differ(fitted_defect_gan: DefectGAN) -> None:
    assert fitted_defect_gan._painter is not None
    scales = [module.scale for module in fitted_defect_gan._painter.generator.modules() if isinstance(module, Noise)]
    kept = [scale.clone() for scale in scales]
    try:
        for scale in scales:
            scale.fill_(1.0)
        first, second = (fitted_defect_gan.synthesize([request(seed, mask=disc(SHAPE))])[0] for seed in (1, 2))
        assert not np.array_equal(first.label_map, second.label_map)
    finally:
        for scale, value in zip(scales, kept, strict=True):
            scale.copy_(value)
