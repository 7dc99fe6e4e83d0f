"""Defect-GAN as a method of the zoo: fits on a base and from nothing, base stage, samples, masks, weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ias_zoo
from ias_zoo.data import open_data
from ias_zoo.data.images import encode_png
from ias_zoo.errors import DataError, OptionError, RequestError, WeightsError
from ias_zoo.generation.requests import Normals
from ias_zoo.imaging.cutouts import Shape
from ias_zoo.testing.subject import SHAPE, disc, picture, toy_set
from ias_zoo.training.shots import TrainingSet, load_shots
from ias_zoo.training.trainer import train
from ias_zoo_defect_gan.base import for_defects, new_networks, read_base
from ias_zoo_defect_gan.drawn import DrawnDefects
from ias_zoo_defect_gan.light import LARGEST, exposed, light_of
from ias_zoo_defect_gan.networks import Architecture, Noise
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.painting import Painter
from ias_zoo_defect_gan.shapes import Square, cut_shapes, shapes_from_tensors, shapes_to_tensors
from ias_zoo_defect_gan.stages import Batch, Batches, Objective, Stage
from ias_zoo_defect_gan.synthesizer import DefectGAN

NORMAL = picture(SHAPE, 1)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def defect_gan_base(base_of: Callable[[str], Path]) -> Path:
    return base_of("defect_gan")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    return load_shots(toy_set(tmp_path_factory.mktemp("toys")), shots=4)


@pytest.fixture(scope="module")
def fitted(defect_gan_base: Path, toys: TrainingSet) -> DefectGAN:
    """On a random base, two steps: its maps are about a half everywhere."""
    made: DefectGAN = ias_zoo.load("defect_gan", base=str(defect_gan_base), device="cpu", steps=2, batch=2)
    made.fit(toys)
    return made


def request(seed: int = 1, **changes: Any) -> ias_zoo.Request:
    return ias_zoo.Request(**({"seed": seed, "normal": NORMAL, "defect": "scratch"} | changes))


# Training


def stage(toys: TrainingSet, steps: int = 10, every: int = 5, **options: Any) -> Stage:
    architecture = Architecture(("scratch",), size=32, width=4, hidden=4, discriminator_width=4, discriminator_layers=5)
    networks = new_networks(architecture, 1)
    chosen = DefectGANOptions(**({"batch": 2} | options))
    batches = Batches(toys, chosen, architecture, None, 0, torch.device("cpu"), masks=True)
    objective = Objective(architecture, networks.generator, networks.discriminator, chosen, masks=True)
    return Stage("few-shot", objective, batches, steps, (2e-4, 1e-6), every)


def test_one_generator_step_to_five_of_the_discriminator(toys: TrainingSet) -> None:
    made = stage(toys)
    turns = [[phase.optimizer for phase in made.phases(step)] for step in range(10)]
    assert turns == 2 * [*4 * [["discriminator"]], ["discriminator", "generator"]]
    rates = []
    for step in range(10):
        made.phases(step)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in made.optimizers().values()])
    assert rates[0] == [2e-4, 2e-4]
    assert rates[-1] == pytest.approx([1e-6, 1e-6])
    assert np.diff([rate for rate, _ in rates]) == pytest.approx(np.full(9, (1e-6 - 2e-4) / 9))
    for optimizer in made.optimizers().values():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.defaults["betas"] == (0.5, 0.999)
        assert optimizer.defaults["weight_decay"] == 0


def test_the_generator_changes_in_its_steps_alone(toys: TrainingSet) -> None:
    from ias_zoo.training.trainer import Schedule

    made = stage(toys, steps=4)
    before = [parameter.clone() for parameter in made.objective.generator.parameters()]
    report = train(made, Schedule(steps=4), torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(before, made.objective.generator.parameters(), strict=True))
    assert set(report.losses) == {"critic", "class_real", "penalty"}
    made = stage(toys, steps=5)
    report = train(made, Schedule(steps=5), torch.device("cpu"))
    assert any(not torch.equal(a, b) for a, b in zip(before, made.objective.generator.parameters(), strict=True))
    assert report.at["map_cycle"] == [4]
    assert set(report.values) == {"map mean", "map largest", "map spread"}


def test_a_long_run_at_the_smallest_size_stays_finite(toys: TrainingSet) -> None:
    from ias_zoo.training.trainer import Schedule

    made = stage(toys, steps=120, every=2)
    made.rates = (2e-3, 1e-4)
    report = train(made, Schedule(steps=120, ema=0.9), torch.device("cpu"))  # a term that is no number is an error
    assert len(report.losses["critic"]) == 120
    assert all(np.isfinite(values).all() for values in report.losses.values())
    assert all(bool(torch.isfinite(p).all()) for module in made.modules.values() for p in module.parameters())
    assert np.mean(report.losses["map_target"][-20:]) < 0.5 * np.mean(report.losses["map_target"][:5])


def test_adapters_change_nothing_at_first_leave_the_base_and_can_be_switched_off(
    defect_gan_base: Path, toys: TrainingSet
) -> None:
    made: DefectGAN = ias_zoo.load("defect_gan", base=str(defect_gan_base), device="cpu", steps=2, batch=2, lr=1e-2)
    networks = made._start_from(("scratch",), 0)
    plain = for_defects(read_base(defect_gan_base, "base"), ("scratch",))
    made.options = DefectGANOptions(adapter="lora", steps=2, batch=2)
    made._prepare(networks)
    pixels = torch.from_numpy(NORMAL[:64, :64].transpose(2, 0, 1)[None].copy()).float() / 127.5 - 1
    noise = [torch.zeros(1, *shape) for shape in _shapes(64)]
    control = torch.ones(1, 1)
    with torch.no_grad():
        wanted, found = (network.generator(pixels, control, noise) for network in (plain, networks))
    assert torch.equal(wanted.where, found.where)
    assert torch.equal(wanted.foreground, found.foreground)

    made.fit(toys)
    assert made._networks is not None
    after = made._networks.generator
    for name, parameter in plain.generator.encoder.named_parameters():
        assert torch.equal(parameter, dict(after.encoder.named_parameters())[name]), name
    layers = [module for module in after.decoder.modules() if hasattr(module, "base_layer")]
    assert len(layers) == 5 * 2 + 5 * 2 * 2 + 2 * 3  # convolutions; gammas and betas; both shortcuts with their SPADE
    kept = dict(plain.generator.decoder.named_parameters())
    for name, parameter in after.decoder.named_parameters():
        if ".base_layer." in name:
            assert torch.equal(parameter, kept[name.replace(".base_layer", "")]), name
    assert any(bool(p.any()) for name, p in after.named_parameters() if ".lora_B." in name)
    moved = {name for name, p in after.named_parameters() if name in dict(plain.generator.named_parameters())
             and not torch.equal(p, dict(plain.generator.named_parameters())[name])}  # fmt: skip
    assert moved
    assert all(
        name.startswith(("foreground.", "where.")) or ".shared." in name or name.endswith(".scale") for name in moved
    )
    # with the adapters off and the rest of the base's own, the base is back
    after.load_state_dict({n: p for n, p in plain.generator.state_dict().items() if n in moved}, strict=False)
    for module in layers:
        module.enable_adapters(False)
    with torch.no_grad():
        again = after(pixels, control, noise)
    torch.testing.assert_close(again.where, wanted.where)
    torch.testing.assert_close(again.foreground, wanted.foreground)


def _shapes(size: int) -> list[tuple[int, int, int]]:
    from ias_zoo_defect_gan.networks import noise_shapes

    return noise_shapes(size, size)


def test_a_product_in_grey_is_painted_in_grey(defect_gan_base: Path, toys: TrainingSet) -> None:
    shots = tuple(replace(shot, image=np.repeat(shot.image[:, :, :1], 3, axis=2)) for shot in toys.shots)
    made = ias_zoo.load("defect_gan", base=str(defect_gan_base), device="cpu", steps=1, batch=1)
    made.fit(TrainingSet(shots, toys.normals, toys.defects))
    grey = np.repeat(NORMAL[:, :, :1], 3, axis=2)
    sample = made.synthesize([request(normal=grey, mask=disc(SHAPE))])[0]
    assert (sample.image != grey).any()
    assert (sample.image == sample.image[:, :, :1]).all()
    coloured = ias_zoo.load("defect_gan", base=str(defect_gan_base), device="cpu", steps=1, batch=1)
    coloured.fit(toys)
    sample = coloured.synthesize([request(normal=grey, mask=disc(SHAPE))])[0]
    assert (sample.image != sample.image[:, :, :1]).any()


@pytest.mark.parametrize("how", ["labels", "full", "single", "augmented", "frozen"])
def test_fits_in_every_way(defect_gan_base: Path, toys: TrainingSet, tmp_path: Path, how: str) -> None:
    options: dict[str, Any] = {
        "labels": {"supervision": "labels"},
        "full": {"adapter": "full"},
        "single": {"classes": "single", "restore_control": "normal_channel", "width": 4, "size": 64},
        "augmented": {"augment": 0.5, "discriminator_steps": 2},
        "frozen": {"freeze_discriminator": 3},
    }[how]
    base = None if how == "single" else str(defect_gan_base)
    made = ias_zoo.load("defect_gan", base=base, device="cpu", steps=2, batch=2, mask_threshold=0.1, **options)
    made.fit(toys, out=tmp_path / "weights")
    sample, again = (
        each.synthesize([request()])[0]
        for each in (made, ias_zoo.load("defect_gan", tmp_path / "weights", base=base, mask_threshold=0.1))
    )
    assert np.array_equal(sample.image, again.image)
    if how == "labels":
        with pytest.raises(OptionError, match="hold no shapes"):
            ias_zoo.load("defect_gan", tmp_path / "weights", base=base, place="shapes")
    files = {path.name for path in (tmp_path / "weights").iterdir()}
    assert ("decoder_lora" in files) == (how not in ("full", "single"))
    assert ("generator.safetensors" in files) == (how in ("full", "single"))
    assert sample.recipe["drawn"]["place"] == ("free" if how in ("labels", "single") else "shape")


def test_the_adapter_is_in_pefts_own_format(fitted: DefectGAN, tmp_path: Path) -> None:
    from peft import LoraConfig
    from safetensors.torch import load_file

    fitted.save_pretrained(tmp_path / "weights")
    config = LoraConfig.from_pretrained(str(tmp_path / "weights/decoder_lora"))
    assert config.r == 8
    assert set(config.target_modules) == {"conv1", "conv2", "gamma", "beta", "shortcut"}
    names = load_file(tmp_path / "weights/decoder_lora/adapter_model.safetensors")
    assert all(name.startswith("base_model.model.") and ".lora_" in name for name in names)


def test_resumed_training_ends_in_the_same_weights(defect_gan_base: Path, tmp_path: Path) -> None:
    data = toy_set(tmp_path / "data")
    ends = []
    for name, stop in (("whole", None), ("cut", 2)):
        options = {"base": str(defect_gan_base), "device": "cpu", "steps": 4, "batch": 2, "checkpoint_every": 1}

        def told(stage: str, number: int, steps: int, loss: float, stop: int | None = stop) -> None:
            if number == stop:
                raise KeyboardInterrupt

        if stop is None:
            ias_zoo.load("defect_gan", **options).fit(data, count=2, out=tmp_path / name)
        else:
            with pytest.raises(KeyboardInterrupt):
                ias_zoo.load("defect_gan", **options).fit(data, count=2, out=tmp_path / name, step=told)
            ias_zoo.load("defect_gan", **options).fit(data, count=2, out=tmp_path / name, resume=True)
        files = json.loads((tmp_path / name / "ias_zoo.json").read_text())["files"]
        ends.append({file: digest for file, digest in files.items() if file.endswith(".safetensors")})
    assert ends[0] == ends[1]


def test_report_shows_losses_maps_and_pictures_over_time(defect_gan_base: Path, tmp_path: Path) -> None:
    made = ias_zoo.load("defect_gan", base=str(defect_gan_base), device="cpu", steps=3, batch=2)
    made.fit(toy_set(tmp_path / "data"), count=2, out=tmp_path / "weights", preview_every=1)
    told = json.loads((tmp_path / "weights/training.json").read_text())["stages"][0]
    assert {"critic", "penalty", "adversarial", "reconstruction", "map_target"} <= set(told["losses"])
    assert {"map mean", "map spread"} <= set(told["values"])
    assert len(list((tmp_path / "weights/previews").glob("*.png"))) == 3


# Light


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


# Base stage


def test_base_stage_needs_normals_alone_and_makes_a_base(tmp_path: Path) -> None:
    data = toy_set(tmp_path / "data")
    normals = [item for item in data.items if item.defect is None]
    for item in normals:
        (tmp_path / "good").mkdir(exist_ok=True)
        (tmp_path / "good" / item.path.name).write_bytes(item.path.read_bytes())
    made = ias_zoo.load("defect_gan", size=64, width=4, steps=2, batch=2, device="cpu")
    report = made.fit(open_data(tmp_path / "good"), stage="base", out=tmp_path / "base")
    assert report.stages[0].name == "base"
    assert read_base(tmp_path / "base", "base").architecture.categories == DrawnDefects.KINDS
    fitted = ias_zoo.load("defect_gan", base=tmp_path / "base", steps=1, batch=2, device="cpu")
    fitted.fit(data, count=2)
    assert fitted.manifest is not None
    assert fitted.manifest.base == "base"


def test_defects_drawn_onto_black_normals_are_refused() -> None:
    architecture = Architecture(DrawnDefects.KINDS, size=64, width=4, discriminator_width=4)
    data = TrainingSet((), Normals([np.full((64, 64, 3), 0, np.uint8)]), ())
    kinds = DrawnDefects(data, DefectGANOptions(), architecture, None, 0, torch.device("cpu"), masks=True)
    kinds.KINDS = ("stain",)  # type: ignore[misc]
    with pytest.raises(DataError, match="hardly show"):
        kinds.make("generator", 0, 0)


def test_the_embedded_base_paints_inside_a_mask_and_finds_what_was_drawn() -> None:
    """On textures and drawn defects that it was not trained on; its files are small."""
    from ias_zoo.imaging.procedural import draw_texture
    from ias_zoo.registry import registry
    from ias_zoo.training.bases import fetch_trained_base

    found = fetch_trained_base("tiny", registry().find("defect_gan").method)
    assert sum(path.stat().st_size for path in found.folder.rglob("*")) < 4e6
    networks = read_base(found.folder, "tiny")
    architecture, rng = networks.architecture, np.random.default_rng(0)
    normals = Normals([draw_texture(64, 64, rng)[0] for _ in range(12)])
    options, device = DefectGANOptions(batch=24), torch.device("cpu")
    source = DrawnDefects(TrainingSet((), normals, ()), options, architecture, None, 0, device, masks=True)
    batch = source.make("generator", 0, 0)
    inside, outside = batch.masks > 0, batch.masks == 0
    with torch.no_grad():
        painted = networks.generator(batch.normals, architecture.deface(batch.labels, batch.masks), batch.noise())
        erased = networks.generator(batch.defects, architecture.restore(batch.labels), batch.noise())
    assert float(painted.where[inside].mean()) > 0.5
    assert float(painted.where[outside].mean()) < 0.02
    assert float(erased.where[inside].mean()) > 10 * float(erased.where[outside].mean())
    change = (painted.over(batch.normals) - batch.normals).abs().mean(dim=1, keepdim=True)
    assert float(change[inside].mean()) > 0.2


# Samples


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


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_shapes_at_a_border_stay_at_one(quarters: int, mirror: bool) -> None:
    whole = np.zeros((20, 30), np.bool_)
    whole[:4, 10:13] = True
    whole[1, 13] = True
    shape = Shape("chip", whole[:4, 10:14], (True, False, False, False)).turned(quarters, mirror)
    turned = np.rot90(whole, quarters)
    turned = turned[:, ::-1] if mirror else turned
    sides = (turned[0].any(), turned[-1].any(), turned[:, 0].any(), turned[:, -1].any())
    assert shape.sides == sides
    for seed in range(10):
        placed = shape.placed((40, 50), None, np.random.default_rng(seed))
        assert placed.sum() == 13
        touched = (placed[0].any(), placed[-1].any(), placed[:, 0].any(), placed[:, -1].any())
        assert all(there or not wanted for there, wanted in zip(touched, sides, strict=True))


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


def test_noise_makes_samples_of_one_place_differ(fitted: DefectGAN) -> None:
    assert fitted._painter is not None
    scales = [module.scale for module in fitted._painter.generator.modules() if isinstance(module, Noise)]
    kept = [scale.clone() for scale in scales]
    try:
        for scale in scales:
            scale.fill_(1.0)
        first, second = (fitted.synthesize([request(seed, mask=disc(SHAPE))])[0] for seed in (1, 2))
        assert not np.array_equal(first.label_map, second.label_map)
    finally:
        for scale, value in zip(scales, kept, strict=True):
            scale.copy_(value)


# Refusals


def test_unknown_types_and_bad_choices_are_refused_in_words(
    fitted: DefectGAN, defect_gan_base: Path, toys: TrainingSet, tmp_path: Path
) -> None:
    for name in ("hole", "scratch+hole"):
        with pytest.raises(RequestError, match="these weights know scratch"):
            fitted.synthesize([request(defect=name)])
    with pytest.raises(OptionError, match="'lora' adapts a base"):
        ias_zoo.load("defect_gan", adapter="lora", steps=1).fit(toys)
    with pytest.raises(OptionError, match="size=128: base .* has 64"):
        ias_zoo.load("defect_gan", base=str(defect_gan_base), size=128, steps=1).fit(toys)
    fitted.save_pretrained(tmp_path / "weights")
    with pytest.raises(OptionError, match="trained with 8"):
        ias_zoo.load("defect_gan", tmp_path / "weights", base=str(defect_gan_base), rank=4)
    wide = tmp_path / "wide"
    ias_zoo.load("defect_gan", size=64, width=6, steps=1, batch=1).fit(toys, stage="base", out=wide)
    with pytest.raises(WeightsError, match="do not fit"):
        ias_zoo.load("defect_gan", tmp_path / "weights", base=wide)


def test_one_shot_types_and_normals_of_other_sizes_work(defect_gan_base: Path, tmp_path: Path) -> None:
    root = tmp_path / "parts"
    for folder, name, shape in (("normal", "a", (200, 90)), ("normal", "b", (40, 300)), ("defect/dent", "c", (64, 80))):
        path = root / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(picture(shape, 3)))
    mask = np.zeros((64, 80), np.bool_)
    mask[10:13, 5:9] = True
    (root / "masks/dent").mkdir(parents=True)
    (root / "masks/dent/c.png").write_bytes(encode_png(mask))
    made = ias_zoo.load("defect_gan", base=str(defect_gan_base), steps=1, batch=2, mask_threshold=0.05, device="cpu")
    report = made.fit(root, count=1)
    assert len(report.training_files) == 1
    samples = made.generate(4, normals=root, defect="dent", seed=0)
    assert {sample.image.shape[:2] for sample in samples} == {(200, 90), (40, 300)}
