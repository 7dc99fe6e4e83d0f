"""Weights folders on disk: what is written, what is read back, and what a killed process leaves."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ias_zoo.errors import WeightsError
from ias_zoo.hub import MANIFEST, Manifest, fetch_weights, read_weights, write_weights

_SPEC = importlib.util.spec_from_file_location("hubtools", Path(__file__).with_name("hubtools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
MADE, CARD, write_parts, sha256 = tools.MADE, tools.CARD, tools.write_parts, tools.sha256
weights = tools.weights


def test_what_is_written_is_read(weights: Path) -> None:
    manifest = read_weights(weights, method="toy")
    names = [
        "mask_head.safetensors",
        "report.json",
        "samples.png",
        "unet/adapter_config.json",
        "unet/adapter_model.safetensors",
    ]
    assert manifest == dataclasses.replace(MADE, files={name: sha256(weights / name) for name in names})
    assert (weights / "README.md").read_text() == CARD
    np.testing.assert_array_equal(load_file(weights / "mask_head.safetensors")["weight"], np.arange(50_000))
    assert [path.name for path in weights.parent.iterdir()] == ["weights"]  # nothing temporary is left
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert fetch_weights(weights) == (weights, manifest, None)
    os.umask(mask := os.umask(0))
    assert weights.stat().st_mode & 0o777 == 0o777 & ~mask  # others may read it as any other folder
    rights = {path.name: path.stat().st_mode & 0o777 for path in weights.rglob("*") if path.is_file()}
    assert set(rights.values()) == {0o666 & ~mask}, rights  # safetensors itself makes files for the owner alone


def test_card_and_bookkeeping_may_change(weights: Path) -> None:
    (weights / "README.md").write_text("edited on the Hub")
    (weights / ".gitattributes").write_text("*.safetensors filter=lfs")
    (weights / ".cache/huggingface").mkdir(parents=True)
    (weights / ".cache/huggingface/x.metadata").write_text("0")
    read_weights(weights)
    (weights / "README.md").unlink()
    read_weights(weights)


def test_replacing(weights: Path) -> None:
    def fewer(folder: Path) -> None:
        save_file({"weight": np.zeros(2, np.float32)}, folder / "mask_head.safetensors")

    write_weights(weights, MADE, fewer, "# new\n")
    assert sorted(path.name for path in weights.iterdir()) == ["README.md", MANIFEST, "mask_head.safetensors"]
    assert [path.name for path in weights.parent.iterdir()] == ["weights"]
    read_weights(weights)


@pytest.mark.parametrize(
    ("there", "words"),
    [("notes.txt", "no weights folder"), (None, "is a file")],
)
def test_people_s_things_are_not_replaced(tmp_path: Path, there: str | None, words: str) -> None:
    target = tmp_path / "out"
    if there:
        target.mkdir()
        (target / there).write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(WeightsError, match=words):
        write_weights(target, MADE, write_parts, "")
    assert (target / there if there else target).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_people_s_files_among_weights_are_not_replaced(weights: Path) -> None:
    (weights / "notes.txt").write_text("mine")
    with pytest.raises(WeightsError, match="notes.txt"):
        write_weights(weights, MADE, write_parts, "")
    assert (weights / "notes.txt").read_text() == "mine"


def test_a_failing_method_leaves_nothing(tmp_path: Path, weights: Path) -> None:
    def fail(folder: Path) -> None:
        write_parts(folder)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write_weights(tmp_path / "new", MADE, fail, "")
    with pytest.raises(RuntimeError, match="out of memory"):
        write_weights(weights, MADE, fail, "")
    assert [path.name for path in tmp_path.iterdir()] == ["parent"]
    read_weights(weights)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda f: (f / "unet.pt").write_bytes(b"x"), "unet.pt does not belong.*pickle"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter_model.safetensors is missing"),
        (lambda f: (f / MANIFEST).write_text("{}"), "the zoo writes it"),
        (lambda f: (f / ".hidden.json").write_text("{}"), "hidden"),
        (lambda f: (f / "a.safetensors").write_bytes(b"half"), "a.safetensors is no whole safetensors"),
        (lambda f: (f / "a.json").symlink_to("/etc/hostname"), "a.json' is a link"),
        (lambda f: (f / "nowhere/a.json").write_text("{}"), "No such file"),
    ],
)
def test_what_a_method_may_not_write(tmp_path: Path, write: Callable[[Path], Any], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        write_weights(tmp_path / "w", MADE, write, "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("options", {"x": float("nan")}, "JSON values"),
        ("options", {"x": Path("x")}, "JSON values"),
        ("method", "Toy", "method is 'Toy'"),
        ("base", "/home/joe/sd15", "base is"),
        ("base", "../sd15", "base is"),
        ("base_revision", "main", "base_revision is 'main'"),
        ("training_files", {"/home/joe/0.png": "a" * 64}, "/home/joe/0.png.*path of one machine"),
        ("training_files", {"C:\\joe\\0.png": "a" * 64}, "path of one machine"),
        ("training_files", {"0.png": "abc"}, "expected a sha256"),
        ("plugin_api", True, "plugin_api: "),
        ("defects", ("a", 3), "defects.1: "),
    ],
)
def test_a_manifest_that_no_one_could_read_is_not_written(tmp_path: Path, field: str, value: Any, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        write_weights(tmp_path / "w", dataclasses.replace(MADE, **{field: value}), write_parts, "")
    assert not any(tmp_path.iterdir())


# --- whole or not at all ---

_KILLED = """
import json, os, pathlib, shutil, signal, sys
import numpy as np
from safetensors.numpy import load_file, save_file
import ias_zoo.hub.folder as folder
from ias_zoo.errors import WeightsError
from ias_zoo.hub import Manifest, read_weights, write_weights

