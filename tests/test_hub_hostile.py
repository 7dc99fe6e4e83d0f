"""Weights folders that are broken or made to harm: each is refused in words, and nothing in them is run."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ias_zoo.errors import WeightsError
from ias_zoo.hub import MANIFEST, Manifest, fetch_weights, read_weights
from ias_zoo.method import PLUGIN_API

_SPEC = importlib.util.spec_from_file_location("hubtools", Path(__file__).with_name("hubtools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
sha256 = tools.sha256
weights = tools.weights


def rewrite(folder: Path, *, relist: bool = False, **changes: Any) -> None:
    """Change fields of a manifest as an attacker would: by hand; ``relist`` hashes what is there now."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.update(changes)
    if relist:
        manifest["files"] = {
            path.relative_to(folder).as_posix(): sha256(path)
            for path in folder.rglob("*")
            if path.is_file() and path.name not in (MANIFEST, "README.md")
        }
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "other"}, "weights of other, not of toy"),
        ({"plugin_api": PLUGIN_API + 1}, f"plugin_api {PLUGIN_API + 1}.*speaks {PLUGIN_API}: install a newer"),
        ({"plugin_api": PLUGIN_API - 1}, "install an older"),
        ({"format": 2}, "format is 2"),
        ({"format": True}, "format is True"),
        ({"format": "1"}, "format is '1'"),
        ({"options": []}, "options: "),
        ({"plugin_api": "1"}, "plugin_api: "),
        ({"base": 3}, "base: "),
        ({"defects": "crack"}, "defects: "),
        ({"surprise": 1}, "surprise: "),
        ({"files": {"../../evil.json": "a" * 64}}, r"'../../evil.json' leaves the folder"),
        ({"files": {"unet/../../evil.json": "a" * 64}}, "leaves the folder"),
        ({"files": {"/etc/evil.json": "a" * 64}}, "absolute"),
        ({"files": {"C:/evil.json": "a" * 64}}, "colon"),
        ({"files": {"..\\evil.json": "a" * 64}}, "backslash"),
        ({"files": {"unet//x.json": "a" * 64}}, "empty"),
        ({"files": {"x\x00.json": "a" * 64}}, "control"),
        ({"files": {"x.bin": "a" * 64}}, "not of a kind"),
        ({"files": {"x.json": "A" * 64}}, "expected a sha256"),
        ({"files": {"x.json": "a" * 64}}, "x.json is listed .* not there"),
        ({"files": {}}, "is not listed"),
    ],
)
def test_bad_manifests(weights: Path, changes: dict[str, Any], words: str) -> None:
    rewrite(weights, **changes)
    with pytest.raises(WeightsError, match=words) as caught:
        read_weights(weights, method="toy")
    assert str(weights) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"not json", "no JSON"),
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"format": 1}', "method: Field required"),
        (b'{"format": 1, "method": "\\ud800"}', MANIFEST),
    ],
)
def test_manifests_that_are_none(weights: Path, text: bytes, words: str) -> None:
    (weights / MANIFEST).write_bytes(text)
    with pytest.raises(WeightsError, match=words):
        read_weights(weights)


def test_every_field_is_needed(weights: Path) -> None:
    manifest = json.loads((weights / MANIFEST).read_text())
    for field in dataclasses.fields(Manifest):
        if field.name in ("files", "stage"):
            continue
        broken = {key: value for key, value in manifest.items() if key != field.name}
        with pytest.raises(WeightsError, match=f"{field.name}: Field required"):
            Manifest.from_json(json.dumps(broken))
    # weights of before there were stages were all fitted on shots
    assert (
        Manifest.from_json(json.dumps({key: value for key, value in manifest.items() if key != "stage"})).stage
        == "few-shot"
    )


def _huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


