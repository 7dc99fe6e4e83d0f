"""A trained method's whole way, as the README walks it: fit on a base of the Hub, generate, push, load, generate."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ias_zoo.testing.subject import toy_set

_SPEC = importlib.util.spec_from_file_location("hubtools", Path(__file__).with_name("hubtools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
hub, repo, client = tools.hub, tools.repo, tools.client

METHODS: dict[str, dict[str, Any]] = {
    "anomalydiffusion": {
        "steps": 1,
        "mask_steps": 1,
        "sampling_steps": 3,
        "mask_sampling_steps": 2,
        "mask_threshold": -0.9,
        "masks": "drawn",
        "mask_border": "keep",
        "least_seen": 0.0,
    },
    "dualanodiff": {"steps": 1, "sampling_steps": 2, "rank": 2},
    "seas": {"steps": 1, "mask_steps": 1, "sampling_steps": 3, "rank": 2, "mask_channels": [16, 16]},
    "dfmgan": {"kimg": 0.008, "batch": 4},
    "defect_gan": {"steps": 2, "batch": 2, "mask_threshold": 0.1},
}

FIT = """
import hashlib, json, sys, torch, ias_zoo
torch.set_num_threads(1)
name, data, base, repo, options = json.loads(sys.argv[1])
made = ias_zoo.load(name, base=base, device="cpu", **options)
made.fit(data, count=2, out="weights")
sample = made.generate(1, normals=data, defect="scratch", seed=3)[0]
url = made.push_to_hub(repo)
print(json.dumps([hashlib.sha256(sample.image.tobytes() + sample.mask.tobytes()).hexdigest(), url]))
"""

LOAD = """
import hashlib, json, sys, torch, ias_zoo
torch.set_num_threads(1)
name, data, repo = json.loads(sys.argv[1])
made = ias_zoo.load(name, repo, device="cpu")
sample = made.generate(1, normals=data, defect="scratch", seed=3)[0]
print(json.dumps([hashlib.sha256(sample.image.tobytes() + sample.mask.tobytes()).hexdigest(), sample.recipe]))
"""


def run(client: Any, code: str, *arguments: Any, **environment: str) -> Any:
    given = json.dumps(arguments)
    process = client.start(f"import sys\nsys.argv = ['', {given!r}]\n{code}", **environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.strip().splitlines()[-1])


@pytest.mark.parametrize("name", METHODS)
def test_fit_push_load_generate(
    hub: Any, repo: str, client: Any, base_of: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    data = str(toy_set(tmp_path / "toys").root)
    base, folder = f"{repo}-base", base_of(name)
    hub.create(base)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    commit = tools.put(hub, base, files)
    made, url = run(client, FIT, name, data, base, repo, METHODS[name], HF_TOKEN=tools.TOKEN)
    assert url.startswith(f"{hub.url}/{repo}/commit/")
    # Elsewhere: a cache of its own, so that weights and base both come from the Hub, at the commits that were recorded.
    other = tools.Client(hub, tmp_path / "elsewhere")
    other.home.mkdir()
    again, recipe = run(other, LOAD, name, data, repo)
    assert again == made
    assert recipe["base"] == {"name": base, "revision": commit}
    assert recipe["weights"]["revision"] == url.rsplit("/", 1)[1]
    card = (client.home / "weights/README.md").read_text(encoding="utf-8")
    assert f"base_model: {base}" in card
    assert "![samples](<samples.png>)" in card
    assert (client.home / "weights/samples.png").stat().st_size > 1000
    assert "## The method" in card  # the method's own card, one heading deep inside this one
    assert "#### Options" in card
    # And without any network, from that cache.
    offline, _ = run(other, LOAD, name, data, repo, HF_HUB_OFFLINE="1")
    assert offline == made