root, scene = pathlib.Path(sys.argv[1]), sys.argv[2]
if scene == "no exchange":
    folder._exchange = lambda one, other: False

def write(target, generation):
    def parts(here):
        (here / "unet").mkdir()
        (here / "unet/adapter_config.json").write_text(json.dumps({"r": generation}))
        save_file({"a": np.full(100, generation)}, here / "unet/adapter_model.safetensors")
        save_file({"a": np.full(100, generation)}, here / "head.safetensors")
    write_weights(target, Manifest(
        method="toy", distribution="d", plugin_version="1", plugin_api=1, zoo_version="1", base=None,
        base_revision=None, options={}, defects=(), licence="MIT", training_files={}, facts={"generation": generation},
    ), parts, f"{generation}")

def kill_at(point):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        if event.startswith(("open", "os.", "shutil.", "ctypes.", "test.")):
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
    fsync = os.fsync
    def counted(handle):
        sys.audit("test.before"); fsync(handle); sys.audit("test.after")
    folder.os.fsync = counted
    move = folder._move
    def moved(*both):
        sys.audit("test.before"); move(*both); sys.audit("test.after")
    folder._move = moved
    sys.addaudithook(count)

write(root / "former", 1); read_weights(root / "former")  # everything is imported before the first fork
found = {}
for point in range(1, 2000):
    parent = root / str(point); parent.mkdir()
    target = parent / "w"
    if scene != "new":
        shutil.copytree(root / "former", target)
    child = os.fork()
    if not child:
        kill_at(point)
        write(target, 2)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    try:
        manifest = read_weights(target)
    except WeightsError as error:
        assert not target.exists(), (point, error)
        state = "cut off" if "the former weights are" in str(error) else "nothing"
        if state == "cut off":
            former, = parent.glob(".w.*.old")
            assert str(former) in str(error) and read_weights(former).facts["generation"] == 1
    else:
        state = manifest.facts["generation"]
        assert (load_file(target / "head.safetensors")["a"] == state).all(), point
        assert (target / "README.md").read_text() == str(state)
    others = [path.name for path in parent.iterdir() if path.name != "w"]
    assert all(name.startswith(".w.") and name.endswith((".tmp", ".old")) for name in others), others
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0 and not others and state == 2
        break
    if point % 5 == 0:
        write(target, 3)  # what was left is in nobody's way
        assert read_weights(target).facts["generation"] == 3
    shutil.rmtree(parent)
    found[str(state)] = found.get(str(state), 0) + 1
else:
    raise AssertionError("never finished")
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and swaps folders as Linux does")
@pytest.mark.parametrize(
    ("scene", "states"),
    [("new", {"nothing", "2"}), ("exchange", {"1", "2"}), ("no exchange", {"1", "2", "cut off"})],
)
def test_killed_at_every_step(tmp_path: Path, scene: str, states: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), scene], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == states
    assert sum(found.values()) > 40, found  # before, between and after all that it does


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is an instant without a folder")
def test_readers_never_see_half(tmp_path: Path) -> None:
    target = tmp_path / "w"
    stop = threading.Event()
    problems: list[BaseException] = []

    def write(generation: int) -> None:
        def parts(folder: Path) -> None:
            save_file({"a": np.full(2000, generation)}, folder / "a.safetensors")
            save_file({"b": np.full(2000, generation)}, folder / "b.safetensors")

        write_weights(target, dataclasses.replace(MADE, facts={"generation": generation}), parts, "")

    written = [0]

    def keep_writing() -> None:
        try:
            while not stop.is_set():
                write(written[-1] + 1)
                written.append(written[-1] + 1)
        except BaseException as error:
            problems.append(error)

    write(0)
    writer = threading.Thread(target=keep_writing)
    writer.start()
    seen = []
    try:
        while len(written) < 30 and not problems:  # it is replaced under the reader's eyes
            seen.append(read_weights(target).facts["generation"])
    finally:
        stop.set()
        writer.join()
    assert not problems
    assert seen == sorted(seen)
    assert len(set(seen)) > 10


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; import ias_zoo.hub, ias_zoo.cards, ias_zoo.cli.weights; "
        "bad = {'huggingface_hub', 'safetensors', 'numpy', 'torch', 'pydantic', 'peft'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
