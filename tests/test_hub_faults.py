"""Downloads that break off and repositories that are bad or not ours, on a Hub on 127.0.0.1 (hubserver.py)."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ias_zoo.hub import MANIFEST
from ias_zoo.method import PLUGIN_API

_SPEC = importlib.util.spec_from_file_location("hubtools", Path(__file__).with_name("hubtools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
MADE, CARD, TOKEN = tools.MADE, tools.CARD, tools.TOKEN
contents, put, write_parts = tools.contents, tools.put, tools.write_parts
hub, repo, client, weights, pushed = tools.hub, tools.repo, tools.client, tools.weights, tools.pushed


def test_a_download_that_breaks_off(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    cut: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "GET" and path.endswith("mask_head.safetensors"):
            cut.append(path)
            return "cut" if len(cut) == 1 else "none"
        return None

    hub.fault = fault
    message = client.error(f"pull_weights({pushed!r}, 'got')")
    assert f"the download of {pushed} broke off" in message
    assert "run again" in message
    assert len(cut) > 1  # the client tried again by itself
    assert not (client.home / "got").exists()
    assert client.cache_is_whole()
    assert not list(client.home.glob("hf/hub/**/*.incomplete"))
    hub.fault = lambda method, path: None
    client(f"pull_weights({pushed!r}, 'got')")
    assert contents(client.home / "got") == contents(weights)


def test_one_hiccup_is_mended_by_itself(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    cut: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "GET" and path.endswith("mask_head.safetensors") and not cut:
            cut.append(path)
            return "cut"
        return None

    hub.fault = fault
    folder, _, _ = client(f"fetch_weights({pushed!r})")
    assert cut
    assert contents(Path(folder)) == contents(weights)


def test_a_killed_download(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    stalled: list[str] = []

    def fault(method: str, path: str) -> str | None:
        if method == "GET" and path.endswith("mask_head.safetensors"):
            stalled.append(path)
            return "stall"
        return None

    hub.fault = fault
    hub.go_on.clear()
    process = client.start(f"from ias_zoo.hub import *\npull_weights({pushed!r}, 'got')")
    deadline = time.monotonic() + 30
    while not (stalled and list(client.home.glob("hf/hub/**/*.incomplete"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stalled
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.go_on.set()
    hub.fault = lambda method, path: None
    assert client.cache_is_whole()
    assert not (client.home / "got").exists()
    assert "unset HF_HUB_OFFLINE" in client.error(f"fetch_weights({pushed!r})", HF_HUB_OFFLINE="1")
    client(f"pull_weights({pushed!r}, 'got')")
    assert contents(client.home / "got") == contents(weights)


def test_changed_on_the_way(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    hub.fault = lambda method, path: "flip" if method == "GET" and path.endswith("mask_head.safetensors") else None
    message = client.error(f"pull_weights({pushed!r}, 'got')")
    assert "mask_head.safetensors is not the file that was written" in message
    assert f"`hf cache rm model/{pushed}`" in message
    assert not (client.home / "got").exists()
    hub.fault = lambda method, path: None
    remedy = [str(Path(sys.executable).with_name("hf")), "cache", "rm", f"model/{pushed}", "-y"]
    subprocess.run(remedy, env=client.environment, check=True, capture_output=True)
    client(f"pull_weights({pushed!r}, 'got')")
    assert contents(client.home / "got") == contents(weights)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(method="other"), "weights of other, not of toy"),
        (lambda m: m.update(plugin_api=PLUGIN_API + 1), "install a newer ias-zoo"),
        (lambda m: m["files"].update({"../../../evil.json": "a" * 64}), "leaves the folder"),
        (lambda m: m.update(options=3), "options: "),
    ],
)
def test_nothing_large_is_fetched_for_a_bad_manifest(
    hub: Any, pushed: str, client: Any, weights: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    manifest = json.loads((weights / MANIFEST).read_text())
    change(manifest)
    put(hub, pushed, {MANIFEST: json.dumps(manifest).encode()})
    hub.log.clear()
    message = client.error(f"fetch_weights({pushed!r}, method='toy')")
    assert words in message
    assert pushed in message
    assert [path for method, path in hub.log if method == "GET" and "/resolve/" in path] == [
        f"/{pushed}/resolve/{hub.git(pushed, 'rev-parse', 'main')}/{MANIFEST}"
    ]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"pytorch_model.bin": b"\x80\x04" * 100, "config.json": b"{}"}, "holds only pickled weights"),
        ({"unet/model.safetensors": b"x" * 500, "unet/model.bin": b"x"}, f"has no {MANIFEST}"),
        ({}, f"has no {MANIFEST}"),
    ],
)
def test_repositories_that_are_none_of_ours(
    hub: Any, repo: str, client: Any, files: dict[str, bytes | None], words: str
) -> None:
    hub.create(repo)
    put(hub, repo, files)
    message = client.error(f"fetch_weights({repo!r})")
    assert repo in message
    assert words in message
    assert not [path for method, path in hub.log if method == "GET" and "/resolve/" in path]


def test_a_file_missing_from_the_repository(hub: Any, pushed: str, client: Any) -> None:
    put(hub, pushed, {"unet/adapter_model.safetensors": None})
    message = client.error(f"fetch_weights({pushed!r})")
    assert "unet/adapter_model.safetensors is missing" in message
    assert "tell its author" in message


def test_pickles_beside_weights_are_not_fetched(hub: Any, pushed: str, client: Any) -> None:
    put(hub, pushed, {"extra.bin": b"\x80\x04"})
    folder, _, _ = client(f"fetch_weights({pushed!r})")
    assert not Path(folder, "extra.bin").exists()