def _overlapping(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "unet/adapter_model.safetensors").unlink(), "unet/adapter_model.safetensors is missing"),
        (lambda f: (f / "unet/adapter_config.json").unlink(), "unet/adapter_config.json is missing"),
        (lambda f: (f / "mask_head.safetensors").unlink(), "mask_head.safetensors is listed"),
        (lambda f: os.truncate(f / "mask_head.safetensors", 90), "mask_head.safetensors is no whole safetensors"),
        (lambda f: os.truncate(f / "mask_head.safetensors", 0), "mask_head.safetensors is no whole safetensors"),
        (lambda f: _huge_header(f / "mask_head.safetensors"), "mask_head.safetensors is no whole safetensors"),
        (lambda f: _overlapping(f / "mask_head.safetensors"), "mask_head.safetensors is no whole safetensors"),
        (lambda f: (f / "extra.json").write_text("{}"), "extra.json is not listed"),
        (lambda f: (f / "train.py").write_text("1"), "train.py does not belong"),
        (lambda f: (f / "unet/adapter_config.json").write_text("{"), "adapter_config.json is no JSON"),
        (lambda f: (f / "unet/adapter_config.json").write_text("[]"), "adapter_config.json is no JSON object"),
        (lambda f: (f / "report.json").write_text("[]"), "report.json is not the file that was written"),
        (lambda f: (f / "a\\..\\b.json").write_text("{}"), "backslash"),
        (lambda f: (f / "... .json").write_text("{}"), "hidden"),
        (lambda f: os.mkfifo(f / "pipe.json"), "pipe.json' is no plain file"),
        (lambda f: (f / "loop.json").symlink_to("loop.json"), "loop.json' is no plain file"),
        (lambda f: (f / "gone.json").symlink_to("nowhere.json"), "gone.json' is no plain file"),
    ],
)
def test_broken_folders(weights: Path, harm: Callable[[Path], Any], words: str) -> None:
    harm(weights)
    with pytest.raises(WeightsError, match=words):
        read_weights(weights)


def test_changed_bytes_are_noticed(weights: Path) -> None:
    path = weights / "mask_head.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the header still fits
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="mask_head.safetensors is not the file that was written"):
        read_weights(weights)


@pytest.mark.parametrize(
    "config",
    [
        {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}},
        {"auto_map": {"AutoModel": "code.Model"}},
        {"megatron_config": {}, "megatron_core": "evil"},
        {"base_model_name_or_path": "/home/joe/sd15"},
    ],
)
def test_adapters_that_name_code_or_machines(weights: Path, config: dict[str, Any]) -> None:
    (weights / "unet/adapter_config.json").write_text(json.dumps(config))
    rewrite(weights, relist=True)
    with pytest.raises(WeightsError, match=f"unet/adapter_config.json.*{next(iter(config))}"):
        read_weights(weights)


@pytest.mark.parametrize("name", ["mask_head.safetensors", "README.md", "unet"])
def test_links_that_leave_the_folder(weights: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (weights / name).rename(outside)
    (weights / name).symlink_to(outside)
    with pytest.raises(WeightsError, match=f"'{name}' is a link that leaves the folder"):
        read_weights(weights)


class Canary:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_are_refused_and_never_run(weights: Path, tmp_path: Path) -> None:
    flew = tmp_path / "flew"
    canary = pickle.dumps(Canary(flew))
    pickle.loads(canary)
    assert flew.exists()  # the canary is alive
    flew.unlink()
    only = tmp_path / "only"
    only.mkdir()
    for name in ("pytorch_model.bin", "unet.pt", "x.ckpt", "y.pkl", "z.pth"):
        (only / name).write_bytes(canary)
    with pytest.raises(WeightsError, match="holds only pickled weights.*runs whatever code.*ask the author"):
        read_weights(only)
    for name in ("pytorch_model.bin", "mask.pt"):
        (weights / name).write_bytes(canary)
        with pytest.raises(WeightsError, match=f"{name} does not belong.*pickles run code"):
            read_weights(weights)
        (weights / name).unlink()
    for name in ("mask_head.safetensors", "unet/adapter_config.json", MANIFEST):
        kept = (weights / name).read_bytes()
        (weights / name).write_bytes(canary)
        with pytest.raises(WeightsError):
            read_weights(weights)
        (weights / name).write_bytes(kept)
    read_weights(weights)
    assert not flew.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("./nowhere", "./nowhere: no such folder; a Hub repository is written org/name"),
        ("nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("~/nowhere", "no such folder"),
        ("~nobody-of-that-name/x", "no such folder"),
        ("a/b/c", "no such folder"),
        ("org/", "no such folder"),
        ("org/..", "no such folder"),
        ("", "no such folder"),
        (Path("org/name"), "no such folder"),
    ],
)
def test_neither_folder_nor_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    if given == "":
        (tmp_path / "x").mkdir()
        monkeypatch.chdir(tmp_path / "x")
        words = "no ias_zoo.json"  # the current folder, which is none
    with pytest.raises(WeightsError, match=re.escape(words)):
        fetch_weights(given)


def test_a_folder_has_no_revision(weights: Path) -> None:
    with pytest.raises(WeightsError, match="leave revision out"):
        fetch_weights(weights, revision="main")


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    (tmp_path / "unet/diffusion_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(WeightsError, match="has no ias_zoo.json: it is no weights folder"):
        read_weights(tmp_path)
