"""DualAnoDiff the whole way (check 14): fits, weights, resuming, batches of requests, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_dualanodiff import PROMPTS, QUICK, up_weights

import ias_zoo
from ias_zoo.data.images import encode_png
from ias_zoo.diffusion.base import Base, open_base
from ias_zoo.errors import DataError, OptionError, RequestError, WeightsError
from ias_zoo.generation.requests import Normals
from ias_zoo.testing.subject import picture
from ias_zoo.training.shots import Shot, TrainingSet
from ias_zoo.training.trainer import Schedule, train
from ias_zoo_dualanodiff.options import DualAnoDiffOptions
from ias_zoo_dualanodiff.stages import (
    Batches,
    PairStage,
)
from ias_zoo_dualanodiff.synthesizer import DualAnoDiff

pytestmark = pytest.mark.usefixtures("one_thread")


def fitted(random_base: Path, toys: TrainingSet, **options: Any) -> DualAnoDiff:
    made: DualAnoDiff = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **(QUICK | options))
    made.fit(toys)
    return made


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Dark discs on light ground with a bright spot, two types: products whose background can be told."""
    root = tmp_path_factory.mktemp("products")
    y, x = np.mgrid[:96, :128]

    def draw(seed: int, spot: bool) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        image = np.full((96, 128, 3), 220.0) + rng.normal(0, 3, (96, 128, 3))
        disc = (y - 48) ** 2 + (x - 64) ** 2 < 30**2
        image[disc] = 60
        mask = (y - 40 - seed % 5) ** 2 + (x - 60) ** 2 < 8**2
        if spot:
            image[mask] = (200, 60, 60)
        return np.clip(image, 0, 255).astype(np.uint8), mask

    def write(path: Path, array: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(array))

    for number in range(3):
        write(root / f"train/good/{number}.png", draw(number, spot=False)[0])
    for defect in ("hole", "spot"):
        for number in range(3):
            image, mask = draw(10 + number, spot=True)
            write(root / f"test/{defect}/{number}.png", image)
            write(root / f"ground_truth/{defect}/{number}_mask.png", mask)
    return ias_zoo.open_data(root)


@pytest.mark.parametrize(("models", "bcm"), [("each", "off"), ("each", "code"), ("joint", "paper")])
def test_weights_come_back_to_the_bit(random_base: Path, products: Any, tmp_path: Path, models: str, bcm: str) -> None:
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", models=models, bcm=bcm, **QUICK)
    made.fit(products, count=2, out=tmp_path / "weights")
    again = ias_zoo.load("dualanodiff", tmp_path / "weights", base=str(random_base), device="cpu")
    sets = 2 if models == "each" else 1
    assert len(made._model.sets) == len(again._model.sets) == sets
    folders = sorted(path.name for path in (tmp_path / "weights").iterdir() if path.is_dir())
    assert folders == [f"set-{number}" for number in range(sets)]
    wanted = {"saim.safetensors", "global_lora", "anomaly_lora", "text_lora"}
    found = {path.name for path in (tmp_path / "weights/set-0").iterdir()}
    assert found == wanted | ({"bcm.safetensors"} if bcm != "off" else set())
    for one, other in zip(made._model.sets, again._model.sets, strict=True):
        for name, module in one.modules.items():
            for key, tensor in module.state_dict().items():
                assert torch.equal(other.modules[name].state_dict()[key], tensor), key
    for part in ("unet", "text_encoder"):
        one, other = (getattr(model._model.base, part).state_dict() for model in (made, again))
        assert set(one) == set(other)
        assert any("lora" in key for key in one)
        assert all(torch.equal(other[key], tensor) for key, tensor in one.items())
    normal = Normals(products).read(0).image
    requests = [ias_zoo.Request(seed=seed, normal=normal, defect=("hole", "spot")[seed % 2]) for seed in range(3)]
    samples = [model.synthesize(requests) for model in (made, again)]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(*samples, strict=True))
    assert [sample.defect for sample in samples[0]] == ["hole", "spot", "hole"]


def test_half_precision(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    fitted(random_base, toys).save_pretrained(tmp_path / "weights")
    half = ias_zoo.load("dualanodiff", tmp_path / "weights", base=str(random_base), device="cpu", dtype="bfloat16")
    assert {p.dtype for module in half._model.sets[0].modules.values() for p in module.parameters()} == {torch.bfloat16}
    assert half.synthesize([ias_zoo.Request(seed=0, defect="scratch")])[0].image.shape == (64, 64, 3)


def test_peft_reads_an_adapter_by_itself(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    made = fitted(random_base, toys)
    made.save_pretrained(tmp_path / "weights")
    from peft import PeftModel

    unet = open_base(str(random_base), None, device="cpu").unet
    wrapped = PeftModel.from_pretrained(unet, str(tmp_path / "weights/set-0/anomaly_lora"))
    mine = up_weights(made._model.base.unet, "anomaly0")  # type: ignore[union-attr]
    theirs = [p for name, p in wrapped.named_parameters() if "lora_B" in name]
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


def test_resumed_training_is_the_same(random_base: Path, products: Any, tmp_path: Path) -> None:
    options = QUICK | {"steps": 2, "checkpoint_every": 1}
    whole = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **options)
    whole.fit(products, count=2, out=tmp_path / "whole")

    class Stop(Exception):
        """The power goes."""

    def interrupt(stage: str, number: int, steps: int, loss: float) -> None:
        if stage.startswith("1-") and number == 2:
            raise Stop

    broken = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **options)
    with pytest.raises(Stop):
        broken.fit(products, count=2, out=tmp_path / "broken", step=interrupt)
    again = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **options)
    again.fit(products, count=2, out=tmp_path / "broken", resume=True)
    for path in (tmp_path / "whole").rglob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "broken" / path.relative_to(tmp_path / "whole")).read_bytes(), path


