"""DualAnoDiff against its publication: branches, interaction, loss, data, background compensation, sampler, weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from small_dualanodiff import (
    PROMPTS,
    QUICK,
    backgrounds_of,
    batches,
    dual,
    no_preview,
    randomise,
    rows,
    up_weights,
    zero_out,
)
from transformers import CLIPTextConfig, CLIPTextModel

import ias_zoo
from ias_zoo.diffusion.base import gaussian, generator, open_base
from ias_zoo.diffusion.rows import rows_apart
from ias_zoo.testing.subject import picture
from ias_zoo.training.lora import add_lora
from ias_zoo.training.shots import Shot, TrainingSet, load_shots
from ias_zoo_dualanodiff.interaction import Background, ByPeft, Interaction, attention_layers
from ias_zoo_dualanodiff.model import ANOMALY_PROMPT, GLOBAL_PROMPT, TEXT_TARGETS, UNET_TARGETS, DualModel
from ias_zoo_dualanodiff.options import DualAnoDiffOptions
from ias_zoo_dualanodiff.sampling import Merged, denoise_pairs, pndm
from ias_zoo_dualanodiff.stages import (
    Batches,
    PairStage,
    anomaly_of,
    pair_loss,
    signed,
    weights_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


# 1. The start


@torch.no_grad()
def test_without_what_is_learned_it_is_the_base(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    model = dual(random_base)
    inputs = rows(model)
    plain = base.unet(inputs[0], inputs[1], encoder_hidden_states=base.embed(list(PROMPTS) * 2)).sample
    assert (model.predict(0, *inputs) - plain).abs().max() > 0.01, "the published start is another network"
    zero_out(model)
    assert torch.allclose(model.predict(0, *inputs), plain, atol=1e-5)
    at_zero = dual(random_base, saim_start="zero")
    assert torch.allclose(at_zero.predict(0, *inputs), plain, atol=1e-5)


# 2. and 5. Who sees whom


@torch.no_grad()
def test_pairs_do_not_see_each_other(random_base: Path) -> None:
    model = dual(random_base)
    latents, t, text = rows(model)
    before = model.predict(0, latents, t, text)
    changed = latents.clone()
    changed[1] += 1
    moved = (model.predict(0, changed, t, text) != before).flatten(1).any(dim=1).tolist()
    assert moved == [True, True, False, False]
    zero_out(model)
    before = model.predict(0, latents, t, text)
    moved = (model.predict(0, changed, t, text) != before).flatten(1).any(dim=1).tolist()
    assert moved == [False, True, False, False]


@torch.no_grad()
def test_each_branch_has_its_own_adapter(random_base: Path) -> None:
    model = dual(random_base)
    zero_out(model)
    inputs = rows(model)
    before = model.predict(0, *inputs)
    randomise(up_weights(model.base.unet, model.sets[0].branches[1]))
    after = model.predict(0, *inputs)
    assert torch.allclose(after[0::2], before[0::2], atol=1e-6)
    assert (after[1::2] - before[1::2]).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@torch.no_grad()
def test_sets_of_different_types_do_not_touch_each_other(random_base: Path) -> None:
    model = dual(random_base)
    inputs = rows(model)
    before = model.predict(0, *inputs)
    model.add_set()
    for name in model.sets[1].branches:
        randomise(up_weights(model.base.unet, name))
    randomise(up_weights(model.base.text_encoder, model.sets[1].text))
    assert torch.equal(model.predict(0, *inputs), before)
    assert torch.equal(model.embed(0, list(PROMPTS)).repeat(2, 1, 1), inputs[2])
    assert not torch.equal(model.embed(1, list(PROMPTS)), inputs[2][:2])
    assert not torch.allclose(model.predict(1, *inputs), before, atol=1e-3)


# 3. What trains


@pytest.mark.parametrize("bcm", ["off", "code"])
def test_what_trains(random_base: Path, toys: TrainingSet, bcm: str) -> None:
    model = dual(random_base, bcm=bcm)
    model.add_set()
    stage = PairStage("pairs", model, 1, batches(toys, bcm=bcm), lambda defect: PROMPTS, (1e-3, 1e-3), no_preview)
    sum(stage.loss(0, 0).values()).backward()
    base, trained = model.base, model.sets[1]
    for network, names in ((base.unet, trained.branches), (base.text_encoder, (trained.text,))):
        for name, parameter in network.named_parameters():
            mine = any(f".{adapter}." in name for adapter in names)
            assert parameter.requires_grad is mine, name
            if not mine:
                assert parameter.grad is None, name
            elif "lora_A" in name:
                assert parameter.grad is not None
                assert not parameter.grad.any(), f"{name}: up is zero, so down has no gradient yet"
    assert not any(parameter.requires_grad for parameter in base.vae.parameters())
    for name in trained.branches:
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in up_weights(base.unet, name))
    assert any(parameter.grad.any() for parameter in up_weights(base.text_encoder, trained.text))
    assert all(parameter.grad.any() for layer in trained.interactions for parameter in (layer.to_out.weight,))
    assert all(p.grad is None for module in model.sets[0].modules.values() for p in module.parameters())
    listed = {id(p) for group in stage.parameter_groups() for p in group["params"]}
    everything = [base.unet, base.text_encoder, *trained.modules.values()]
    assert listed == {id(p) for module in everything for p in module.parameters() if p.requires_grad}


# 4. Sizes


def sd15_unet() -> Any:
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        )


def count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def test_sizes_at_stable_diffusion_15() -> None:
    unet = sd15_unet()
    layers = attention_layers(unet)
    widths = [layer.query_dim for _, layer in layers]
    assert [widths.count(width) for width in (320, 640, 1280)] == [10, 10, 12]
    with torch.device("meta"):
        assert sum(count(Interaction(width).parameters()) for width in widths) == 124_078_720
        used = [width for (name, _), width in zip(layers, widths, strict=True) if name.endswith(".attn1")]
        assert len(used) == 16
        assert sum(count(Background(width).parameters()) for width in used) == 8_004_816  # ours: those that are used
        assert sum(count(Background(width).parameters()) for width in widths) == 16_009_632  # published: in every layer
        text = CLIPTextModel(
            CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
        )
        for name in ("global0", "anomaly0"):
            add_lora(unet, 32, UNET_TARGETS, name=name)
        add_lora(text, 32, TEXT_TARGETS, name="text0")
    for name in ("global0", "anomaly0"):
        assert count(p for key, p in unet.named_parameters() if f".{name}." in key) == 6_377_472
    assert count(p for key, p in text.named_parameters() if "lora_" in key) == 2_359_296


def test_adapters_count_once_and_start_as_published(random_base: Path) -> None:
    model = dual(random_base, rank=16)
    for name in model.sets[0].branches:
        config = model.base.unet.peft_config[name]
        assert config.r == config.lora_alpha == 16
        assert (config.lora_dropout, config.bias) == (0.0, "none")
        assert not any(parameter.any() for parameter in up_weights(model.base.unet, name))
    down = {
        name: torch.cat([p.flatten() for key, p in model.base.unet.named_parameters() if f"lora_A.{name}." in key])
        for name in model.sets[0].branches
    }
    one, other = down.values()
    assert one.std().item() == pytest.approx(1 / 16, rel=0.02)
    assert not torch.equal(one, other), "the branches' adapters start alike"


# 6. Interaction


def test_interaction_is_attention_of_two_tokens() -> None:
    torch.manual_seed(0)
    layer, y = Interaction(12), torch.randn(3, 2, 5, 12)
    assert layer.norm.eps == 1e-6
    out = layer(y)
    assert out.shape == y.shape
    tokens = y.transpose(1, 2)  # B x N x 2 x C, as written down: softmax over the two tokens of a position
    s = layer.to_in(layer.norm(tokens))
    attention = (layer.to_q(s) @ layer.to_k(s).transpose(-1, -2) / 12**0.5).softmax(dim=-1)
    expected = tokens + layer.to_out(attention @ layer.to_v(s))
    assert torch.allclose(out, expected.transpose(1, 2), atol=1e-6)
    assert torch.allclose(layer(y.flip(1)), out.flip(1), atol=1e-6), "the branches are told apart"
    equal = y[:, :1].expand(-1, 2, -1, -1)
    assert torch.equal(layer.weights(equal), torch.full((3, 2, 5, 1), 0.5))
    assert torch.equal(layer(equal)[:, 0], layer(equal)[:, 1])


@torch.no_grad()
def test_interaction_follows_every_attention_layer(random_base: Path) -> None:
    model = dual(random_base)
    calls: list[tuple[int, ...]] = []
    for layer in model.sets[0].interactions:
        layer.register_forward_hook(lambda module, given, out: calls.append(tuple(out.shape)))
    model.predict(0, *rows(model))
    assert len(calls) == len(model.sets[0].interactions) == len(attention_layers(model.base.unet)) == 32
    assert all(shape[:2] == (2, 2) for shape in calls)


# 7. Loss


def test_loss_is_the_mean_over_both_branches(random_base: Path, toys: TrainingSet) -> None:
    model, made = dual(random_base, defect_share=0.0), batches(toys)
    seen: dict[str, Any] = {}

    def predict(number: int, latents: torch.Tensor, t: torch.Tensor, text: torch.Tensor, background: Any) -> Any:
        seen.update(noisy=latents, t=t, text=text, background=background)
        return seen.get("answer", torch.zeros_like(latents))

    model.predict = predict  # type: ignore[method-assign,assignment]
    terms = pair_loss(model, 0, made.make(4, 0), lambda defect: PROMPTS)
    batch = made.make(4, 0)
    latents = model.base.encode(batch.pixels, batch.generators)
    noise = gaussian(latents.shape[1:], batch.generators, model.base.device)
    assert sum(terms.values()).item() == pytest.approx(float(noise.square().mean()), rel=1e-5)
    halves = [float(noise[branch::2].square().mean()) / 2 for branch in (0, 1)]
    assert [float(terms[name]) for name in ("picture", "anomaly")] == pytest.approx(halves, rel=1e-5)
    assert torch.equal(seen["t"][0::2], seen["t"][1::2])
    assert len(set(seen["t"].tolist())) == 2
    assert not torch.equal(noise[0], noise[1])
    assert torch.allclose(seen["noisy"], model.base.scheduler.add_noise(latents, noise, seen["t"]), atol=1e-5)
    assert torch.equal(seen["text"], model.embed(0, list(PROMPTS)).repeat(2, 1, 1))
    assert seen["background"] is None
    seen["answer"] = noise
    terms = pair_loss(model, 0, made.make(4, 0), lambda defect: PROMPTS)
    assert sum(terms.values()).item() == pytest.approx(0, abs=1e-10)


def test_small_defects_have_a_least_share_of_the_loss(random_base: Path, toys: TrainingSet) -> None:
    masks = torch.zeros(3, 64, 64, dtype=torch.bool)
    masks[0, 9, 17] = True  # one pixel touches one cell of 8 x 8
    masks[1, :32] = True
    weights = weights_of(masks, 8, 0.25)
    assert weights.shape == (6, 1, 8, 8)
    assert torch.allclose(weights.mean(dim=(1, 2, 3)), torch.ones(6))
    assert torch.equal(weights[0], weights[1])
    assert weights[0, 0, 1, 2].item() == pytest.approx(0.25 * 64)
    assert weights[0, 0, 0, 0].item() == pytest.approx(0.75 * 64 / 63)
    assert torch.equal(weights[2:], torch.ones(4, 1, 8, 8)), "a large defect and none: all cells alike"


def test_published_loss_counts_all_cells_alike(random_base: Path, toys: TrainingSet) -> None:
    published, ours = dual(random_base, defect_share=0.0), dual(random_base, defect_share=0.9)
    assert dual(random_base).defect_share == 0.05, "on small bases"
    large: Any = SimpleNamespace(options=DualAnoDiffOptions(), base=SimpleNamespace(small=False))
    assert DualModel.defect_share.fget(large) == 0  # type: ignore[attr-defined]
    one, other = (pair_loss(model, 0, batches(toys).make(0, 0), lambda defect: PROMPTS) for model in (published, ours))
    assert one["anomaly"].item() != pytest.approx(other["anomaly"].item(), rel=1e-4)


def test_a_base_that_predicts_v_learns_v(random_base: Path, toys: TrainingSet) -> None:
    model, made = dual(random_base), batches(toys)
    model.base.scheduler.register_to_config(prediction_type="v_prediction")
    batch = made.make(1, 0)
    latents = model.base.encode(batch.pixels, batch.generators)
    noise = gaussian(latents.shape[1:], batch.generators, model.base.device)

    def predict(number: int, noisy: torch.Tensor, t: torch.Tensor, text: Any, background: Any) -> torch.Tensor:
        kept = model.base.scheduler.alphas_cumprod[t][:, None, None, None]
        return kept.sqrt() * noise - (1 - kept).sqrt() * latents

    model.predict = predict  # type: ignore[method-assign,assignment]
    assert sum(pair_loss(model, 0, made.make(1, 0), lambda defect: PROMPTS).values()).item() < 1e-9


# 8. Data


def test_anomaly_is_the_shot_inside_its_mask_and_grey_outside(toys: TrainingSet) -> None:
    batch = batches(toys, size=4).make(2, 0)
    picture, anomaly = batch.pixels[0::2], batch.pixels[1::2]
    assert batch.masks.dtype == torch.bool
    assert batch.masks.flatten(1).any(dim=1).all()
    inside = batch.masks[:, None].expand_as(picture)
    assert torch.equal(anomaly[inside], picture[inside])
    assert not anomaly[~inside].any()
    assert anomaly_of(torch.full((3, 2, 2), -1.0), torch.zeros(2, 2, dtype=torch.bool)).eq(0).all()


def test_mirroring_is_the_same_for_picture_mask_and_background() -> None:
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    image = np.stack([x, y, 255 - x], axis=2)
    mask = x > y
    shot = Shot("s", image, mask, "scratch", "0" * 64)
    kinds = set()
    for step in range(12):
        batch = Batches([shot], [image], 64, None, 1, 0, flip=True).make(step, 0)
        pixels = ((batch.pixels[0] + 1) * 127.5).round()
        assert batch.backgrounds is not None
        assert torch.equal(batch.backgrounds[0], batch.pixels[0])
        assert torch.equal(batch.masks[0], pixels[0] > pixels[1])
        kinds.add((bool(pixels[0, 0, 0] > pixels[0, 0, -1]), bool(pixels[1, 0, 0] > pixels[1, -1, 0])))
    assert len(kinds) == 4, "both ways, independently"
    still = Batches([shot], [image], 64, None, 1, 0, flip=False)
    assert all(torch.equal(still.make(step, 0).pixels[0], signed(image)) for step in range(6))


def test_prompts() -> None:
    assert PROMPTS == ("a vfx with sks", "sks")
    assert GLOBAL_PROMPT.split()[-1] == ANOMALY_PROMPT


def test_a_joint_model_names_the_type_in_both_prompts(random_base: Path) -> None:
    made = ias_zoo.load("dualanodiff", base=str(random_base), device="cpu", models="joint", **QUICK)
    assert made._prompts("Deep_crack") == ("a vfx with sks deep crack", "sks deep crack")


# 9. Split


def test_the_split_is_strict(mvtec: Path, write_picture: Any) -> None:
    for number in range(3, 21):
        mask = np.zeros((64, 80), np.uint8)
        mask[10:20, 30:50] = 255
        write_picture(mvtec / f"test/crack/{number:03d}.png", picture((64, 80), number))
        write_picture(mvtec / f"ground_truth/crack/{number:03d}_mask.png", mask)
    data = ias_zoo.open_data(mvtec)
    shots = load_shots(data, defects=["crack"])
    assert [Path(shot.id).stem for shot in shots.shots] == [f"{number:03d}" for number in range(7)], "floor(21 / 3)"
    from ias_zoo.data.split import few_shot_split

    held = few_shot_split(data, defects=["crack"]).held
    assert not {item.id for item in held} & set(shots.files)


# 12. Sampling


def test_pndm_is_stable_diffusions(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    solver = pndm(base, 100)
    expected = [991, 981, 981, *range(971, 0, -10)]
    assert solver.timesteps.tolist() == expected
    assert len(expected) == 101
    assert solver.config.skip_prk_steps
    assert not solver.config.set_alpha_to_one


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_sampler_finds_the_only_picture_there_is(random_base: Path, predicts: str) -> None:
    """A network that knows the clean latents: every sampler step must lead there, whatever the network tells."""
    model = dual(random_base)
    base = model.base
    base.scheduler.register_to_config(prediction_type=predicts)
    side = base.unet.config.sample_size
    clean = torch.randn(4, base.unet.config.in_channels, side, side, generator=generator(4))

    def predict(number: int, noisy: torch.Tensor, t: torch.Tensor, text: Any, background: Any, project: Any) -> Any:
        kept = base.scheduler.alphas_cumprod[t][:, None, None, None]
        noise = (noisy - kept.sqrt() * clean) / (1 - kept).sqrt()
        return noise if predicts == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * clean

    model.predict = predict  # type: ignore[method-assign,assignment]
    text = model.embed(0, list(PROMPTS)).repeat(2, 1, 1)
    made = denoise_pairs(
        model, 0, text, text[:1], [generator(0), generator(1)], steps=20, guidance=1.0
    )  # the last step ends at the first noise level, as published
    assert torch.allclose(made, clean, atol=0.2)


@torch.no_grad()
def test_guidance(random_base: Path) -> None:
    model = dual(random_base)
    seen: list[tuple[int, ...]] = []
    predict = model.predict

    def spy(number: int, latents: torch.Tensor, t: Any, text: torch.Tensor, *rest: Any, **named: Any) -> Any:
        seen.append((len(latents), len({row.sum().item() for row in text})))
        answer = torch.zeros_like(latents)
        answer[len(latents) // 2 :] = 1  # the guided half
        return answer if len(latents) == 4 else predict(number, latents, t, text, *rest, **named)

    model.predict = spy  # type: ignore[method-assign,assignment]
    text, empty = model.embed(0, list(PROMPTS)), model.embed(0, [""])
    denoise_pairs(model, 0, text, empty, [generator(0)], steps=2, guidance=1.0)
    assert seen == [(2, 2)] * 3
    seen.clear()
    steps: list[torch.Tensor] = []
    from diffusers import PNDMScheduler

    original = PNDMScheduler.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PNDMScheduler, "step", lambda self, e, *rest: (steps.append(e), original(self, e, *rest))[1])
        denoise_pairs(model, 0, text, empty, [generator(0)], steps=2, guidance=2.5)
    assert seen == [(4, 3)] * 3, "empty for both branches, then their prompts"
    assert all(torch.equal(noise, torch.full_like(noise, 2.5)) for noise in steps), "0 + 2.5 (1 - 0)"


@torch.no_grad()
def test_merged_weights_are_the_adapters(random_base: Path) -> None:
    model = dual(random_base, bcm="paper")
    for name in model.sets[0].branches:
        randomise(up_weights(model.base.unet, name), seed=len(name))
    inputs = (*rows(model), backgrounds_of(model))
    merged = Merged(model.sets[0].branches)
    assert torch.allclose(
        model.predict(0, *inputs, project=merged),
        model.predict(0, *inputs, project=ByPeft(model.sets[0].branches)),
        atol=1e-4,
    )


@torch.no_grad()
def test_pairs_in_a_batch_are_the_pairs_alone_to_the_bit(random_base: Path) -> None:
    model = dual(random_base, bcm="paper")
    merged = Merged(model.sets[0].branches)
    latents, t, text = rows(model, pairs=3)
    background = torch.cat([backgrounds_of(model), backgrounds_of(model, 3)[:1]])
    with rows_apart(model.base.device):
        together = model.predict(0, latents, t, text, background, project=merged)
        for pair in range(3):
            own = slice(2 * pair, 2 * pair + 2)
            alone = model.predict(0, latents[own], t[own], text[own], background[pair : pair + 1], project=merged)
            assert torch.equal(together[own], alone)
