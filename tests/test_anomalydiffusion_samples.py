"""AnomalyDiffusion's samples: masks given and its own, regions, batches, refusals, resumed fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from small_anomalydiffusion import QUICK, method, requests

import ias_zoo
from ias_zoo.diffusion.base import open_base
from ias_zoo.errors import OptionError, RequestError
from ias_zoo.synthesizer import Request
from ias_zoo.testing.subject import disc, picture, toy_set
from ias_zoo.training.checkpoint import latest_checkpoint
from ias_zoo.training.shots import TrainingSet, load_shots
from ias_zoo_anomalydiffusion import drawing
from ias_zoo_anomalydiffusion.drawing import composing_of, masks_of
from ias_zoo_anomalydiffusion.options import AnomalyDiffusionOptions
from ias_zoo_anomalydiffusion.synthesizer import AnomalyDiffusion
from ias_zoo_anomalydiffusion.words import PLACE, embed

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def fitted(random_base: Path, toys: TrainingSet) -> AnomalyDiffusion:
    made = method(random_base)
    made.fit(toys)
    return made


@pytest.mark.parametrize(("reweight", "guidance"), [("off", 1.0), ("code", 2.0), ("paper", 1.0)])
def test_batches_equal_singles(random_base: Path, toys: TrainingSet, reweight: str, guidance: float) -> None:
    made = method(random_base, reweight=reweight, guidance=guidance, sampling_batch=5)
    made.fit(toys)
    asked = requests(5)
    asked[2] = Request(seed=2, normal=picture((90, 70), 2), mask=disc((90, 70)), defect="scratch")
    torch.set_num_threads(2)  # the batch is shared out
    together = made.synthesize(asked)
    torch.set_num_threads(1)
    alone = [made.synthesize([request])[0] for request in asked]
    pairs = [made.synthesize(asked[first : first + 2]) for first in (0, 2, 4)]
    for one, other, third in zip(together, alone, [sample for pair in pairs for sample in pair], strict=True):
        for sample in (other, third):
            assert np.array_equal(one.image, sample.image)
            assert np.array_equal(one.mask, sample.mask)
            assert one.recipe == sample.recipe


def test_a_given_mask_is_answered_in_the_normals_frame(fitted: AnomalyDiffusion) -> None:
    normal, mask = picture((120, 90), 1), np.zeros((120, 90), bool)
    mask[90:110, 20:50] = True  # off the centre square
    (sample,) = fitted.synthesize([Request(seed=1, normal=normal, mask=mask, defect="scratch")])
    assert sample.image.shape == normal.shape
    assert np.array_equal(sample.mask, mask)
    changed = (sample.image != normal).any(axis=2)
    assert changed[mask].mean() > 0.5
    assert np.nonzero(changed)[0].min() > 60, "far from the mask the normal keeps its pixels"
    model = ias_zoo.load("anomalydiffusion", base=fitted.setup.base, device="cpu", **(QUICK | {"output": "model"}))
    model._model, model.manifest = fitted._model, fitted.manifest
    (square,) = model.synthesize([Request(seed=1, normal=normal, mask=mask, defect="scratch")])
    assert square.image.shape == (64, 64, 3)
    assert square.mask.any()


@pytest.mark.parametrize("share", [0.0005, 0.6])
def test_tiny_and_huge_masks(fitted: AnomalyDiffusion, share: float) -> None:
    normal = picture((200, 200), 4)
    mask = np.zeros((200, 200), bool)
    side = round((share * mask.size) ** 0.5)
    mask[20 : 20 + side, 20 : 20 + side] = True
    (sample,) = fitted.synthesize([Request(seed=1, normal=normal, mask=mask, defect="scratch")])
    assert np.array_equal(sample.mask, mask)
    assert (sample.image != normal).any(axis=2)[mask].any(), "nothing was painted"


def test_a_mask_wider_than_any_square_is_refused(fitted: AnomalyDiffusion) -> None:
    mask = np.zeros((64, 128), bool)
    mask[30, 4:120] = True
    with pytest.raises(RequestError, match=r"spans 1 x 116 pixels.*at most 64"):
        fitted.synthesize([Request(seed=1, normal=picture((64, 128), 1), mask=mask, defect="scratch")])


def test_unknown_types_and_hopeless_masks_are_refused_in_words(fitted: AnomalyDiffusion, random_base: Path) -> None:
    with pytest.raises(RequestError, match="these weights know scratch"):
        fitted.synthesize([Request(seed=1, normal=picture((64, 64), 1), defect="dent")])
    never = method(random_base, mask_threshold=0.999, mask_tries=2)
    never._model, never.manifest = fitted._model, fitted.manifest
    with pytest.raises(RequestError, match="no usable mask of 'scratch' in 2 tries.*mask_threshold"):
        never.synthesize(requests(1))


def test_masks_of_the_shots(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    made = method(random_base, masks="shots")
    report = made.fit(toys, out=tmp_path / "weights")
    assert [stage.name for stage in report.stages] == ["anomaly"]
    assert made._model is not None
    ours = made._model.shot_masks["scratch"]
    known = [np.flip(mask, axes) for mask in ours for axes in ((), (0,), (1,), (0, 1))]
    samples = made.synthesize(requests(6))
    for sample in samples:
        assert any(np.array_equal(sample.mask, mask) for mask in known)
    assert len({sample.mask.tobytes() for sample in samples}) > 1
    again = ias_zoo.load("anomalydiffusion", str(tmp_path / "weights"), base=str(random_base), device="cpu")
    for one, other in zip(samples, again.synthesize(requests(6)), strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.mask, other.mask)
    with pytest.raises(OptionError, match="masks"):
        ias_zoo.load("anomalydiffusion", str(tmp_path / "weights"), base=str(random_base), masks="drawn")


@pytest.mark.parametrize("masks", ["shots", "drawn"])
def test_own_masks_are_moved_into_a_region(random_base: Path, toys: TrainingSet, masks: str) -> None:
    made = method(random_base, masks=masks)
    made.fit(toys)
    region = np.zeros((96, 80), np.bool_)
    region[60:90, 50:76] = True
    normal = picture((96, 80), 3)
    asked = [Request(seed=n, normal=normal, defect="scratch", region=region) for n in range(5)]
    samples = made.synthesize(asked)
    for sample in samples:
        assert sample.mask.shape == region.shape
        assert sample.mask.any()
        assert not (sample.mask & ~region).any()
        far = cv2.dilate(sample.mask.astype(np.uint8), np.ones((5, 5))) == 0
        assert np.array_equal(sample.image[far], normal[far])
        assert not np.array_equal(sample.image[~far], normal[~far])
    if masks == "shots":  # drawn by networks that learned nothing, masks cover the whole region
        assert len({sample.mask.tobytes() for sample in samples}) > 1
    given = np.zeros_like(region)
    given[10:20, 10:20] = True
    told = made.synthesize([replace(asked[0], mask=given)])[0]
    assert np.array_equal(told.mask, given), "a given mask is where it was given"


def test_a_sample_that_shows_too_little_is_painted_again(
    random_base: Path, toys: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = method(random_base, least_seen=0.5)
    made.fit(toys)
    shown: dict[int, list[float]] = {0: [0.1, 0.6], 1: [0.2, 0.0, 0.4, 0.3], 2: [0.7]}
    turns: list[int] = []
    real = drawing._paint

    def painted(model: Any, options: Any, tasks: Any, threads: int) -> list[drawing._Painted]:
        turns.append(len(tasks))
        found = []
        for one in real(model, options, tasks, threads):
            number = next(n for n, task in enumerate(made_tasks) if task is one.task)
            share = shown[number].pop(0)
            image = one.picture.copy()
            places = np.flatnonzero(one.mask)
            rows, columns = np.divmod(places[: round(share * len(places))], one.mask.shape[1])
            image[rows, columns] ^= 128
            found.append(replace(one, image=image))
        return found

    made_tasks: list[Any] = []
    plan = drawing._plan
    monkeypatch.setattr(drawing, "_plan", lambda *given: made_tasks.append(plan(*given)) or made_tasks[-1])
    monkeypatch.setattr(drawing, "_paint", painted)
    samples = made.synthesize(requests(3))
    assert turns == [3, 2, 1, 1]
    assert [sample.recipe["drawn"]["seen"] for sample in samples] == pytest.approx([0.6, 0.4, 0.7], abs=0.02)


def test_one_shot(random_base: Path, tmp_path: Path) -> None:
    made = method(random_base, batch=4)
    report = made.fit(load_shots(toy_set(tmp_path / "toys"), shots=1))
    assert len(report.training_files) == 1
    assert made.synthesize(requests(1))[0].mask.any()


def test_wrong_options_are_refused(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    made = method(random_base, tokens=8)
    made.fit(toys, out=tmp_path / "weights")
    with pytest.raises(OptionError, match="tokens=4: these weights were trained with 8"):
        ias_zoo.load("anomalydiffusion", str(tmp_path / "weights"), base=str(random_base), tokens=4)
    with pytest.raises(OptionError, match="76 vectors do not fit into 77 tokens at place 6"):
        embed(open_base(str(random_base), None), [f"a photo of a {PLACE}"], [torch.zeros(76, 32)])


def test_resumed_is_the_same_as_never_stopped(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    options = {"steps": 4, "mask_steps": 3, "checkpoint_every": 2}
    whole = method(random_base, **options)
    whole.fit(toys, out=tmp_path / "whole")

    def stop(stage: str, number: int, steps: int, loss: float) -> None:
        if (stage, number) == ("masks", 3):
            raise KeyboardInterrupt

    cut = method(random_base, **options)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(toys, out=tmp_path / "cut", step=stop)
    assert latest_checkpoint(tmp_path / ".cut.training/masks") is not None
    resumed = method(random_base, **options)
    resumed.fit(toys, out=tmp_path / "cut", resume=True)
    for name in ("tokens.safetensors", "encoder.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_previews_leave_the_training_as_it_is(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    kept: list[Path] = []

    def look(stage: str, number: int, steps: int, loss: float) -> None:
        kept.extend((tmp_path / ".with.training").rglob("preview-*.png"))

    with_previews, without = (method(random_base, steps=3, mask_steps=2) for _ in range(2))
    with_previews.fit(toys, out=tmp_path / "with", preview_every=1, step=look)
    without.fit(toys, out=tmp_path / "without")
    assert kept, "no preview was written"
    for name in ("tokens.safetensors", "encoder.safetensors"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name


def painted(fitted: AnomalyDiffusion, request: Request, **options: Any) -> Any:
    made = ias_zoo.load("anomalydiffusion", base=fitted.setup.base, device="cpu", **(QUICK | options))
    made._model, made.manifest = fitted._model, fitted.manifest
    return made.synthesize([request])[0]


def test_where_a_sample_counts(fitted: AnomalyDiffusion) -> None:
    normal, mask = picture((64, 64), 1), np.zeros((64, 64), bool)
    mask[10:15, 10:15] = True
    request = Request(seed=1, normal=normal, mask=mask, defect="scratch")
    whole, soft, exact = (
        painted(fitted, request, compose=how, output="model").image for how in ("off", "soft", "mask")
    )
    far, beyond = np.s_[32:], ~grown_by(mask, 1)
    assert (whole != normal).any(axis=2)[far].mean() > 0.5, "through the autoencoder"
    assert not (soft != normal)[far].any()
    assert not (exact != normal)[beyond].any()
    assert (soft != normal)[beyond].any(), "painted cells reach over the mask"
    for image in (soft, exact):
        assert np.array_equal(image[mask], whole[mask])


def grown_by(mask: Any, pixels: int) -> Any:
    side = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def test_put_back_a_given_mask_counts_to_the_pixel(fitted: AnomalyDiffusion) -> None:
    normal, mask = picture((300, 260), 1), np.zeros((300, 260), bool)
    mask[140:160, 100:103] = True  # thinner than a pixel of the model
    sample = painted(fitted, Request(seed=1, normal=normal, mask=mask, defect="scratch"))
    changed = (sample.image != normal).any(axis=2)
    assert changed[mask].mean() > 0.9
    assert not changed[~grown_by(mask, 1)].any()


def test_what_follows_from_the_base() -> None:
    large, small = SimpleNamespace(small=False), SimpleNamespace(small=True)
    options = AnomalyDiffusionOptions()
    assert composing_of(options, large, whole=False) == "off", "published"
    assert composing_of(options, large, whole=True) == "mask"
    assert composing_of(options, small, whole=False) == "mask"
    assert composing_of(AnomalyDiffusionOptions(compose="soft"), small, whole=True) == "soft"
    assert (masks_of(options, large), masks_of(options, small)) == ("drawn", "shots")


def test_grey_normals_are_painted_in_grey(fitted: AnomalyDiffusion) -> None:
    normal = np.repeat(picture((64, 64), 1)[:, :, :1], 3, axis=2)
    request = Request(seed=1, normal=normal, mask=disc((64, 64)), defect="scratch")
    grey, free = (painted(fitted, request, compose="off", grey=wanted).image for wanted in (None, False))
    assert (grey == grey[:, :, :1]).all()
    assert (free != free[:, :, :1]).any()
    coloured = Request(seed=1, normal=picture((64, 64), 1), mask=disc((64, 64)), defect="scratch")
    image = painted(fitted, coloured, compose="off", grey=True).image
    assert (image != image[:, :, :1]).any(), "only grey normals are"
