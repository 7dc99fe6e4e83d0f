"""Comparisons: one split for all, resumable, repeatable, and honest about what was left out."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ias_zoo.cli import main
from ias_zoo.errors import DataError, IasZooError, MissingDependency, OptionError, RunError
from ias_zoo.evaluation import compare as module
from ias_zoo.evaluation.compare import Task, compare
from ias_zoo.evaluation.evaluate import evaluate
from ias_zoo.evaluation.protocols import PROTOCOLS
from ias_zoo.generation.plan import Plan, make_plan
from ias_zoo.generation.provenance import read_provenance
from ias_zoo.generation.run import run
from ias_zoo.registry import State
from ias_zoo.testing.subject import toy_set

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _toy_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = dataclasses.replace(
        PROTOCOLS["quick"], name="toy", side=32, steps=3, batch=2, choice_steps=1, classifier_steps=1, seeds=2,
        encoder_depth=3, decoder_channels=(16, 16, 16), uses=("mix:0.5", "pretrain:0.5"),
    )  # fmt: skip
    monkeypatch.setitem(PROTOCOLS, "toy", toy)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_set(tmp_path_factory.mktemp("toys")).root


def task(toys: Path, **more: Any) -> Task:
    return Task(data=toys, shots=2, protocol="toy", n=4, **more)


def results(out: Path) -> dict[str, Any]:
    """Every result, without what a clock says."""
    found = {}
    for path in sorted(out.glob("*/seed-*/result.json")):
        text = re.sub(r'"seconds": \{[^}]*\}', '"seconds": 0', path.read_text())
        result = {**json.loads(text), "cost": 0}
        result["quality"].pop("run", None)  # its folder
        found[path.parent.relative_to(out).as_posix()] = result
    return found


def test_killed_and_resumed_gives_the_same_table(toys: Path, tmp_path: Path) -> None:
    whole = compare(task(toys), ["cutpaste"], tmp_path / "whole")
    assert {row.method for row in whole.rows} == {"cutpaste", "crop_paste"}  # the baseline comes by itself
    assert whole.seeds == [0, 1]
    assert all(sorted(row.gain) == [0, 1] for row in whole.rows)
    names = set(results(tmp_path / "whole"))
    assert names == {f"{m}/seed-{s}" for m in ("real-only", "cutpaste", "crop_paste") for s in (0, 1)}

    class Stop(Exception):
        pass

    calls = 0

    def stop(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls in (5, 25, 45):  # in the reference, while a set is generated or learned from, and later
            raise Stop

    for _ in range(3):
        with pytest.raises(Stop):
            compare(task(toys), ["cutpaste"], tmp_path / "part", step=stop)
    part = compare(task(toys), ["cutpaste"], tmp_path / "part")
    assert results(tmp_path / "part") == results(tmp_path / "whole")
    assert [(row.method, row.gain) for row in part.rows] == [(row.method, row.gain) for row in whole.rows]


def test_only_what_is_missing_is_run(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[int, bool]] = []
    kept = module.gain

    def counting(*args: Any, **more: Any) -> Any:
        trained.append((args[5], args[3] is not None))
        return kept(*args, **more)

    monkeypatch.setattr(module, "gain", counting)
    compare(task(toys, seeds=1), [], tmp_path)
    assert trained == [(0, False), (0, True)]
    compare(task(toys, seeds=1), ["cutpaste"], tmp_path)
    assert trained[2:] == [(0, True)]
    found = compare(task(toys, seeds=1), [], tmp_path)
    assert len(trained) == 3
    assert {row.method for row in found.rows} == {"cutpaste", "crop_paste"}  # earlier methods stay in the table
    # The arm without synthetic pictures is trained once, and is the same in every result.
    alone = [result["downstream"]["shots"] for result in results(tmp_path).values()]
    assert len(alone) == 3
    assert alone[0] == alone[1] == alone[2]


def test_other_settings_are_refused(toys: Path, tmp_path: Path) -> None:
    compare(task(toys, seeds=1), [], tmp_path)
    with pytest.raises(RunError, match="another n; give a new --out"):
        compare(dataclasses.replace(task(toys, seeds=1), n=5), [], tmp_path)
    changed = task(toys, seeds=1, options={"crop_paste": {"feather": 1.0}})
    with pytest.raises(RunError, match=r"crop_paste was made with another options \(feather\); .*delete"):
        compare(changed, [], tmp_path)
    compare(task(toys, seeds=1, options={"crop_paste": {"feather": 2.0}}), [], tmp_path)  # the default, spelled out
    with pytest.raises(OptionError, match="not among the methods"):
        compare(task(toys, options={"draem": {}}), [], tmp_path)
    with pytest.raises(OptionError, match="no option 'varient'; did you mean 'variant'"):
        compare(task(toys, options={"draem": {"varient": "paper"}}), ["draem"], tmp_path / "new")
    with pytest.raises(OptionError, match="perturbs feature maps"):
        compare(task(toys), ["ami_net"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_weights_of_other_options_are_not_reused(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def stop(name: str, what: str, number: int, steps: int) -> None:
        if what == "generating" and name.startswith("defect_gan"):
            raise Stop

    def asked(steps: int, **more: Any) -> Task:
        return task(toys, seeds=1, base="tiny", options={"defect_gan": {"steps": steps}}, **more)

    with pytest.raises(Stop):  # the fit is done, nothing else of the method
        compare(asked(2), ["defect_gan"], tmp_path, step=stop)
    weights = tmp_path / "defect_gan/weights"
    before = (weights / "ias_zoo.json").read_bytes()
    with pytest.raises(RunError, match=r"defect_gan was made with another options \(steps\)"):
        compare(asked(3), ["defect_gan"], tmp_path)
    found = compare(asked(2), ["defect_gan"], tmp_path)
    (row,) = (row for row in found.rows if row.method == "defect_gan")
    assert not found.failed
    assert row.gain
    assert row.costs("fit_seconds")
    assert (weights / "ias_zoo.json").read_bytes() == before  # fitted once
    each = compare(asked(2, fit_each_seed=True), ["defect_gan"], tmp_path / "each")
    assert not each.failed
    assert (tmp_path / "each/defect_gan/seed-0/weights/ias_zoo.json").is_file()


def test_changed_pictures_are_refused(toys: Path, tmp_path: Path) -> None:
    data = shutil.copytree(toys, tmp_path / "data")
    compare(task(data, seeds=1), [], tmp_path / "out")
    mask = sorted(data.glob("masks/*/*.png"))[-1]
    array = np.asarray(Image.open(mask)).copy()
    array[:4] = array.max()
    Image.fromarray(array).save(mask)
    with pytest.raises(RunError, match="pictures or masks in .* have changed since; give a new --out"):
        compare(task(data, seeds=1), ["cutpaste"], tmp_path / "out")


def test_figures_can_be_asked_for_later(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(task(toys, seeds=1), [], tmp_path)
    path = tmp_path / "crop_paste/seed-0/result.json"
    before = json.loads(path.read_text())
    asked: list[dict[str, Any]] = []

    def measuring(*_: Any, **more: Any) -> dict[str, Any]:
        asked.append(more)
        return {"defects": {}, "overall": {"fid": {"value": 1.0}}}

    monkeypatch.setattr(module, "measure", measuring)
    monkeypatch.setattr(module, "gain", None)  # no detector is trained again
    more = task(toys, seeds=1, measures={"extractor": "inception-v3"})
    for _ in range(2):
        compare(more, [], tmp_path)
    assert [(each["extractor"], each["device"]) for each in asked] == [("inception-v3", "cpu")]
    after = json.loads(path.read_text())
    assert after["quality"]["overall"]["fid"]["value"] == 1.0
    assert after["detail"] == before["detail"]
    missing = {"extractor": "inception-v3", "weights": {"inception": "nowhere"}}
    with pytest.raises(OptionError, match="inception=nowhere: no such file"):
        compare(dataclasses.replace(more, measures=missing), [], tmp_path)


def test_one_method_in_trouble_does_not_stop_the_others(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = module._Bench._generate

    def failing(self: Any, method: Any, *arguments: Any) -> Any:
        if method.name == "cutpaste":
            raise RunError("no paste today")
        return kept(self, method, *arguments)

    monkeypatch.setattr(module._Bench, "_generate", failing)
    found = compare(task(toys, seeds=1), ["cutpaste", "draem"], tmp_path / "a")
    assert found.failed == {"cutpaste": "no paste today"}
    assert {row.method for row in found.rows if row.gain} == {"crop_paste", "draem"}
    arguments = ["compare", "--data", toys, "--shots", 2, "--protocol", "toy", "-n", 4, "--seeds", 1]
    code, shown = typed(capsys, *arguments, "--methods", "cutpaste", "--out", tmp_path / "b")
    assert code == 1
    assert "error: cutpaste was not finished: no paste today" in shown
    assert "crop_paste" in shown


def test_what_is_wrong_is_told_before_anything_is_trained(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "gain", None)
    with pytest.raises(IasZooError, match="nowhere"):
        compare(task(toys, options={"draem": {"textures": "nowhere"}}), ["draem"], tmp_path / "new")
    with pytest.raises(IasZooError, match="tinny"):
        compare(task(toys, base="tinny"), ["defect_gan"], tmp_path / "new")
    with pytest.raises(OptionError, match="workers=0"):
        compare(task(toys, workers=0), [], tmp_path / "new")
    with pytest.raises(OptionError, match="device='gpu' cannot be used here"):
        compare(task(toys, device="gpu"), [], tmp_path / "new")
    code, shown = typed(capsys, "compare", "--data", toys, "--methods", ",", "--out", tmp_path / "new")
    assert code == 1
    assert "expected names with commas" in shown
    assert not (tmp_path / "new").exists()


def test_a_few_pictures_that_could_not_be_made_are_said_and_many_stop_the_method(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = module.read_provenance
    bad = 1

    def some_failed(folder: Path) -> Any:
        yield from kept(folder)
        if folder.parents[1].name == "cutpaste":
            yield from [{"index": number, "error": "refused 20 times: empty mask"} for number in range(bad)]

    monkeypatch.setattr(module, "read_provenance", some_failed)
    found = compare(task(toys, seeds=1), ["cutpaste"], tmp_path / "few")
    assert found.refused() == ["cutpaste: 1 of 4 pictures of seed 0 could not be made."]
    assert not found.failed
    bad = 3
    found = compare(task(toys, seeds=1), ["cutpaste"], tmp_path / "many")
    assert "3 of 4 pictures of seed 0 could not be made" in found.failed["cutpaste"]


def test_methods_that_cannot_run_are_refused_first(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = module.registry()

    class Without:
        def __init__(self, name: str) -> None:
            self.name = name

        def find(self, name: str) -> Any:
            return self._seen(known.find(name))

        def entries(self) -> list[Any]:
            return [self._seen(entry) for entry in known.entries()]

        def _seen(self, entry: Any) -> Any:
            lost = entry.method.name == self.name
            return dataclasses.replace(entry, state=State.NEEDS_INSTALL, hint="needs x") if lost else entry

    monkeypatch.setattr(module, "registry", lambda: Without("draem"))
    with pytest.raises(MissingDependency, match="draem needs x"):
        compare(task(toys), ["cutpaste", "draem"], tmp_path / "new")
    monkeypatch.setattr(module, "registry", lambda: Without("crop_paste"))
    with pytest.raises(RunError, match="no baseline method is installed"):
        compare(task(toys), ["cutpaste"], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_evaluate_takes_the_shots_of_the_run_and_no_background_into_the_test(tmp_path: Path) -> None:
    toys = toy_set(tmp_path / "toys").root
    for number in range(3, 10):  # a fifth of the normals is held out where there are no test normals
        normal = np.asarray(Image.open(toys / "normal/0.png")).copy()
        normal[0, number] += 1
        Image.fromarray(normal).save(toys / f"normal/{number}.png")
    run(make_plan("crop_paste", toys, 12, shots=3), tmp_path / "run")
    found = evaluate(tmp_path / "run", toys, protocol="toy", seeds=0)
    lines = list(read_provenance(tmp_path / "run"))
    assert set(found["split"]["shots"]) == set(Plan.read(tmp_path / "run").shots)
    used = {line["recipe"]["request"]["normal_id"] for line in lines}
    assert not used & set(found["split"]["test"])
    assert found["seen"]
    assert set(found["seen"]) <= used


def test_a_folder_that_was_sorted_by_hand_is_evaluated(
    toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(make_plan("crop_paste", toys, 4, shots=2), tmp_path / "run")
    next(iter(sorted((tmp_path / "run/test").glob("*/*.png")))).unlink()
    code, shown = typed(capsys, "evaluate", tmp_path / "run", "--data", toys, "--protocol", "toy", "--seeds", 1)
    assert code == 0, shown
    assert "note: left out, as their picture or mask is not in the folder: 1" in shown
    assert "masks 3" in shown


def test_samples_of_test_pictures_are_refused(toys: Path, tmp_path: Path) -> None:
    run(make_plan("crop_paste", toys, 4, shots=3), tmp_path / "run")
    with pytest.raises(DataError, match="test pictures that are among the training shots: defect/scratch/2"):
        evaluate(tmp_path / "run", toys, shots=2, protocol="toy")


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    seen = capsys.readouterr()
    return int(stopped.value.code or 0), seen.out + seen.err


def test_the_commands(toys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(make_plan("crop_paste", toys, 4, shots=2), tmp_path / "run")
    out = tmp_path / "result.json"
    evaluating = ["evaluate", tmp_path / "run", "--data", toys, "--shots", 2, "--protocol", "toy", "--seeds", 2]
    code, shown = typed(capsys, *evaluating, "--out", out)
    assert code == 0, shown
    assert "both: gain" in shown
    assert "type accuracy" in shown
    assert json.loads(out.read_text())["downstream"]["summary"]["seeds"] == [0, 1]
    common = ["compare", "--data", toys, "--shots", "scratch=2", "--protocol", "toy", "-n", 4, "--seeds", 1]
    common += ["--methods", "draem", "--out", tmp_path / "c"]
    code, shown = typed(capsys, *common, "--set", "draem.variant=paper")
    assert code == 0, shown
    assert "shots alone" in shown
    assert "ias-zoo report" in shown
    assert json.loads((tmp_path / "c/draem/seed-0/result.json").read_text())["options"]["variant"] == "paper"
    code, shown = typed(capsys, *common, "--set", "nonsense")
    assert code != 0
    assert "expected method.option=value" in shown
