"""What long commands show of how far they are."""

from __future__ import annotations

import io
import sys

import pytest

from ias_zoo.cli.console import training_progress


def test_a_log_gets_one_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress() as step:
        for number in (1, 2, 3):
            step("seas: fitting, generator", number, 1600, 0.5)
        step("seas: measuring", 0, 1, None)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["seas: fitting, generator, 1600 steps", "seas: measuring"]


def test_a_terminal_keeps_the_newest_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    for name, value in {"LINES": "6", "COLUMNS": "100", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", screen)
    with training_progress() as step:
        for number in range(20):
            step(f"stage {number}", 1, 1, 0.25 if number == 19 else None)
        screen.truncate(0)
    last = screen.getvalue()
    assert "stage 19, loss 0.2500" in last
    assert "stage 18" in last
    assert "stage 3" not in last
    assert "nan" not in last
