"""Write the parts of README.md that come from the registry: ``python tools/readme.py``. A test keeps them true."""

from __future__ import annotations

import re
from pathlib import Path

from ias_zoo.registry import registry

ROOT = Path(__file__).parents[1]
START, END = "<!-- methods: made by tools/readme.py -->", "<!-- end of methods -->"


def method_table() -> str:
    """The table of the built-in methods, in Markdown."""
    rows = ["| method | paper | group | needs | trains | exact mask | ms an image |", "|---|---|---|---|---|---|---|"]
    for entry in registry().entries():
        method = entry.method
        if entry.plugin.distribution != "ias-zoo":
            continue
        paper = method.paper
        where = "our own"
        if paper is not None:
            link = f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else paper.url
            where = f"[{paper.venue} {paper.year}]({link})"
        cells = [
            f"[`{method.name}`](model_cards/{method.name}.md)",
            where,
            f"{method.paradigm.value}, {method.group.value}",
            ", ".join(sorted(what.value for what in method.needs)),
            method.trains.value,
            "yes" if method.exact_mask else "see card",
            f"{method.cost.milliseconds:g}" if method.cost else "unmeasured",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """The README with its table made anew."""
    pattern = re.compile(re.escape(START) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{START}\n{method_table()}\n{END}", readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
