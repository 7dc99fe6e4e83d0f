"""The trainer: exact resume, nothing half-written, a broken loss stops, crops keep small defects."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ias_zoo
from ias_zoo.diffusion.base import generator
from ias_zoo.errors import DataError, NotFitted, OptionError, RunError, TrainingError, WeightsError
from ias_zoo.generation.seeds import seed_for
from ias_zoo.hub import read_weights
from ias_zoo.testing.subject import toy_set
from ias_zoo.training.checkpoint import latest_checkpoint, read_checkpoint, trained_state
from ias_zoo.training.claim import claimed
from ias_zoo.training.shots import Shot, TrainingSet, augmented, choose_crop, load_shots
from ias_zoo.training.trainer import Phase, Schedule, train

CPU = torch.device("cpu")


class Line:
    """Fits a line through a network with batch norm and dropout, so that buffers and random streams matter."""

    name = "line"

    def __init__(self, broken_at: int = -1) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
        self.modules: Mapping[str, nn.Module] = {"network": self.network}
        self.broken_at = broken_at

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "lr": 1e-2}]

    def loss(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        x = torch.randn(16, 3, generator=generator(seed_for(step, micro)))
        error = (self.network(x)[:, 0] - x.sum(dim=1)).square().mean()
        return {"error": error * (float("nan") if step == self.broken_at else 1.0)}

    def preview(self, step: int, folder: Path) -> None:
        (folder / f"preview-{step}.txt").write_text("seen")


def digest(task: Line) -> str:
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in trained_state(task.modules).values())).hexdigest()


def test_it_learns_and_reports() -> None:
    task, seen = Line(), []
    report = train(task, Schedule(steps=200), CPU, step=lambda number, loss: seen.append((number, loss)))
    assert report.losses["error"][-1] < 0.2 * report.losses["error"][0]
    assert [number for number, _ in seen] == list(range(200))
    assert report.peak_memory_mb > 50


def test_accumulated_micro_batches_are_a_mean() -> None:
    one, two = Line(), Line()
    one.network[1], two.network[1] = nn.Identity(), nn.Identity()
    two.loss = lambda step, micro: {
        "error": 0.5 * (Line.loss(two, step, 0)["error"] + Line.loss(two, step, 1)["error"])
    }  # type: ignore[method-assign]
    train(one, Schedule(steps=5, accumulate=2), CPU)
    train(two, Schedule(steps=5), CPU)
    for left, right in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("stopped_at", [3, 7, 10])
def test_resumed_ends_in_the_same_bits(tmp_path: Path, stopped_at: int) -> None:
    whole = Line()
    report = train(whole, Schedule(steps=20, checkpoint_every=4), CPU, folder=tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(number: int, loss: float) -> None:
        if number == stopped_at:
            raise Stop

    schedule = Schedule(steps=20, checkpoint_every=4)
    with pytest.raises(Stop):
        train(Line(), schedule, CPU, folder=tmp_path / "part", step=stop)
    resumed = Line()
    again = train(resumed, schedule, CPU, folder=tmp_path / "part", resume=True)
    assert digest(resumed) == digest(whole)
    assert again.losses == report.losses


def test_moving_average(tmp_path: Path) -> None:
    """The result is the average of what the weights were, by hand; a resumed run ends in the same bits."""
    plain, seen = Line(), []
    start = plain.network[0].weight.detach().clone()
    train(plain, Schedule(steps=8), CPU, step=lambda *_: seen.append(plain.network[0].weight.detach().clone()))
    expected = start
    for number, weight in enumerate(seen):
        decay = min(0.5, (2 + number) / (11 + number))
        expected = decay * expected + (1 - decay) * weight
    schedule = Schedule(steps=8, checkpoint_every=3, ema=0.5)
    whole = Line()
    train(whole, schedule, CPU, folder=tmp_path / "whole")
    assert torch.allclose(whole.network[0].weight, expected, atol=1e-6)
    assert not torch.allclose(whole.network[0].weight, seen[-1], atol=1e-4)
    for stop in (4, 7):

        def cut(number: int, loss: float, stop: int = stop) -> None:
            if number == stop:
                raise KeyboardInterrupt

        place = tmp_path / f"part{stop}"
        with pytest.raises(KeyboardInterrupt):
            train(Line(), schedule, CPU, folder=place, step=cut)
        resumed = Line()
        train(resumed, schedule, CPU, folder=place, resume=True)
        assert digest(resumed) == digest(whole)


def test_checkpoints_are_whole_and_few(tmp_path: Path) -> None:
    train(Line(), Schedule(steps=12, checkpoint_every=2, preview_every=5), CPU, folder=tmp_path)
    place = tmp_path / "line"
    assert [path.name for path in sorted(place.glob("step-*"))] == ["step-0000010", "step-0000012"]
    assert {path.suffix for path in place.rglob("step-*/*")} == {".safetensors", ".json"}
    assert sorted(path.name for path in place.glob("preview*")) == ["preview-10.txt", "preview-5.txt"]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    task = Line()
    train(task, Schedule(steps=4, checkpoint_every=2), CPU, folder=tmp_path)
    newest = latest_checkpoint(tmp_path / "line")
    assert newest is not None
    (newest / "state.safetensors").write_bytes((newest / "state.safetensors").read_bytes()[:-20])
    with pytest.raises(WeightsError, match="step-0000004 cannot be read .*delete it to start from the one before"):
        read_checkpoint(newest, task.modules, {"adamw": torch.optim.AdamW(task.parameter_groups())})


def test_a_broken_loss_stops_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    task = Line(broken_at=7)
    with pytest.raises(TrainingError, match="not a number at step 7 .*error=nan.*step-0000006"):
        train(task, Schedule(steps=20, checkpoint_every=3), CPU, folder=tmp_path)
    assert all(torch.isfinite(parameter).all() for parameter in task.network.parameters())


class Duel:
    """Two networks whose optimisers take turns, one of them every third step once more, with a running mean."""

    name = "duel"

    def __init__(self, broken: str = "") -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)
        self.mean = nn.BatchNorm1d(2, affine=False)  # a module of buffers alone
        self.modules: Mapping[str, nn.Module] = {"left": self.left, "right": self.right, "mean": self.mean}
        self.broken, self.seen = broken, []

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {
            "left": torch.optim.Adam(self.left.parameters(), lr=1e-2, betas=(0.0, 0.9)),
            "right": torch.optim.SGD(self.right.parameters(), lr=1e-2, momentum=0.9),
        }

    def phases(self, step: int) -> list[Phase]:
        turns = [Phase("left", self.main), Phase("right", self.other)]
        return [*turns[:1], Phase("left", self.extra), *turns[1:]] if step % 3 == 0 else turns

    def _x(self, turn: str, step: int, micro: int) -> torch.Tensor:
        grads = {name: {p.requires_grad for p in getattr(self, name).parameters()} for name in ("left", "right")}
        self.seen.append((step, turn, grads))
        return torch.randn(16, 3, generator=generator(seed_for(turn, step, micro)))

    def main(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        x = self._x("main", step, micro)
        return {"main": (self.left(x) - self.right(x).detach() - 1).square().mean()}

    def extra(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        return {"extra": self.left(self._x("extra", step, micro)).square().mean()}

    def other(self, step: int, micro: int) -> dict[str, torch.Tensor]:
        x = self._x("other", step, micro)
        error = (self.right(x) - self.left(x)).square().mean()
        broken = float("nan") if step == 5 and self.broken == "loss" else 1.0
        if step == 5 and self.broken == "gradient":
            error = error + (x.sum() * 0 + self.right.weight[0, 0] * 0 + self.right.bias[0] - self.right.bias[0]).sqrt()
        return {"other": error * broken}

    def after_step(self, step: int) -> dict[str, float]:
        self.mean(self.left.weight.detach().t())
        return {"mean": float(self.mean.running_mean[0])} if step % 2 else {}

    def preview(self, step: int, folder: Path) -> None:
        (folder / f"preview-{step:07d}.png").write_bytes(b"picture %d" % step)


def test_optimisers_take_turns() -> None:
    task = Duel()
    report = train(task, Schedule(steps=30), CPU)
    turns = [turn for step, turn, _ in task.seen if step < 4]
    assert turns == ["main", "extra", "other", "main", "other", "main", "other", "main", "extra", "other"]
    for _, turn, grads in task.seen:  # only the parameters whose turn it is
        mine, theirs = ("right", "left") if turn == "other" else ("left", "right")
        assert grads == {mine: {True}, theirs: {False}}
    assert all(parameter.requires_grad for parameter in (*task.left.parameters(), *task.right.parameters()))
    assert len(report.losses["main"]) == len(report.losses["other"]) == 30
    assert report.at["extra"] == list(range(0, 30, 3))
    assert report.at["mean"] == list(range(1, 30, 2))
    assert len(report.values["mean"]) == 15
    assert "main" not in report.at


def test_turns_are_those_of_the_optimisers_by_hand() -> None:
    """Against a loop written out."""
    task, plain = Duel(), Duel()
    train(task, Schedule(steps=7), CPU)
    optimizers = plain.optimizers()
    for step in range(7):
        for phase in plain.phases(step):
            optimizer = optimizers[phase.optimizer]
            optimizer.zero_grad()
            sum(phase.loss(step, 0).values()).backward()  # type: ignore[union-attr]
            optimizer.step()
        plain.after_step(step)
    for name in ("left", "right", "mean"):
        for key, tensor in getattr(plain, name).state_dict().items():
            assert torch.equal(tensor, getattr(task, name).state_dict()[key]), f"{name}.{key}"


@pytest.mark.parametrize("stopped_at", [2, 5, 8])
def test_turns_resume_in_the_same_bits(tmp_path: Path, stopped_at: int) -> None:
    schedule = Schedule(steps=12, checkpoint_every=2, preview_every=1)
    whole = Duel()
    report = train(whole, schedule, CPU, folder=tmp_path / "whole")

    def stop(number: int, loss: float) -> None:
        if number == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Duel(), schedule, CPU, folder=tmp_path / "part", step=stop)
    resumed = Duel()
    again = train(resumed, schedule, CPU, folder=tmp_path / "part", resume=True)
    assert digest(resumed) == digest(whole)  # type: ignore[arg-type]
    assert (again.losses, again.values, again.at) == (report.losses, report.values, report.at)
    assert list(report.previews) == [f"preview-{step:07d}.png" for step in (1, 3, 5, 8, 10, 12)]
    assert report.previews["preview-0000012.png"] == b"picture 12"


def test_a_broken_turn_stops_before_its_weights(tmp_path: Path) -> None:
    task = Duel("loss")
    with pytest.raises(TrainingError, match="not a number at step 5 .*other=nan.*step-0000004"):
        train(task, Schedule(steps=9, checkpoint_every=2), CPU, folder=tmp_path)
    assert all(torch.isfinite(parameter).all() for parameter in task.right.parameters())


def test_broken_gradients_can_be_cleaned() -> None:
    """A root at 0 has no slope: its loss is a number and its gradient is not."""
    task = Duel("gradient")
    train(task, Schedule(steps=6), CPU)
    assert not torch.isfinite(task.right.bias).all()
    cleaned = Duel("gradient")
    train(cleaned, Schedule(steps=6, clean_gradients=1e5), CPU)
    assert all(torch.isfinite(parameter).all() for parameter in cleaned.right.parameters())


def test_phases_name_their_terms_apart_and_share_no_parameter() -> None:
    task = Duel()
    task.extra = task.main  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="two phases of step 0 name a term 'main'"):
        train(task, Schedule(steps=1), CPU)
    task = Duel()
    task.right = task.left
    with pytest.raises(ValueError, match="duel: a parameter is in two optimisers"):
        train(task, Schedule(steps=1), CPU)


def shot(size: tuple[int, int], box: tuple[int, int, int, int]) -> Shot:
    rng = np.random.default_rng(3)
    image = rng.integers(90, 160, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    image[mask] = 5
    return Shot("a", image, mask, "hole", "0")


def test_small_defects_are_cropped_around() -> None:
    tiny, large = shot((300, 400), (100, 100, 106, 110)), shot((300, 400), (50, 50, 250, 250))
    assert choose_crop([tiny], 128, 8, "auto") == 128
    assert choose_crop([large], 128, 8, "auto") is None
    assert choose_crop([tiny], 128, 8, "off") is None
    assert choose_crop([tiny], 128, 8, "96") == 96
    assert choose_crop([shot((100, 400), (10, 10, 13, 13))], 128, 8, "auto") is None
    for wrong in ("big", "4", "-1"):
        with pytest.raises(OptionError, match="expected auto, off, or a number"):
            choose_crop([tiny], 128, 8, wrong)
    for seed in range(30):
        triple = augmented(tiny, tiny.image, 128, 128, np.random.default_rng(seed))
        assert triple.mask.sum() == pytest.approx(60, abs=1), "the defect is not whole in its crop at native scale"
        assert (triple.image.mean(axis=0)[triple.mask > 0.5] < -0.8).all(), "mask and picture are cropped apart"
        assert np.array_equal(triple.image, triple.normal)


def test_whole_pictures_are_resized_with_their_masks() -> None:
    triple = augmented(
        shot((300, 400), (50, 100, 250, 300)), np.zeros((50, 70, 3), np.uint8), 64, None, np.random.default_rng(0)
    )
    assert triple.image.shape == triple.normal.shape == (3, 64, 64)
    dark = triple.image.mean(axis=0) < -0.5
    assert (dark == (triple.mask > 0.5)).mean() > 0.97
    assert triple.image.min() >= -1
    assert triple.image.max() <= 1


def test_shots_without_masks_or_defects_are_refused(tmp_path: Path, mvtec: Path) -> None:
    (mvtec / "train/good/000.png").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match="no defective pictures to learn from"):
        load_shots(ias_zoo.open_data(tmp_path))


KILLED = {
    "seas": ["steps=4", "mask_steps=4", "rank=2", "mask_channels=[16,16]", "checkpoint_every=1"],
    "dfmgan": ["kimg=0.04", "adapt_kimg=0.02", "batch=4", "checkpoint_every=1"],
}


@pytest.mark.parametrize(("name", "kills"), [("seas", 1), ("seas", 3), ("dfmgan", 2)])
def test_fit_killed_and_resumed_gives_the_same_weights(
    base_of: Callable[[str], Path], tmp_path: Path, name: str, kills: int
) -> None:
    data, options = toy_set(tmp_path / "data").root, KILLED[name]
    common = ["fit", name, "--data", str(data), "--base", str(base_of(name)), "--shots", "2", "--device", "cpu"]
    arguments = common + [part for option in options for part in ("--set", option)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ias_zoo", *arguments, "--out", str(out), "--resume"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    process = start(tmp_path / "whole")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert f"next: ias-zoo generate {name} --weights" in out
    place = tmp_path / ".killed.training"
    for count in range(kills):
        process = start(tmp_path / "killed")
        deadline = time.monotonic() + 120
        while len(_steps(place)) < count + 1 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert process.poll() is None, "the fit ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "killed").exists()
    process = start(tmp_path / "killed")
    _, err = process.communicate()
    assert process.returncode == 0, err
    weights = [read_weights(tmp_path / name).files for name in ("whole", "killed")]
    weights = [{name: h for name, h in files.items() if name.endswith(".safetensors")} for files in weights]
    assert weights[0] == weights[1]
    assert not place.exists(), "checkpoints are left behind"


def _steps(place: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in place.glob("*/step-*")}


def _fit_small(base: Path | str, data: TrainingSet, out: Path, **more: Any) -> None:
    options = {"steps": 1, "mask_steps": 1, "rank": 2, "mask_channels": (16, 16)}
    ias_zoo.load("seas", base=base, device="cpu", **options).fit(data, out=out, **more)


def test_another_training_is_not_resumed(random_base: Path, tmp_path: Path) -> None:
    data, out, place = toy_set(tmp_path / "data"), tmp_path / "weights", tmp_path / ".weights.training"
    (place / "masks/step-0000001").mkdir(parents=True)
    (place / "run.json").write_text("{}")
    with pytest.raises(OptionError, match="holds an unfinished training; --resume goes on with it"):
        _fit_small(random_base, data, out, count=2)
    with pytest.raises(OptionError, match="holds another training"):
        _fit_small(random_base, data, out, count=2, resume=True)
    assert (place / "run.json").read_text() == "{}", "a refused fit must not take the folder over"


def test_a_refused_fit_leaves_its_target_free(random_base: Path, tmp_path: Path) -> None:
    data, out = toy_set(tmp_path / "data"), tmp_path / "weights"
    with pytest.raises(WeightsError, match="tinny"):
        _fit_small("tinny", data, out, count=2)
    assert not (tmp_path / ".weights.training").exists()
    _fit_small(random_base, data, out, count=2)
    assert (out / "training.png").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_without_checkpoints_is_free(tmp_path: Path, resume: bool) -> None:
    place = tmp_path / ".weights.training"
    (place / "masks").mkdir(parents=True)
    (place / "run.json").write_text("{}")  # of a process that was killed before its first checkpoint
    with claimed(tmp_path / "weights", {"seed": 1}, resume=resume):
        assert json.loads((place / "run.json").read_text()) == {"seed": 1}
        assert not (place / "masks").exists()
    assert not place.exists()


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    with (
        claimed(target, {}, resume=False),
        pytest.raises(RunError, match="another process"),
        claimed(target, {}, resume=True),
    ):
        pass


def test_generate_without_weights_says_what_to_type(mvtec: Path, tmp_path: Path) -> None:
    from ias_zoo.generation.plan import make_plan

    with pytest.raises(NotFitted, match="ias-zoo fit seas --data DIR --out WEIGHTS"):
        make_plan("seas", mvtec, 3)


def test_fit_then_generate_from_the_shell(random_base: Path, tmp_path: Path) -> None:
    data = toy_set(tmp_path / "data").root
    weights, out = tmp_path / "weights", tmp_path / "out"
    fit = ["fit", "seas", "--data", data, "--base", random_base, "--shots", "2", "--out", weights, "--device", "cpu"]
    fit += ["--set", "steps=1", "--set", "mask_steps=1", "--set", "rank=2", "--set", "mask_channels=[16,16]"]
    done = _zoo(*fit)
    assert done.returncode == 0, done.stderr
    assert (weights / "training.png").stat().st_size > 5000
    generate = ["generate", "seas", "--weights", weights, "--base", random_base, "--data", data, "-n", 3, "--out", out]
    done = _zoo(
        *generate, "--set", "sampling_steps=4", "--set", "mask_threshold=0.01", "--device", "cpu", "--workers", 2
    )
    assert done.returncode == 0, done.stderr
    assert len(list((out / "test/scratch").glob("*.png"))) == 3
    assert _zoo("verify", out).returncode == 0
    done = _zoo("replay", out, 1)
    assert done.returncode == 0, done.stderr


def test_a_base_then_shots_from_the_shell(mvtec: Path, tmp_path: Path) -> None:
    """The base stage needs no shots: those are not even looked at."""
    base, weights, out = (tmp_path / name for name in ("base", "weights", "out"))
    broken = next((mvtec / "test/crack").iterdir())
    kept = broken.read_bytes()
    broken.write_bytes(b"no picture")
    sizes = ["resolution=32", "channels=256", "largest=16", "latent=16", "base_kimg=0.02", "batch=4"]
    options = [part for option in sizes for part in ("--set", option)]
    done = _zoo("fit", "dfmgan", "--stage", "base", "--data", mvtec, "--out", base, "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr
    assert "5 normals; whole pictures, at 32 pixels" in done.stdout
    assert f"next: ias-zoo fit dfmgan --base {base} --data" in done.stdout
    assert (base / "samples.png").stat().st_size > 1000
    assert len(list((base / "previews").iterdir())) == 5  # a step each: no more than there were
    broken.write_bytes(kept)
    fit = ["fit", "dfmgan", "--base", base, "--data", mvtec, "--shots", 2, "--out", weights, "--device", "cpu"]
    done = _zoo(*fit, "--set", "kimg=0.02", "--set", "batch=4", "--preview-every", 0)
    assert done.returncode == 0, done.stderr
    assert not (weights / "previews").exists()
    done = _zoo("generate", "dfmgan", "--weights", weights, "--data", mvtec, "-n", 4, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in out.glob("test/*/*.png")} == {"crack", "dent"}
    done = _zoo("fit", "dfmgan", "--stage", "base", "--defect", "crack", "--data", mvtec, "--out", tmp_path / "no")
    assert done.returncode != 0
    assert "trains on normals alone" in done.stderr
    done = _zoo("fit", "seas", "--stage", "base", "--data", mvtec, "--out", tmp_path / "no")
    assert "trains no base of its own" in done.stderr


def _zoo(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ias_zoo", *map(str, arguments)], capture_output=True, text=True)
