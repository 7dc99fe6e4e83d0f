"""Images that could not be made: each kind with the remedy that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ias_zoo.cli import main
from ias_zoo.data.images import encode_png
from ias_zoo.generation.failures import Failure, Kind, advice_lines, failure_lines
from ias_zoo.generation.plan import make_plan
from ias_zoo.generation.run import run
from ias_zoo.generation.verify import verify


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Parts of one colour: a patch moved within them changes nothing, so every draw is refused."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(encode_png(np.full((64, 64, 3), 120, np.uint8)))
    return folder


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail; gives what it says on standard error."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_refused_draws_are_not_to_be_resumed(flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    generate = ["generate", "cutpaste", "--data", flat, "-n", 2, "--set", "jitter=0", "--out", out]
    for said in (typed(capsys, *generate), typed(capsys, "verify", out)):
        reason, advice = said.splitlines()
        assert reason == "error: images 0, 1: refused 20 times: unchanged inside the mask"
        assert "2 images refused in every draw" in advice
        assert "another --seed" in advice
        assert "not finished" not in said


def test_verify_tells_failed_images_from_those_not_made_yet(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (mvtec / "train/good/003.png").write_bytes(b"broken")
    run(make_plan("cutpaste", mvtec, 23, shard_size=5), out)
    (out / "provenance/shard-00004.jsonl").unlink()
    report = verify(out)
    unfinished = [problem for problem in report.problems if "not finished" in problem]
    assert unfinished == [
        "shard-00004.jsonl: not finished, images 20 to 22 are not made yet; run the same command with --resume"
    ]
    (failed,) = [problem for problem in report.problems if "003.png" in problem]
    assert failed.startswith("images ")
    assert {failure.kind for failure in report.failures} == {Kind.PICTURE}


def test_each_kind_has_its_line() -> None:
    lines = [{"error": "a.png: broken", "index": 1, "kind": "picture"}, {"error": "boom", "index": 2}]
    failures = [Failure.read(line) for line in lines]
    assert failure_lines(failures) == ["image 1: a.png: broken", "image 2: boom"]
    picture, other = advice_lines(failures)
    assert picture.startswith("1 image not made, from pictures that cannot be used")
    assert "--resume tries again" in other
