"""A stranger's package, installed with pip beside broken ones: it works, and they cost only themselves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BROKEN = ("raises_at_import", "raises_in_hook", "claims_a_name", "from_the_future", "points_elsewhere")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An environment that sees this one's packages and has the stranger's and the broken plugins installed by pip."""
    root = tmp_path_factory.mktemp("scratch")
    venv.create(root / "env", with_pip=False)
    python = root / "env/bin/python"
    site = next((root / "env/lib").glob("python*/site-packages"))
    parent = sysconfig.get_path("purelib")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    sources = []
    for source in (HERE / "stranger", *(HERE / "broken" / name for name in BROKEN)):
        sources.append(shutil.copytree(source, root / "src" / source.name))  # pip builds inside the source folder
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*pip, "--no-deps", *map(str, sources)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **env}, cwd=root)

    return run


def test_listed_with_its_distribution(scratch: Run) -> None:
    listed = json.loads(scratch("-m", "ias_zoo", "list", "--json").stdout)
    own = [entry for entry in listed if entry["distribution"] == "ias-zoo-dots"]
    assert [(entry["name"], entry["version"], entry["paradigm"]) for entry in own] == [
        ("dots", "0.3.1", "hand-crafted")
    ]
    assert {"cutpaste", "draem", "nsa"} <= {entry["name"] for entry in listed}, "a broken plugin cost the others"


def test_every_plugin_is_accounted_for(scratch: Run) -> None:
    plugins = {plugin["name"]: plugin for plugin in json.loads(scratch("-m", "ias_zoo", "plugins", "--json").stdout)}
    assert {name: plugins[name]["status"] for name in ("dots", "handcrafted", *BROKEN)} == {
        "dots": "ok",
        "handcrafted": "ok",
        "raises_at_import": "failed",
        "raises_in_hook": "failed",
        "claims_a_name": "ok",
        "from_the_future": "refused",
        "points_elsewhere": "ok",
    }
    assert "broken on purpose" in plugins["raises_at_import"]["error"]
    assert "raise KeyError" in plugins["raises_in_hook"]["traceback"]
    assert "99" in plugins["from_the_future"]["error"]


def test_generates_from_the_command_line(scratch: Run, mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("generate", "ias-zoo-dots:dots", "--data", str(mvtec), "-n", "6", "--out", str(out))
    done = scratch("-m", "ias_zoo", *arguments, "--set", "radius=0.2")
    assert done.returncode == 0, done.stderr
    assert len(list((out / "test/dots").glob("*.png"))) == 6
    assert scratch("-m", "ias_zoo", "verify", str(out)).returncode == 0


def test_clash_names_both_and_how_to_pick(scratch: Run) -> None:
    done = scratch("-m", "ias_zoo", "info", "dots")
    assert done.returncode == 1
    assert "'claims_a_name:dots'" in done.stderr
    assert "'ias-zoo-dots:dots'" in done.stderr
    assert scratch("-m", "ias_zoo", "info", "ias-zoo-dots:dots").returncode == 0
    assert scratch("-m", "ias_zoo", "info", "rings").returncode == 0, "a clash cost the plugin's other method"


def test_pointer_says_how_to_install(scratch: Run) -> None:
    done = scratch("-c", "import ias_zoo; ias_zoo.load('elsewhere')")
    assert "MissingDependency" in done.stderr
    assert "pip install a-package-nobody-has" in done.stderr
    listed = json.loads(scratch("-m", "ias_zoo", "list", "--json").stdout)
    states = {(entry["distribution"], entry["name"]): entry["state"] for entry in listed}
    assert states["points_elsewhere", "elsewhere"] == "needs install"
    assert ("points_elsewhere", "dots") not in states, "a pointer stands beside the real method"


def test_refused_method_says_why(scratch: Run) -> None:
    done = scratch("-c", "import ias_zoo; ias_zoo.load('tomorrow')")
    assert "PluginError" in done.stderr
    assert "plugin_api 99" in done.stderr


def test_allow_list(scratch: Run) -> None:
    done = scratch("-m", "ias_zoo", "plugins", "--json", IAS_ZOO_PLUGINS="dots")
    statuses = {plugin["name"]: plugin["status"] for plugin in json.loads(done.stdout)}
    assert statuses.pop("dots") == "ok"
    assert set(statuses.values()) == {"blocked"}
    code = "import ias_zoo; ias_zoo.load('dots'); import sys; assert 'raises_at_import' not in sys.modules"
    assert scratch("-c", code, IAS_ZOO_PLUGINS="ias-zoo-dots").returncode == 0


def test_three_lines_run_the_kit(scratch: Run) -> None:
    tests = "src/stranger/tests"
    done = scratch("-m", "pytest", "-q", "-p", "no:cacheprovider", tests, IAS_ZOO_PLUGINS="dots")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
