"""Fixtures: small images made on the spot, and the real ones where they exist."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

collect_ignore = ["stranger", "broken"]  # packages that test_stranger.py installs elsewhere

SHARED = Path(os.environ.get("IAS_ZOO_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_configure(config: pytest.Config) -> None:
    cv2.setNumThreads(1)  # the tests themselves run in parallel


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:  # type: ignore[no-untyped-def]
    if not (SHARED / "data").is_dir():
        terminalreporter.section("REAL DATA MISSING", sep="!")
        terminalreporter.write_line(
            f"No {SHARED / 'data'}: the tests on real product images did NOT run. Set IAS_ZOO_SHARED to run them."
        )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real product images; without it the test is skipped, and the summary says so in capitals."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"NOT RUN ON REAL DATA: {SHARED} does not exist")
    return SHARED


def surface(height: int, width: int, seed: int) -> np.ndarray:
    """A grey-brown textured surface, H x W x 3 uint8."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0, 18, (8, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 6, (height, width)).astype(np.float32)
    grey = 130 + coarse + grain
    tint = np.array([1.05, 1.0, 0.9], dtype=np.float32)
    return np.clip(grey[:, :, None] * tint, 0, 255).astype(np.uint8)


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A small data set in MVTec AD's layout: 5 normals, 2 defect types with 3 shots each, one good test picture."""
    root = tmp_path / "parts"
    for number in range(5):
        _write(root / f"train/good/{number:03d}.png", surface(64, 80, number))
    _write(root / "test/good/000.png", surface(64, 80, 50))
    for defect in ("crack", "dent"):
        for number in range(3):
            mask = np.zeros((64, 80), np.uint8)
            mask[10 + number : 20, 30:50] = 255
            _write(root / f"test/{defect}/{number:03d}.png", surface(64, 80, 60 + number))
            _write(root / f"ground_truth/{defect}/{number:03d}_mask.png", mask)
    return root


@pytest.fixture
def write_picture():  # type: ignore[no-untyped-def]
    """``write_picture(path, array)``: RGB or grey uint8 or uint16 to a file in the format of its suffix."""
    return _write


def _write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = array if array.ndim == 2 else array[:, :, [2, 1, 0, 3][: array.shape[2]]]
    done, data = cv2.imencode(path.suffix, bgr)
    assert done
    path.write_bytes(data.tobytes())
    return path
