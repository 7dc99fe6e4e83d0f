"""What is installed: every package and data file in the wheel, and hand-crafted methods without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built from the tracked files, without a network."""
    scratch = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    assert tracked.returncode == 0, "this test builds from the tracked files of a git checkout"
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (scratch / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, scratch / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", scratch, scratch / "source"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as opened:
        return opened.namelist()


def test_wheel_holds_every_module(wheel: list[str]) -> None:
    for root in (ROOT, ROOT / "plugins"):
        for path in (path for top in root.glob("ias_zoo*") for path in top.rglob("*.py")):
            assert path.relative_to(root).as_posix() in wheel
    assert not [name for name in wheel if name.startswith(("tests/", "plugins/", "benchmarks/"))]


def test_wheel_holds_types_licence_and_the_embedded_base(wheel: list[str]) -> None:
    for name in ("ias_zoo/py.typed", "ias_zoo_handcrafted/py.typed", "ias_zoo/tiny/model/model_index.json"):
        assert name in wheel
    assert "ias_zoo/tiny/model/unet/diffusion_pytorch_model.safetensors" in wheel
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_core_runs_without_torch(mvtec: Path, tmp_path: Path) -> None:
    blocked = ("torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "safetensors", "matplotlib")
    code = (
        "import sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        "from ias_zoo.cli import main\n"
        "for arguments in (['list'], ['generate', 'nsa', '--data', sys.argv[1], '-n', '3', '--out', sys.argv[2]]):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
        "try: main(['fit', 'seas', '--data', sys.argv[1], '--out', 'w'])\n"
        "except SystemExit as stop: assert stop.code == 1\n"
        "try: main(['compare', '--data', sys.argv[1], '--methods', 'nsa', '--out', 'c'])\n"
        "except SystemExit as stop: assert stop.code == 1\n"
        "import ias_zoo\n"
        "try: ias_zoo.torch_dataset(sys.argv[1], 'nsa')\n"
        "except ias_zoo.IasZooError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, mvtec, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 images" in done.stdout
    assert "pip install 'ias-zoo[diffusion]'" in done.stderr, "the missing packages are not named"
    assert "error: compare needs torch" in done.stderr
    assert "torch_dataset needs torch: pip install 'ias-zoo[evaluation]'" in done.stdout
