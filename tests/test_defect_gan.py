"""Defect-GAN as a method of the zoo: fits on a base and from nothing, base stage, samples, masks, weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_defect_gan import NORMAL, request, stage

import ias_zoo
from ias_zoo.data import open_data
from ias_zoo.data.images import encode_png
from ias_zoo.errors import DataError, OptionError, RequestError, WeightsError
from ias_zoo.generation.requests import Normals
from ias_zoo.testing.subject import SHAPE, disc, picture, toy_set
from ias_zoo.training.shots import TrainingSet
from ias_zoo.training.trainer import train
from ias_zoo_defect_gan.base import for_defects, read_base
from ias_zoo_defect_gan.drawn import DrawnDefects
from ias_zoo_defect_gan.networks import Architecture
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.synthesizer import DefectGAN

pytestmark = pytest.mark.usefixtures("one_thread")


# Training


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


def test_the_adapter_is_in_pefts_own_format(fitted_defect_gan: DefectGAN, tmp_path: Path) -> None:
    from peft import LoraConfig
    from safetensors.torch import load_file

    fitted_defect_gan.save_pretrained(tmp_path / "weights")
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


# Refusals


def test_unknown_types_and_bad_choices_are_refused_in_words(
    fitted_defect_gan: DefectGAN, defect_gan_base: Path, toys: TrainingSet, tmp_path: Path
) -> None:
    for name in ("hole", "scratch+hole"):
        with pytest.raises(RequestError, match="these weights know scratch"):
            fitted_defect_gan.synthesize([request(defect=name)])
    with pytest.raises(OptionError, match="'lora' adapts a base"):
        ias_zoo.load("defect_gan", adapter="lora", steps=1).fit(toys)
    with pytest.raises(OptionError, match="size=128: base .* has 64"):
        ias_zoo.load("defect_gan", base=str(defect_gan_base), size=128, steps=1).fit(toys)
    fitted_defect_gan.save_pretrained(tmp_path / "weights")
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
