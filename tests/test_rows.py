"""A batch's members do not notice each other, to the bit, whatever the widths of the network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from ias_zoo.diffusion.base import Base, generator, open_base, undisturbed
from ias_zoo.diffusion.rows import rows_apart

_SPEC = importlib.util.spec_from_file_location("conftest_bases", Path(__file__).with_name("conftest.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
bases = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bases)

COUNT = 8


@pytest.fixture(scope="module", params=["tiny", 24, 32])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The embedded base, and random ones: with 24 channels hardly anything is a whole number of vectors."""
    if request.param == "tiny":
        return open_base("tiny", None, device="cpu")
    return open_base(bases.make_base(tmp_path_factory.mktemp("base"), width=request.param), None, device="cpu")


def parts(base: Base) -> dict[str, tuple[Any, list[torch.Tensor]]]:
    """What sampling runs, with a batch of inputs each."""
    side, channels = base.unet.config.sample_size, base.unet.config.in_channels
    source = generator(0)
    latents = torch.randn(COUNT, channels, side, side, generator=source)
    text = base.embed(["object"]) + torch.randn(COUNT, 77, base.unet.config.cross_attention_dim, generator=source)
    pixels = torch.randn(COUNT, 3, base.resolution, base.resolution, generator=source)
    return {
        "unet": (lambda x, c: base.unet(x, 37, encoder_hidden_states=c).sample, [latents, text]),
        "encode": (lambda x: base.encode(x, None), [pixels]),
        "decode": (base.decode, [latents]),
    }


@pytest.mark.parametrize("part", ["unet", "encode", "decode"])
def test_a_row_in_a_batch_is_the_row_alone(base: Base, part: str) -> None:
    with torch.no_grad(), undisturbed(base.device), rows_apart(base.device):
        run, inputs = parts(base)[part]
        alone = torch.cat([run(*(tensor[n : n + 1] for tensor in inputs)) for n in range(COUNT)])
        for size in (2, 3, 8):
            batches = [run(*(tensor[n : n + size] for tensor in inputs)) for n in range(0, COUNT, size)]
            assert torch.equal(torch.cat(batches), alone), f"batches of {size}"


def test_the_results_are_the_plain_ones(base: Base) -> None:
    with torch.no_grad(), undisturbed(base.device):
        for run, inputs in parts(base).values():
            plain = run(*inputs)
            with rows_apart(base.device):
                assert torch.allclose(run(*inputs), plain, atol=1e-4, rtol=1e-4)


def test_products_of_two_batches_and_odd_vectors() -> None:
    left, right = torch.randn(5, 2, 3, 7, generator=generator(1)), torch.randn(5, 2, 7, 11, generator=generator(2))
    with rows_apart(torch.device("cpu")):
        assert torch.equal((left @ right)[2:3], left[2:3] @ right[2:3])
        odd = torch.randn(5, 13, generator=generator(3))
        assert torch.equal(torch.nn.functional.silu(odd)[4:], torch.nn.functional.silu(odd[4:]))
        assert torch.equal(odd @ odd.T, odd.matmul(odd.T))  # of two matrices: one product
