"""Looking names up, loading, and staying light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ias_zoo
from ias_zoo.errors import MissingDependency, NameClash, OptionError, PluginError, UnknownMethod
from ias_zoo.method import Method
from ias_zoo.registry import PluginRecord, PluginStatus, Registry, State, registry
from ias_zoo.testing.checks import HEAVY

ROOT = Path(__file__).parents[1]


def method(name: str, **changes: object) -> Method:
    values = {
        "title": name,
        "summary": "A toy.",
        "group": "self-contained",
        "paper": None,
        "implementation": "json:JSONDecoder",
        "options": "json:JSONDecoder",
        "fidelity": "our design",
        "fidelity_note": "a toy",
    }
    return Method(name=name, **(values | changes))  # type: ignore[arg-type]


def plugin(distribution: str, *methods: Method) -> PluginRecord:
    return PluginRecord(distribution, distribution, "1.0", PluginStatus.OK, methods)


def test_names_aliases_and_spelling() -> None:
    zoo = Registry([plugin("one", method("deep_scratch", aliases=("scratch",)))])
    for name in ("deep_scratch", "deep-scratch", "Deep_Scratch", "scratch", "one:deep_scratch"):
        assert zoo.find(name).method.name == "deep_scratch"
    with pytest.raises(UnknownMethod, match="unknown method 'deep_scrtch'; did you mean 'deep_scratch'"):
        zoo.find("deep_scrtch")
    with pytest.raises(UnknownMethod):
        zoo.find("two:deep_scratch")


def test_clash_of_names_and_of_aliases() -> None:
    zoo = Registry(
        [plugin("one", method("a", aliases=("x",))), plugin("two", method("a"), method("b", aliases=("x",)))]
    )
    with pytest.raises(NameClash, match="'one:a' or 'two:a'"):
        zoo.find("a")
    with pytest.raises(NameClash, match="'one:a' or 'two:b'"):
        zoo.find("x")
    assert zoo.find("two:a").plugin.distribution == "two"
    assert zoo.find("b").state is State.READY
    assert [entry.state for entry in zoo.entries()] == [State.CLASH, State.CLASH, State.READY]


def test_a_name_outranks_another_plugins_alias() -> None:
    zoo = Registry([plugin("one", method("a")), plugin("two", method("b", aliases=("a",)))])
    assert zoo.find("a").plugin.distribution == "one"


def test_missing_dependency_keeps_the_method_listed() -> None:
    zoo = Registry([plugin("one", method("a", requires=("no_such_package",), install="pip install it"))])
    assert zoo.entries()[0].state is State.NEEDS_INSTALL
    with pytest.raises(MissingDependency, match="needs no_such_package: pip install it"):
        zoo.load("a")


def test_implementation_that_is_not_there() -> None:
    zoo = Registry([plugin("one", method("a", options="json:NoSuch"))])
    with pytest.raises(PluginError, match="json has no 'NoSuch'"):
        zoo.load("a")


def test_untrained_methods_take_no_weights() -> None:
    with pytest.raises(OptionError, match="takes no weights"):
        ias_zoo.load("cutpaste", "some/weights")
    with pytest.raises(OptionError, match="takes no base"):
        ias_zoo.load("cutpaste", base="tiny")
    with pytest.raises(OptionError, match="runs on cpu"):
        ias_zoo.load("cutpaste", device="cuda")


def test_listing_and_info() -> None:
    assert [m.name for m in ias_zoo.list_methods()] == sorted(m.name for m in ias_zoo.list_methods())
    assert ias_zoo.info("cutpaste-scar").name == "cutpaste_scar"


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["info", "draem"], ["plugins"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    heavy = (*HEAVY, "numpy", "scipy", "skimage", "PIL")
    code = (
        "import sys\n"
        f"for name in {heavy!r}: sys.modules[name] = None\n"
        "from ias_zoo.cli import main\n"
        f"main({arguments!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_zoo_knows_no_method_by_name() -> None:
    """Neither a method's name nor a plugin's package occurs in the core, in code or in words."""
    names = {entry.method.name for entry in registry().entries() if entry.plugin.distribution == "ias-zoo"}
    assert names, "no built-in methods found"
    for path in sorted((ROOT / "ias_zoo").rglob("*.py")):
        text = path.read_text(encoding="utf-8").lower()
        words = set(text.replace("-", "_").translate(str.maketrans(dict.fromkeys("\"'`.,:;()[]{}=/<>", " "))).split())
        # The package docstring shows one call; it is prose for people, and no branch.
        found = (names & words) - ({"draem"} if path.name == "__init__.py" and path.parent.name == "ias_zoo" else set())
        assert not found, f"{path.relative_to(ROOT)} names {found}"


def test_arrows_point_one_way() -> None:
    """The core imports no plugin; plugins use no private name of the core."""
    for path in sorted((ROOT / "ias_zoo").rglob("*.py")):
        assert not any(name.startswith("ias_zoo_") for name in _imports(path)), f"{path} imports a plugin"
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        private = [name for name in _imports(path) if name.startswith("ias_zoo.") and "._" in name]
        assert not private, f"{path} imports {private}"


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_discovery_does_not_depend_on_what_was_loaded() -> None:
    names = [entry.method.name for entry in registry().entries()]
    for name in names:
        ias_zoo.load(name)
    again = Registry.discover()
    assert [entry.method.name for entry in again.entries()] == names


@pytest.mark.parametrize("listed", ["nosuch", ""])
def test_an_allow_list_that_matches_nothing_is_said(
    listed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ias_zoo.cli import catalogue

    monkeypatch.setenv("IAS_ZOO_PLUGINS", listed)
    found = Registry.discover()
    monkeypatch.setattr(catalogue, "registry", lambda: found)
    catalogue.list_()
    said = capsys.readouterr().err
    assert said.startswith(f"warning: IAS_ZOO_PLUGINS={listed} matches no installed plugin; installed are ")
    assert "handcrafted" in said
    with pytest.raises(UnknownMethod, match="matches no installed plugin; installed are"):
        found.find("cutpaste")


def test_an_allow_list_that_matches_is_not_spoken_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ias_zoo.cli import catalogue

    monkeypatch.setenv("IAS_ZOO_PLUGINS", "handcrafted,nosuch")
    found = Registry.discover()
    monkeypatch.setattr(catalogue, "registry", lambda: found)
    catalogue.list_()
    assert capsys.readouterr().err == ""
