"""check-data says how many groups each defect type has: shots are counted in groups."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ias_zoo.cli import main


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run check-data; gives its exit code and what it prints."""
    try:
        main(["check-data", *map(str, arguments)])
        code = 0
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr()
    return code, said.out + said.err


def test_each_picture_is_a_group_by_default(mvtec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, mvtec)
    assert code == 0
    assert "groups: 3 of crack, 3 of dent (by file); --shots counts groups" in said


def test_groups_by_pattern(mvtec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, mvtec, "--group-by", r"00([01])|(\d)\.png", "--json")
    report = json.loads(said)
    assert code == 0
    assert report["groups"] == {"crack": 3, "dent": 3}
    _, said = checked(capsys, mvtec, "--group-by", r"(train|test)", "--json")
    assert json.loads(said)["groups"] == {"crack": 1, "dent": 1}
    assert json.loads(said)["grouped_by"] == "pattern: (train|test)"


@pytest.mark.parametrize(("pattern", "words"), [("(", "no regular expression"), ("crack", "finds no group in")])
def test_patterns_that_do_not_do(mvtec: Path, pattern: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = checked(capsys, mvtec, "--group-by", pattern)
    assert code != 0
    assert words in said


def test_a_meta_file_that_lacks_pictures_is_a_problem(mvtec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mvtec / "meta.csv").write_text("file,group\ntest/crack/000.png,one\n")
    code, said = checked(capsys, mvtec)
    assert code == 1
    assert "error: meta.csv: no group for " in said
