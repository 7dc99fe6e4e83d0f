"""What the tests of weights folders and of the Hub share: toy weights, and a client with a server to talk to.

The client runs in a process of its own, for huggingface_hub reads HF_ENDPOINT when it is imported. This is no test
module; those load it by its path, and take its fixtures over by name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ias_zoo.hub import Manifest, write_weights
from ias_zoo.method import PLUGIN_API

_SPEC = importlib.util.spec_from_file_location("hubserver", Path(__file__).with_name("hubserver.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
hubserver = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hubserver)
TOKEN = hubserver.TOKEN

MADE = Manifest(
    method="toy",
    distribution="toy-plugin",
    plugin_version="1.2",
    plugin_api=PLUGIN_API,
    zoo_version="0.1.0",
    base="org/base",
    base_revision="0123456789" * 4,
    options={"rank": 4, "crop": "auto", "sizes": [1, 2.5], "nothing": None},
    defects=("crack", "Kratzer ä"),
    licence="Apache-2.0",
    training_files={"test/crack/000.png": "a" * 64},
    facts={"steps": 10, "loss": {"final": 0.25}},
)


CARD = "---\nlibrary_name: ias_zoo\nlicense: apache-2.0\n---\n\n# card\n"


def write_parts(folder: Path) -> None:
    """An adapter, a module, a report and something like a picture."""
    (folder / "unet").mkdir()
    (folder / "unet/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "auto_mapping": None}))
    save_file({"down": np.ones((4, 8), np.float32)}, folder / "unet/adapter_model.safetensors")
    save_file({"weight": np.arange(50_000, dtype=np.float32)}, folder / "mask_head.safetensors")
    (folder / "report.json").write_text("{}")
    (folder / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "parent" / "weights", MADE, write_parts, CARD)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    base = tmp_path_factory.getbasetemp()
    once = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base  # one olah for all workers
    try:
        program = hubserver.olah_cli(once)
    except hubserver.NoOlah as error:
        pytest.skip(f"NOT RUN AGAINST A HUB SERVER: {error}")
    with hubserver.hub(tmp_path_factory.mktemp("hub"), program) as running:
        yield running


@pytest.fixture
def repo(hub: Any) -> Iterator[str]:
    """A repository's name that nobody else uses."""
    yield f"org/toy-{uuid.uuid4().hex[:8]}"
    hub.fault = lambda method, path: None
    hub.log.clear()


class Client:
    """Runs expressions against the Hub in fresh processes, with a cache and a home of its own."""

    def __init__(self, hub: Any, home: Path) -> None:
        self.home = home
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "XDG_"))}
        self.environment = {
            **kept,
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",  # the test server speaks LFS, which the client falls back to
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def start(self, code: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
        )

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(code, **environment)
        out, err = process.communicate(timeout=60)
        assert TOKEN not in out + err
        return subprocess.CompletedProcess(code, process.returncode, out, err)

    def __call__(self, expression: str, **environment: str) -> Any:
        done = self.run(
            f"import json\nfrom ias_zoo.hub import *\nprint(json.dumps({expression}, default=str))", **environment
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def error(self, expression: str, **environment: str) -> str:
        done = self.run(
            "from ias_zoo.hub import *\nfrom ias_zoo.errors import WeightsError\n"
            f"try: {expression}\nexcept WeightsError as error: print(error)\nelse: raise SystemExit('no error')",
            **environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def push(self, folder: Path, repo: str, more: str = "") -> str:
        return str(self(f"push_weights({str(folder)!r}, {repo!r}{more})", HF_TOKEN=TOKEN))

    def cache_is_whole(self) -> bool:
        """No file of a snapshot is cut: LFS blobs are named by the sha256 of what they hold."""
        for path in (self.home / "hf/hub").glob("models--*/snapshots/*/**/*"):
            if path.is_file():
                assert path.stat().st_size > 0
                name = path.resolve().name
                assert len(name) != 64 or sha256(path) == name
        return True


@pytest.fixture
def client(hub: Any, tmp_path: Path) -> Client:
    (tmp_path / "home").mkdir()
    return Client(hub, tmp_path / "home")


@pytest.fixture
def pushed(hub: Any, repo: str, weights: Path) -> str:
    """A repository with weights in it, written without the client."""
    hub.create(repo)
    put(hub, repo, {path.relative_to(weights).as_posix(): path.read_bytes() for path in weights.rglob("*.*")})
    return repo


def put(hub: Any, repo: str, files: dict[str, bytes | None]) -> str:
    large = {
        name: hub.put_lfs(repo, data)
        for name, data in files.items()
        if data and name.endswith((".safetensors", ".png"))
    }
    return str(hub.commit(repo, "main", {**files, **large}, "by hand"))
