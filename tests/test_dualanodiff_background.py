"""DualAnoDiff's background compensation against its publication (checks 10 and 11)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_dualanodiff import PROMPTS, backgrounds_of, batches, dual, rows, up_weights, zero_out
from torch import nn

from ias_zoo.diffusion.base import generator, open_base
from ias_zoo.training.shots import TrainingSet
from ias_zoo_dualanodiff.interaction import Background
from ias_zoo_dualanodiff.model import DualModel
from ias_zoo_dualanodiff.stages import (
    SD_SCALE,
    background_latents,
    pair_loss,
    without_product,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def amounts(model: DualModel) -> list[nn.Parameter]:
    assert model.sets[0].backgrounds is not None
    return [layer.amount for layer in model.sets[0].backgrounds.values()]


@torch.no_grad()
def test_background_compensation_starts_as_the_plain_model(random_base: Path) -> None:
    plain, model = dual(random_base), dual(random_base, bcm="code")
    inputs = rows(plain)
    expected = plain.predict(0, *inputs)
    assert torch.equal(model.predict(0, *inputs, backgrounds_of(model)), expected)
    assert len(amounts(model)) == 16
    paper = dual(random_base, bcm="paper")
    assert all(amount.item() == pytest.approx(0.1) for amount in amounts(paper))
    assert not torch.allclose(paper.predict(0, *inputs, backgrounds_of(paper)), expected, atol=1e-4)


@torch.no_grad()
def test_background_reaches_the_global_branch_alone(random_base: Path) -> None:
    model = dual(random_base, bcm="code")
    inputs = rows(model)
    for amount in amounts(model):
        amount.fill_(1.0)
    zero_out(model)
    one, other = (model.predict(0, *inputs, backgrounds_of(model, seed)) for seed in (1, 2))
    assert torch.equal(one[1::2], other[1::2])
    assert not torch.allclose(one[0::2], other[0::2], atol=1e-4)
    # and with the interaction, through it, the anomaly too
    torch.manual_seed(0)
    for layer in model.sets[0].interactions:
        nn.init.normal_(layer.to_out.weight, std=0.1)
    one, other = (model.predict(0, *inputs, backgrounds_of(model, seed)) for seed in (1, 2))
    assert not torch.equal(one[1::2], other[1::2])


def test_mixing_laws() -> None:
    torch.manual_seed(0)
    tokens, background = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    code, paper = Background(8, "code"), Background(8, "paper")
    assert (code.amount.item(), paper.amount.item()) == (0.0, pytest.approx(0.1))
    assert code.down.out_features == 320
    told = code.up(code.down(background))
    with torch.no_grad():
        assert torch.equal(code(tokens, background), tokens)
        code.amount.fill_(1.0)
        assert torch.allclose(code(tokens, background), told), "at 1 nothing of h is left"
        code.amount.fill_(0.25)
        assert torch.allclose(code(tokens, background), 0.75 * tokens + 0.25 * told)
        expected = tokens + 0.1 * paper.up(paper.down(background))
        assert torch.allclose(paper(tokens, background), expected)


def test_first_gradient_of_background_compensation(random_base: Path, toys: TrainingSet) -> None:
    model = dual(random_base, bcm="code")
    model.train_set(0)
    sum(pair_loss(model, 0, batches(toys, bcm="code").make(0, 0), lambda defect: PROMPTS).values()).backward()
    backgrounds = model.sets[0].backgrounds
    assert backgrounds is not None
    for layer in backgrounds.values():
        assert layer.amount.grad is not None
        assert layer.amount.grad.abs().item() > 0
        assert not layer.down.weight.grad.any()
        assert not layer.up.weight.grad.any()


def test_gradients_flow_through_the_background_pass_with_checkpointing_too(
    random_base: Path, toys: TrainingSet
) -> None:
    grads = []
    for checkpointing in (False, True):
        model = dual(random_base, bcm="paper")
        model.train_set(0)
        if checkpointing:
            model.base.unet.enable_gradient_checkpointing()
        model.base.unet.train()
        batch = batches(toys, bcm="paper").make(0, 0)
        sum(pair_loss(model, 0, batch, lambda defect: PROMPTS).values()).backward()
        parameters = [*up_weights(model.base.unet, "global0"), *model.sets[0].modules["bcm"].parameters()]
        grads.append([parameter.grad for parameter in parameters])
    for one, other in zip(*grads, strict=True):
        assert one is not None
        assert one.any()
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_background_latents_are_as_strong_as_published(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    assert base.vae.config.scaling_factor == SD_SCALE
    pixels = torch.rand(1, 3, 64, 64, generator=generator(0)) * 2 - 1
    strong, scaled = (background_latents(base, pixels, [generator(1)], scaled=scaled) for scaled in (False, True))
    assert torch.allclose(strong * SD_SCALE, scaled, rtol=1e-5)
    posterior = base.vae.encode(pixels).latent_dist
    noise = torch.randn(posterior.mean.shape[1:], generator=generator(1))
    assert torch.allclose(strong[0], (posterior.mean + posterior.std * noise)[0], rtol=1e-4, atol=1e-5)


def test_condition_image_is_black_where_the_product_is() -> None:
    image = np.full((2, 3, 3), 200, np.uint8)
    saliency = np.array([[255, 0, 51], [0, 255, 0]], np.uint8)
    made = without_product(image, saliency)
    assert not made[0, 0].any()
    assert not made[1, 1].any()
    assert (made[0, 1] == 200).all()
    assert (made[0, 2] == 160).all()
