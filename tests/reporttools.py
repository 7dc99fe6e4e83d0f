"""What the tests of the report share: a comparison to show, and a page taken apart."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ias_zoo.data.images import encode_png
from ias_zoo.generation.plan import make_plan
from ias_zoo.generation.run import run
from ias_zoo.report.page import write_report

HOSTILE = """</script><img src=x onerror="hacked=1">&'"""


class Page(HTMLParser):
    """A page taken apart: elements, their attributes, and the text people see."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.raw: list[str] = []
        self._inside = ""
        self.feed(self.source)
        self.data = json.loads(next(text for text in self.raw if text.startswith("{")))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.raw if self._inside in ("script", "style") else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        return [
            found for name, found in self.elements if name == tag and kind in [*found.get("class", "").split(" "), ""]
        ]


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with figures made up for the test: better gains, worse loses, odd is unclear and half missing."""
    root = tmp_path_factory.mktemp("compared")
    normals = root / "parts/train/good"
    normals.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(2):  # large enough for close-ups
        picture = rng.normal(120, 12, (18, 18, 3)).clip(0, 255).astype(np.uint8).repeat(40, axis=0).repeat(40, axis=1)
        (normals / f"{number}.png").write_bytes(encode_png(picture))
    out = root / "out"
    methods = {"better": (0.10, 0.14), "worse": (-0.2, -0.1), "odd": (0.05, None)}
    for method, gains in methods.items():
        for seed, gain in enumerate(gains):
            if gain is None:
                continue
            shots = 0.5 + 0.1 * seed
            place = out / method / f"seed-{seed}"
            if method == "better":
                plan = make_plan("cutpaste", normals.parents[1], 4, seed=seed, defects=["crack", "dent"])
                run(plan, place / "generated")
            elif method == "worse":
                shutil.copytree(out / "better" / place.name / "generated", place / "generated")
            place.mkdir(parents=True, exist_ok=True)
            result: dict[str, Any] = {
                "method": method,
                "seed": seed,
                "options": {"note": HOSTILE, "odd": float("nan")},
                "cost": {
                    "fit_seconds": None if method == "worse" else 3600.0,
                    "generate_seconds": 4.0,
                    "peak_mb": None,
                },
                "quality": {
                    "protocol": {"resolution": 256},
                    "defects": {"crack": {"kid": {"value": 0.04, "protocol": {"how": f"protocol {HOSTILE}"}}}},
                    "overall": {
                        "kid": {"value": 0.02, "protocol": "a mean", "warning": "of few"},
                        "fid": {"value": None},
                    },
                    "pooled": {"kid": {"value": 0.03}},
                },
                "downstream": {
                    "shots": {"pixel_ap": shots, "pixel_auroc": 0.9},
                    "both": {"pixel_ap": shots + gain, "pixel_auroc": 0.95, "image_ap": float("nan")},
                    "synthetic": {"pixel_ap": 0.3},
                },
                "curves": {arm: {"recall": [1.0, 0.5, 0.0], "precision": [0.1, 0.8, 1.0]} for arm in ("shots", "both")},
            }
            (place / "result.json").write_text(json.dumps(result))
    for seed in range(2):
        place = out / "real-only" / f"seed-{seed}"
        place.mkdir(parents=True)
        shots = {"pixel_ap": 0.5 + 0.1 * seed, "pixel_auroc": 0.9}
        (place / "result.json").write_text(json.dumps({"seed": seed, "downstream": {"shots": shots}}))
    losses = {HOSTILE: [1.0 / (step + 1) for step in range(300)], "mask": [0.5] * 300}
    stages = [{"name": "image", "steps": 300, "losses": losses}]
    (out / "better/seed-0/weights").mkdir()
    (out / "better/seed-0/weights/training.json").write_text(json.dumps({"stages": stages}))
    settings = {"format": 1, "data": f"/data/{HOSTILE}", "shots": {"crack": 4}, "protocol": {"name": "quick"}}
    settings |= {"seeds": [0, 1], "methods": ["worse", "odd", "better"]}
    (out / "compare.json").write_text(json.dumps(settings))
    provenance = out / "better/seed-0/generated/provenance/shard-00000.jsonl"
    lines = [json.loads(line) for line in provenance.read_text().splitlines()]
    lines[0]["recipe"]["drawn"] = {"hostile": HOSTILE, "big": 2**62 + 1}
    provenance.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


@pytest.fixture(scope="session")
def page(compared: Path) -> Page:
    """The comparison's report, ``page.html`` beside it."""
    return Page(write_report(compared, compared.parent / "page.html"))
