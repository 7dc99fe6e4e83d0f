"""What the README says is so: its table, its commands, its links, its example; and the cards fit the records."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ias_zoo.method import Produces, Trains
from ias_zoo.options import describe_options
from ias_zoo.registry import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BUILTIN = [entry for entry in registry().entries() if entry.plugin.distribution == "ias-zoo"]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_method_table_is_the_registrys() -> None:
    assert tool("readme").with_table(README) == README, "run python tools/readme.py"


def test_the_tables_of_results_are_those_of_the_kept_figures() -> None:
    results = tool("results")
    text = results.DOC.read_text(encoding="utf-8")
    assert results.with_tables(text) == text, "run python tools/results.py"
    assert text.count("<!-- table ") == len(list(results.KEPT.glob("*.json"))) > 0


def test_the_two_commands() -> None:
    commands = re.findall(r"^python -m venv .*$", README, re.MULTILINE)
    assert commands == [
        "python -m venv .venv && .venv/bin/pip install -c constraints.txt -e . && .venv/bin/ias-zoo demo",
        "python -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[test]' && .venv/bin/pytest",
    ]
    assert commands[1] in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "grep -E '^python -m venv .*pytest$' README.md" in ci, "CI does not run the README's command"


def test_python_examples_run(mvtec: Path) -> None:
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(import ias_zoo\n.*?)```", README, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example.replace("parts/", f"{mvtec}/").replace("100", "3"), "README.md", "exec"), names)
    assert names["sample"].mask.any()
    image, mask, _ = names["examples"][0]
    assert (tuple(image.shape), tuple(mask.shape[-2:])) == ((3, 256, 256), (256, 256))


def test_shell_commands_exist() -> None:
    from typer.main import get_command

    from ias_zoo.cli.app import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    texts = [README, *((path).read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]
    used = {name for text in texts for name in re.findall(r"ias-zoo ([a-z][a-z-]+)", text)}
    assert used, "no command found in the texts"
    assert used <= known, f"unknown commands in the texts: {used - known}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/plugins.md", "docs/speed.md", "model_cards"])
def test_links_lead_somewhere(page: str) -> None:
    pages = sorted((ROOT / page).glob("*.md")) if (ROOT / page).is_dir() else [ROOT / page]
    for path in pages:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_tutorial_is_the_strangers_package() -> None:
    text = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    for name, block in blocks:
        source = (ROOT / "tests/stranger" / name).read_text(encoding="utf-8")
        source = re.sub(r'\A""".*?"""\n\n', "", source, flags=re.DOTALL)
        assert block == source, f"docs/plugins.md differs from tests/stranger/{name}"


@pytest.mark.parametrize("entry", BUILTIN, ids=lambda entry: entry.method.name)
def test_cards_fit_the_records(entry: object) -> None:
    method = entry.method  # type: ignore[attr-defined]
    card = (ROOT / "model_cards" / f"{method.name}.md").read_text(encoding="utf-8")
    for option in describe_options(registry().options_class(method.name)):
        assert f"`{option.name}`" in card, f"the card does not explain option {option.name}"
    if method.paper and method.paper.arxiv:
        assert method.paper.arxiv in card
    assert method.licences.code in card
    # What a trained method makes depends on its base, and features are no picture: such a card may show none.
    if method.trains is Trains.NONE and method.produces is Produces.IMAGE:
        assert f"images/{method.name}.png" in card
        assert (ROOT / "model_cards/images" / f"{method.name}.png").is_file()
    assert method.cost is not None, "cost is not measured"


def test_no_path_of_a_development_machine_is_named() -> None:
    names = ["/work/", "/tmp/", ".library"]
    parts = ("ias_zoo", "plugins", "docs", "model_cards", "examples", "tools", "benchmarks", "training_scripts")
    for path in (path for part in parts for path in (ROOT / part).rglob("*")):
        if path.suffix in {".py", ".md", ".json", ".toml"}:
            text = path.read_text(encoding="utf-8")
            assert not any(name in text for name in names), path