def test_previews(random_base: Path, products: Any, tmp_path: Path) -> None:
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **(QUICK | {"bcm": "code"}))
    written: list[str] = []

    def look(stage: str, number: int, steps: int, loss: float) -> None:
        written.extend(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("preview-*.png"))

    made.fit(products, count=2, out=tmp_path / "weights", preview_every=1, step=look)
    assert written == [".weights.training/0-hole/preview-0000001.png"]  # seen from the second type's only step


def test_a_batch_of_requests_is_the_requests_one_by_one(random_base: Path, products: Any) -> None:
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **(QUICK | {"bcm": "paper"}))
    made.fit(products, count=2)
    normal = Normals(products).read(0)
    requests = [
        ias_zoo.Request(seed=seed, normal=normal.image, defect=defect)
        for seed, defect in enumerate(["hole", "spot", "spot", "hole", "spot"])
    ]
    together = made.synthesize(requests)
    alone = [made.synthesize([request])[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.mask, other.mask)
    assert not np.array_equal(together[1].image, together[2].image)
    assert together[1].recipe["drawn"]["prompts"] == list(PROMPTS)


def test_refusals(random_base: Path, toys: TrainingSet, products: Any, wider_base: Path, tmp_path: Path) -> None:
    made = fitted(random_base, toys)
    with pytest.raises(RequestError, match="'dent'; these weights know scratch"):
        made.synthesize([ias_zoo.Request(seed=0, defect="dent")])
    made.save_pretrained(tmp_path / "weights")
    with pytest.raises(WeightsError, match="do not fit base"):
        ias_zoo.load("dualanodiff", tmp_path / "weights", base=str(wider_base), device="cpu")
    with pytest.raises(OptionError, match="rank=8: these weights were trained with 2"):
        ias_zoo.load("dualanodiff", tmp_path / "weights", device="cpu", rank=8)
    with pytest.raises(DataError, match="textures need bcm=off"):
        fitted(random_base, toys, bcm="code")
    with pytest.raises(OptionError, match="u2net=FILE"):
        fitted(random_base, toys, masks="u2net")
    with_background = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **(QUICK | {"bcm": "code"}))
    with_background.fit(products, count=2)
    with pytest.raises(RequestError, match="need a normal"):
        with_background.synthesize([ias_zoo.Request(seed=0, defect="hole")])


def test_a_normal_of_another_size(random_base: Path, products: Any) -> None:
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **(QUICK | {"bcm": "paper"}))
    made.fit(products, count=2)
    image = Normals(products).read(0).image
    large = np.repeat(np.repeat(image, 3, axis=0), 2, axis=1)
    other = large.copy()
    other[other > 100] = 130  # the background alone
    one, two = made.synthesize([ias_zoo.Request(seed=1, normal=normal, defect="hole") for normal in (large, other)])
    assert one.image.shape == two.image.shape == (64, 64, 3)
    assert not np.array_equal(one.image, two.image), "the normal's background is not used"


@pytest.mark.parametrize("share", [0.0005, 0.6])
def test_one_shot_with_a_tiny_or_huge_mask(random_base: Path, share: float) -> None:
    side = 90
    mask = np.zeros((side, side), np.bool_)
    mask.flat[: max(1, round(share * side * side))] = True
    mask = np.roll(mask, side // 3, axis=1)
    image = picture((side, side), 3)
    image[mask] = 10
    shot = Shot("shot", image, mask, "scratch", "0" * 64)
    data = TrainingSet((shot,), Normals([picture((side, side), 4)]), ("scratch",))
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", **QUICK)
    made.fit(data)
    sample = made.synthesize([ias_zoo.Request(seed=0, defect="scratch")])[0]
    assert sample.image.shape == (64, 64, 3)
    batch = Batches([shot], None, 64, None, 2, 0, flip=True).make(0, 0)
    assert batch.masks.flatten(1).any(dim=1).all(), "the anomaly vanished"


def test_options_are_documented_defaults() -> None:
    options = DualAnoDiffOptions()
    assert (options.models, options.rank, options.bcm, options.bcm_latents) == ("each", 32, "off", "unscaled")


def test_published_constants_at_512_pixels(random_base: Path, toys: TrainingSet, monkeypatch: Any) -> None:
    """What a large base gets: the published rates, steps and batch; seen where they are handed to the trainer."""
    from ias_zoo_dualanodiff import synthesizer

    seen: list[tuple[Any, Schedule, list[float], int]] = []

    def spy(stage: PairStage, schedule: Schedule, device: Any, **rest: Any) -> Any:
        rates = [group["lr"] for group in stage.parameter_groups()]
        seen.append((stage.name, schedule, rates, stage.batches.size))
        return train(stage, Schedule(steps=1), device, **rest)

    monkeypatch.setattr(synthesizer, "train", spy)
    monkeypatch.setattr(Base, "small", property(lambda self: False))
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", sampling_steps=2, rank=2)
    made.fit(toys)
    name, schedule, rates, size = seen[0]
    assert name == "0-scratch"
    assert rates == [2e-5, 2e-5]
    assert (schedule.steps, schedule.accumulate, schedule.checkpoint_every) == (5000, 1, 1000)
    assert (schedule.max_grad_norm, size) == (1.0, 4)
    assert made.batch_size == 1
    recipe = made.synthesize([ias_zoo.Request(seed=0, defect="scratch")])[0].recipe
    assert recipe["drawn"]["guidance"] == 2.5
    assert json.dumps(recipe)
