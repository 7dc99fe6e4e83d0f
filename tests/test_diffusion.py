"""The diffusion toolbox: what bases predict, adapters through peft, memory options."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from ias_zoo.diffusion.base import Base, gaussian, generator, open_base
from ias_zoo.diffusion.sampling import denoise
from ias_zoo.errors import WeightsError
from ias_zoo.training.lora import add_lora, load_lora, save_lora


def predicting(random_base: Path, folder: Path, kind: str) -> Path:
    """The random base with another kind of prediction in its scheduler's configuration."""
    shutil.copytree(random_base, folder)
    place = folder / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"prediction_type": kind}))
    return folder


class Knowing(torch.nn.Module):
    """A denoiser that knows the clean latents and answers as the base is said to predict."""

    def __init__(self, base: Base, clean: torch.Tensor) -> None:
        super().__init__()
        self.base, self.clean = base, clean

    def forward(self, noisy: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor) -> object:
        clean = self.clean.repeat(len(noisy) // len(self.clean), 1, 1, 1)
        times = torch.as_tensor(timestep).expand(len(noisy))
        kept = self.base.scheduler.alphas_cumprod[times][:, None, None, None]
        noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
        return type("Output", (), {"sample": self.base.target(clean, noise, times)})


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_both_kinds_of_prediction_lead_to_the_same_latents(random_base: Path, tmp_path: Path, kind: str) -> None:
    base = open_base(str(predicting(random_base, tmp_path / "base", kind)), None, device="cpu")
    clean, noise = (torch.randn(3, 4, 8, 8, generator=generator(n)) for n in (0, 1))
    times = torch.tensor([0, 400, 999])
    noisy = base.scheduler.add_noise(clean, noise, times)
    target = base.target(clean, noise, times)
    assert torch.equal(target, noise) == (kind == "epsilon")
    assert torch.allclose(base.noise_of(target, noisy, times), noise, atol=1e-5)
    base.unet = Knowing(base, clean)
    text = torch.zeros(3, 77, 32)
    start = gaussian((4, 8, 8), [generator(n) for n in range(3)], base.device)
    made = denoise(base, start, text, text[:1], steps=10, guidance=2.0)
    assert torch.allclose(made, clean, atol=1e-3)


def test_v_at_the_ends_of_the_schedule(random_base: Path, tmp_path: Path) -> None:
    base = open_base(str(predicting(random_base, tmp_path / "base", "v_prediction")), None, device="cpu")
    clean, noise = (torch.randn(1, 4, 8, 8, generator=generator(n)) for n in (0, 1))
    assert torch.allclose(base.target(clean, noise, torch.tensor([0])), noise, atol=0.15)
    assert torch.allclose(base.target(clean, noise, torch.tensor([999])), -clean, atol=0.3)


def test_another_kind_of_prediction_is_refused(random_base: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="predicts sample; expected epsilon or v_prediction"):
        open_base(str(predicting(random_base, tmp_path / "base", "sample")), None, device="cpu")


def output(base: Base) -> torch.Tensor:
    latents = torch.randn(1, 4, 8, 8, generator=generator(0))
    with torch.no_grad():
        told: torch.Tensor = base.unet(latents, 7, encoder_hidden_states=torch.ones(1, 77, 32)).sample
    return told


@pytest.mark.parametrize("option", ["channels_last", "attention_slicing"])
def test_memory_options_change_no_result(random_base: Path, option: str) -> None:
    plain = open_base(str(random_base), None, device="cpu")
    saving = open_base(str(random_base), None, device="cpu", **{option: True})  # type: ignore[arg-type]
    assert torch.allclose(output(plain), output(saving), atol=1e-5)


def test_offloaded_weights_work_the_same(random_base: Path) -> None:
    plain, saving = (open_base(str(random_base), None, device="cpu") for _ in range(2))
    saving.offload()
    assert all(parameter.device.type == "meta" for parameter in saving.unet.parameters())
    assert torch.allclose(output(plain), output(saving), atol=1e-5)
    assert torch.allclose(plain.embed(["a photo"]), saving.embed(["a photo"]), atol=1e-5)


@pytest.mark.parametrize("start", ["gaussian", "kaiming"])
def test_an_adapter_starts_as_nothing_and_comes_back_as_it_was(random_base: Path, tmp_path: Path, start: str) -> None:
    plain, trained, again = (open_base(str(random_base), None, device="cpu") for _ in range(3))
    state = torch.get_rng_state()
    add_lora(trained.unet, 2, ["to_q", "conv1"], alpha=4, start=start)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(output(plain), output(trained), atol=1e-6)
    with torch.no_grad():
        for name, parameter in trained.unet.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=generator(1))
    save_lora(trained.unet, tmp_path / "adapter")
    load_lora(again.unet, tmp_path / "adapter")
    assert not torch.allclose(output(plain), output(trained), atol=1e-2)
    assert torch.equal(output(trained), output(again))


def test_an_adapter_of_another_architecture_is_refused(random_base: Path, tmp_path: Path) -> None:
    base, other = (open_base(str(random_base), None, device="cpu") for _ in range(2))
    add_lora(base.unet, 2, ["to_q"])
    save_lora(base.unet, tmp_path / "adapter")
    del other.unet.up_blocks[3].attentions[2]
    with pytest.raises(ValueError, match=r"different layers, among them up_blocks\.3\.attentions\.2"):
        load_lora(other.unet, tmp_path / "adapter")
