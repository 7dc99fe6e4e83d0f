"""The card of a weights folder: what the Hub's search finds, what people read, and what never gets in."""

from __future__ import annotations

import dataclasses
import sys
import types
from typing import Any

import pytest
from huggingface_hub import ModelCard

from ias_zoo.cards import make_card
from ias_zoo.errors import WeightsError
from ias_zoo.hub import Manifest
from ias_zoo.method import Base, Fidelity, Group, Input, Licences, Method, Paper, Produces, Trains
from ias_zoo.options import option

BASE = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclasses.dataclass(frozen=True)
class ToyOptions:
    rank: int = option(4, "rank of the adapter")
    crop: str = option("auto", "how shots are cropped")


@pytest.fixture(autouse=True)
def toy_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("toy_options_for_cards")
    module.ToyOptions = ToyOptions  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_options_for_cards", module)
    return


METHOD = Method(
    name="toy",
    title="Toy <b>",
    summary="Draws toys.",
    group=Group.FULL_IMAGE_SYNTHESIS,
    paper=Paper("Toys", "A. Author", "CVPR", 2025, arxiv="2502.16412"),
    implementation="toy:Toy",
    options="toy_options_for_cards:ToyOptions",
    fidelity=Fidelity.FAITHFUL,
    fidelity_note="all of it",
    needs=frozenset({Input.NORMALS}),
    accepts=frozenset({Input.DEFECT}),
    trains=Trains.ADAPTER,
    base=Base(BASE, "0" * 40),
    licences=Licences(base_weights="CreativeML-OpenRAIL-M"),
)
MADE = Manifest(
    method="toy",
    distribution="toy-plugin",
    plugin_version="1.2",
    plugin_api=1,
    zoo_version="0.1.0",
    base=BASE,
    base_revision="1" * 40,
    options={"rank": 16, "crop": "auto"},
    defects=("crack",),
    licence="Apache-2.0",
    training_files={"test/crack/000.png": "a" * 64, "test/crack/0|1.png": "b" * 64},
    facts={"seconds": 61.23456, "peak_memory_mb": 900, "loss": {"final": 0.012345}, "machine": "2 cores"},
)


def front(card: str) -> dict[str, Any]:
    """What huggingface_hub itself reads at the top of a card."""
    return dict(ModelCard(card).data.to_dict())  # type: ignore[no-untyped-call]


def test_what_the_hub_reads() -> None:
    assert front(make_card(METHOD, MADE)) == {
        "library_name": "ias_zoo",
        "license": "apache-2.0",
        "base_model": BASE,
        "base_model_relation": "adapter",
        "pipeline_tag": "image-to-image",
        "tags": ["ias_zoo", "anomaly-synthesis", "industrial-inspection", "toy", "generative-model"],
    }


@pytest.mark.parametrize("base", ["tiny", "my_sd15", None])
def test_a_base_that_is_not_on_the_hub(base: str | None) -> None:
    data = front(make_card(METHOD, dataclasses.replace(MADE, base=base, base_revision=None)))
    assert "base_model" not in data
    assert "base_model_relation" not in data


def test_licences_that_the_hub_does_not_know() -> None:
    data = front(make_card(METHOD, dataclasses.replace(MADE, licence="Our Own: Non-Commercial")))
    assert data["license"] == "other"
    assert data["license_name"] == "our-own-non-commercial"


def test_kinds_of_methods() -> None:
    full = dataclasses.replace(METHOD, trains=Trains.FULL, needs=frozenset({Input.PROMPT}))
    assert front(make_card(full, MADE))["base_model_relation"] == "finetune"
    assert front(make_card(full, MADE))["pipeline_tag"] == "text-to-image"
    features = dataclasses.replace(METHOD, produces=Produces.FEATURES)
    assert "pipeline_tag" not in front(make_card(features, MADE))


def test_what_people_read() -> None:
    card = make_card(METHOD, MADE, body="# Toy\n\nAbout it.\n", pictures=["samples.png"])
    for line in (
        "# Toy &lt;b&gt;: weights for industrial anomaly synthesis",
        "![samples](<samples.png>)",
        'samples = ias_zoo.load("toy", "org/name").generate(100, normals="good_parts/", defect=\'crack\')',
        f"| base | {BASE} at {'1' * 40} |",
        "| licence of the base | CreativeML-OpenRAIL-M |",
        "| paper | A. Author: Toys. CVPR 2025. https://arxiv.org/abs/2502.16412 |",
        f"| test/crack/0\\|1.png | `{'b' * 64}` |",
        "| rank | 16 | 4 |",
        "| seconds | 61.23 |",
        "| loss: final | 0.01235 |",
        "About it.",
    ):
        assert line in card.split("\n"), line
    assert "| crop |" not in card  # at its default


def test_every_table_has_one_width() -> None:
    card = make_card(METHOD, dataclasses.replace(MADE, options={"rank": 1, "new\nline|": "a|b\nc"}))
    for block in card.split("\n\n"):
        rows = [line.replace("\\|", "") for line in block.split("\n") if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block


def test_machines_and_tokens_stay_out() -> None:
    token = "hf_" + "a" * 34
    options = {
        "rank": 4,
        "textures": "/home/joe/secret/textures",
        "other": "C:\\Users\\joe\\bad dogs",
        "home": "~/joe/x",
    }
    facts = {
        "machine": f"joe's box, see /root/joe/notes.txt, {token}",
        "page": "https://joe.org/a/b",
        "ratio": "and/or",
    }
    card = make_card(METHOD, dataclasses.replace(MADE, options=options, facts=facts), body=f"with {token}")
    assert token not in card
    assert not [word for word in ("secret", "/home", "/root", "C:", "Users", "~/") if word in card]
    for kept in ("| textures | textures |", "notes.txt", "https://joe.org/a/b", "and/or"):
        assert kept in card


def test_many_files_are_cut() -> None:
    card = make_card(METHOD, dataclasses.replace(MADE, training_files={f"{n:04}.png": "a" * 64 for n in range(400)}))
    assert card.count("`" + "a" * 64 + "`") == 50
    assert "and 350 more" in card


@pytest.mark.parametrize("picture", ["../x.png", "/x.png", "http://x/y.png", "x.svg"])
def test_pictures_are_in_the_folder(picture: str) -> None:
    with pytest.raises(WeightsError):
        make_card(METHOD, MADE, pictures=[picture])
