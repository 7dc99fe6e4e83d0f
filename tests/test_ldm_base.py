"""The older LDM text-to-image layout as a base: BERT-like text encoder, other names, pickles refused and converted."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ias_zoo
from ias_zoo.diffusion.base import open_base
from ias_zoo.diffusion.tokens import encode_vectors, token_embedding
from ias_zoo.errors import WeightsError
from ias_zoo.testing.subject import toy_set

_SPEC = importlib.util.spec_from_file_location("ldm", Path(__file__).with_name("ldm.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
ldm = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(ldm)


@pytest.fixture(scope="module")
def ldm_base(random_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ldm.make_ldm(tmp_path_factory.mktemp("ldm"), random_base)


@pytest.fixture(scope="module")
def pickled(ldm_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ldm.make_pickled(tmp_path_factory.mktemp("pickled") / "ldm", ldm_base)


def test_opens_with_the_names_of_the_others(ldm_base: Path) -> None:
    base = open_base(str(ldm_base), None, device="cpu")
    assert (base.cell, base.resolution, base.text_length) == (8, 64, 77)
    assert base.embed(["a photo of the crack", ""]).shape == (2, 77, 32)
    assert not base.text_encoder.training  # the published configuration has dropout; it must not act
    assert not any(parameter.requires_grad for parameter in base.text_encoder.parameters())


@pytest.mark.parametrize("which", ["ldm", "clip"])
def test_vectors_in_place_of_words(ldm_base: Path, random_base: Path, which: str) -> None:
    base = open_base(str(ldm_base if which == "ldm" else random_base), None, device="cpu")
    ids = base.token_ids(["a photo", "object"])
    vectors = token_embedding(base.text_encoder)(ids)
    assert torch.equal(encode_vectors(base.text_encoder, ids, vectors), base.text_encoder(ids)[0])
    free = vectors.clone().requires_grad_()
    encode_vectors(base.text_encoder, ids, free).square().sum().backward()
    assert free.grad is not None
    assert (free.grad != 0).any(dim=2).all(), "a vector got no gradient"
    assert torch.equal(base.text_encoder(ids)[0], encode_vectors(base.text_encoder, ids, vectors)), "the hook stayed"


def test_pickles_are_refused_with_the_way_out(pickled: Path) -> None:
    with pytest.raises(WeightsError, match=r"vqvae has no safetensors file.*tools/convert_base\.py"):
        open_base(str(pickled), None, device="cpu")


def test_converted_base_is_the_same(pickled: Path, ldm_base: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "tools/convert_base.py"
    subprocess.run([sys.executable, script, pickled, tmp_path / "new"], check=True, capture_output=True)
    assert not list((tmp_path / "new").rglob("*.bin"))
    one, other = open_base(str(ldm_base), None, device="cpu"), open_base(str(tmp_path / "new"), None, device="cpu")
    for part in ("vae", "unet", "text_encoder"):
        first, second = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first), part
    again = subprocess.run([sys.executable, script, pickled, tmp_path / "new"], capture_output=True, text=True)
    assert again.returncode != 0
    assert "exists" in again.stderr


def test_a_method_on_it_end_to_end(ldm_base: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = toy_set(tmp_path / "toys")
    options = {"steps": 1, "mask_steps": 1, "sampling_steps": 3, "mask_sampling_steps": 2, "mask_threshold": -0.9}
    made = ias_zoo.load("anomalydiffusion", base=str(ldm_base), device="cpu", masks="drawn", **options)
    made.fit(data, count=2, out=tmp_path / "weights")
    again = ias_zoo.load("anomalydiffusion", str(tmp_path / "weights"), base=str(ldm_base), device="cpu")
    one, other = (synthesizer.generate(1, data, defect="scratch")[0] for synthesizer in (made, again))
    assert (one.image == other.image).all()
    assert (one.mask == other.mask).all()
