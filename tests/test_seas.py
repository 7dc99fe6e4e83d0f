"""SeaS against its publication: tokens, what trains, attention maps, losses, mask head, start noise, sampling."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ias_zoo
from ias_zoo.diffusion.base import generator, open_base
from ias_zoo.diffusion.sampling import dpm_solver
from ias_zoo.diffusion.taps import AttentionTap, FeatureTap
from ias_zoo.diffusion.tokens import NewRows, add_words
from ias_zoo.errors import OptionError, RequestError, WeightsError
from ias_zoo.generation.requests import Normals
from ias_zoo.testing.subject import toy_set
from ias_zoo.training.shots import TrainingSet, centre_square
from ias_zoo_seas.losses import alignment, focal, mask_pyramid, min_max, token_maps
from ias_zoo_seas.mask_head import MaskHead
from ias_zoo_seas.options import SeaSOptions
from ias_zoo_seas.stages import (
    UNET_FEATURES,
    VAE_FEATURES,
    Batches,
    GeneratorStage,
    MaskStage,
    attention_layers,
    previous_latents,
)
from ias_zoo_seas.synthesizer import SeaS, start_alpha

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {"steps": 1, "mask_steps": 1, "sampling_steps": 4, "rank": 2, "mask_channels": (16, 16)}


def seas(random_base: Path, **options: Any) -> SeaS:
    return ias_zoo.load("seas", base=str(random_base), device="cpu", **(QUICK | options))


def ready(random_base: Path, **options: Any) -> tuple[SeaS, Any]:
    """A SeaS with tokens for two types and a denoiser that is ready to train."""
    made = seas(random_base, **options)
    base = made._open(made.setup.base, "float32")
    made._add_tokens(base, ("hole", "scratch"))
    made._prepare_unet(base)
    return made, base


def batches(toys: TrainingSet, made: SeaS, base: Any, **options: Any) -> Batches:
    prompts = {"scratch": made.prompt("scratch", ("hole", "scratch"))}
    chosen = SeaSOptions(**(QUICK | options))
    return Batches(toys, chosen, base.resolution, None, prompts, "a ob1", seed=0)


# 1. Tokens


def test_prompt_is_start_a_ob_with_four_words_end(random_base: Path) -> None:
    made, base = ready(random_base)
    assert made.prompt("scratch", ("hole", "scratch")) == "a ob1 with sks5 sks6 sks7 sks8"
    ids = base.token_ids([made.prompt("scratch", ("hole", "scratch"))])[0].tolist()
    words = base.tokenizer.convert_ids_to_tokens(ids)
    start, end = base.tokenizer.bos_token, base.tokenizer.eos_token
    assert words[:9] == [start, "a</w>", "ob1", "with</w>", "sks5", "sks6", "sks7", "sks8", end]
    assert len(ids) == 77


def test_new_words_start_as_their_known_word_and_match_whole(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    old = base.text_encoder.get_input_embeddings().weight.clone()
    known = base.tokenizer("defect", add_special_tokens=False)["input_ids"]
    assert len(known) == 1
    words = {f"sks{number}": "defect" for number in range(1, 13)}
    new = add_words(base.tokenizer, base.text_encoder, words)
    assert all(torch.equal(row, old[known[0]]) for row in new.rows)
    ids = base.token_ids(["sks1 sks10 sks12 sks2"])[0][1:5].tolist()
    assert ids == [len(old), len(old) + 9, len(old) + 11, len(old) + 1]
    assert torch.equal(new(torch.tensor([5, len(old) + 3])), torch.stack([old[5], new.rows[3].detach()]))


def test_a_word_of_several_tokens_cannot_be_a_start(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    with pytest.raises(OptionError, match="'scratched' is 9 tokens"):
        add_words(base.tokenizer, base.text_encoder, {"new": "scratched"})


# 2. What trains


@pytest.mark.parametrize("train_unet", ["lora", "full"])
def test_trainable_set(random_base: Path, train_unet: str) -> None:
    _, base = ready(random_base, train_unet=train_unet, train_tokens="all" if train_unet == "full" else "new")
    trains = [name for name, parameter in base.unet.named_parameters() if parameter.requires_grad]
    if train_unet == "full":
        assert len(trains) == len(list(base.unet.parameters()))
    else:
        assert trains
        assert all("lora_" in name for name in trains)
        for layer in ("down_blocks.1", "down_blocks.2"):
            assert any(name.startswith(layer) and "attn2.to_q" in name for name in trains), layer
            assert any(name.startswith(layer) and "attn2.to_k" in name for name in trains), layer
    assert not any(parameter.requires_grad for parameter in base.vae.parameters())
    text = [name for name, parameter in base.text_encoder.named_parameters() if parameter.requires_grad]
    assert len(text) == 1
    assert "token_embedding" in text[0]


def test_old_rows_stay_to_the_bit(random_base: Path, toys: TrainingSet) -> None:
    made, base = ready(random_base, token_lr=0.1)
    before = made._tokens.old.weight.clone()
    stage = GeneratorStage(base, batches(toys, made, base), made.options, made._tokens, (1e-3, 0.1))
    optimizer = torch.optim.AdamW(stage.parameter_groups())
    rows = made._tokens.rows.detach().clone()
    sum(stage.loss(0, 0).values()).backward()
    optimizer.step()
    assert torch.equal(made._tokens.old.weight, before)
    moved = (made._tokens.rows != rows).any(dim=1).tolist()
    assert moved[0], "the product's word did not train"
    assert all(moved[5:]), "the defect's words did not train"


# 3. Attention maps


def test_captured_maps(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    layers = attention_layers("encoder")
    assert [len(names) for names in layers] == [2, 2]
    latents, text = torch.randn(2, 4, 8, 8, generator=generator(0)), base.embed(["a photo", "object"])
    with torch.no_grad():
        plain = base.unet(latents, 10, encoder_hidden_states=text).sample
        with AttentionTap(base.unet, [name for names in layers for name in names]) as tap:
            tapped = base.unet(latents, 10, encoder_hidden_states=text).sample
            maps = tap.maps
        after = base.unet(latents, 10, encoder_hidden_states=text).sample
    assert torch.allclose(plain, tapped, atol=1e-5)
    assert torch.equal(plain, after), "the tap was not taken off"
    assert [layer.shape[2:] for layer in maps] == [(16, 77), (16, 77), (4, 77), (4, 77)]
    for layer in maps:
        assert torch.allclose(layer.sum(dim=-1), torch.ones(()), atol=1e-5)


# 4. Alignment loss


def made_maps(defect: torch.Tensor, product: torch.Tensor) -> list[torch.Tensor]:
    """Attention of one layer and head whose token means are the given B x r x r maps."""
    maps = torch.zeros(len(defect), 1, defect[0].numel(), 77)
    maps[:, 0, :, 4:8] = defect.flatten(1)[..., None]
    maps[:, 0, :, 2] = product.flatten(1)
    return [maps]


def half_masks() -> torch.Tensor:
    target = torch.zeros(2, 4, 4)
    target[:, :2] = 1
    return target


def test_token_means_are_over_layers_heads_and_words() -> None:
    maps = torch.rand(2, 3, 16, 77, generator=generator(0))
    defect, product = token_maps([maps, 2 * maps])
    assert torch.allclose(defect.flatten(1), 1.5 * maps[:, :, :, 4:8].mean(dim=(1, 3)))
    assert torch.allclose(product.flatten(1), 1.5 * maps[:, :, :, 2].mean(dim=1))


def test_alignment_against_hand_computed_values() -> None:
    target = half_masks()
    lower = 1 - target  # 0 on the defect
    assert alignment(made_maps(target, lower), target) == 0
    assert alignment(made_maps(1 - target, lower), target) == 1
    assert alignment(made_maps(target, target), target) == 1
    assert alignment(made_maps(1 - target, target), target) == 2
    for scale, shift in ((3.0, 0.2), (0.01, -5.0)):
        maps = made_maps(scale * target + shift, scale * lower + shift)
        assert alignment(maps, target) == pytest.approx(0, abs=1e-9)


def test_alignment_stays_a_number() -> None:
    empty, flat = torch.zeros(2, 4, 4), torch.full((2, 4, 4), 0.3)
    for target in (empty, half_masks()):
        value = alignment(made_maps(flat, flat), target)
        assert torch.isfinite(value)
    small = torch.full((2, 4, 4), 0.25)  # a defect of a few pixels never fills a cell
    assert torch.isfinite(alignment(made_maps(flat, flat), small, cells="full"))
    assert alignment(made_maps(half_masks(), half_masks()), small, cells="any") > alignment(
        made_maps(half_masks(), half_masks()), small, cells="full"
    )


def test_min_max_over_batch_or_image() -> None:
    values = torch.tensor([[[0.0, 1.0]], [[2.0, 4.0]]])
    assert torch.equal(min_max(values, "batch"), values / 4)
    assert torch.equal(min_max(values, "image"), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]))


# 5. and 6. Gradients and the sum of the losses


def test_gradient_of_alignment_alone(random_base: Path, toys: TrainingSet) -> None:
    made, base = ready(random_base, train_unet="full")
    stage = GeneratorStage(base, batches(toys, made, base), made.options, made._tokens, (1e-3, 1e-3))
    terms = stage.loss(0, 0)
    sum(value for name, value in terms.items() if name.startswith("alignment")).backward()
    size = {name: 0.0 if p.grad is None else float(p.grad.abs().max()) for name, p in base.unet.named_parameters()}
    last = "down_blocks.2.attentions.1"
    silent = ["mid_block", "up_blocks", "conv_out", "conv_norm_out", "down_blocks.3", "down_blocks.2.downsamplers"]
    silent += [f"{last}.transformer_blocks.0.{part}" for part in ("attn2.to_v", "attn2.to_out", "ff", "norm3")]
    silent += [f"{last}.proj_out"]
    for prefix in silent:
        found = [value for name, value in size.items() if name.startswith(prefix)]
        assert found, prefix
        assert max(found) == 0, f"{prefix} gets a gradient"
    for prefix in ("conv_in", "time_embedding", "down_blocks.0", "down_blocks.1"):
        assert max(value for name, value in size.items() if name.startswith(prefix)) > 0, prefix
    for part in ("attn2.to_q", "attn2.to_k"):
        assert size[f"{last}.transformer_blocks.0.{part}.weight"] > 0, part


def test_terms_are_two_means_and_two_resolutions(random_base: Path, toys: TrainingSet) -> None:
    made, base = ready(random_base)
    drawn = batches(toys, made, base)
    stage = GeneratorStage(base, drawn, made.options, made._tokens, (1e-3, 1e-3))
    with torch.no_grad():
        terms = stage.loss(3, 1)
    assert list(terms) == ["shots", "normals", "alignment 4", "alignment 2"]
    batch = drawn.make(3, 1)
    with torch.no_grad():
        latents = base.encode(batch.pixels, batch.generators)
        noise = torch.stack([torch.randn(latents.shape[1:], generator=g) for g in batch.generators])
        t = torch.cat([torch.randint(1000, (1,), generator=g) for g in batch.generators])
        noisy = base.scheduler.add_noise(latents, noise, t)
        error = (base.unet(noisy, t, encoder_hidden_states=base.embed(batch.prompts)).sample - noise).square()
    assert torch.allclose(terms["shots"], error[:2].mean(), rtol=1e-4)
    assert torch.allclose(terms["normals"], error[2:].mean(), rtol=1e-4)


# 7. and 12. Masks and batches


def test_mask_pyramid() -> None:
    ones = mask_pyramid(torch.ones(1, 64, 64), 8)
    assert [level.shape for level in ones] == [(1, 4, 4), (1, 2, 2)]
    assert all((level == 1).all() for level in ones)
    half, quarter = mask_pyramid(torch.rand(2, 64, 64, generator=generator(0)), 8)
    assert torch.equal(quarter, nn.functional.max_pool2d(half[:, None], 2)[:, 0])


@pytest.mark.parametrize(("kind", "expected"), [("full", [False, False, True]), ("half", [False, True, True])])
def test_mask_target(random_base: Path, kind: str, expected: list[bool]) -> None:
    options = SeaSOptions(**QUICK, mask_target=kind)  # type: ignore[arg-type]
    stage = MaskStage(None, None, options, None)  # type: ignore[arg-type]
    target = stage._target(torch.tensor([[[0.5, 0.999, 1.0]]]))
    assert target.tolist() == [[expected], [[False] * 3]]


def test_batches_hold_shots_first_and_one_augmentation_a_pair(random_base: Path, toys: TrainingSet) -> None:
    made, base = ready(random_base)
    same = TrainingSet(toys.shots, Normals([shot.image for shot in toys.shots]), toys.defects)
    drawn = batches(same, made, base, partner="fixed")
    for step in range(6):
        batch = drawn.make(step, 0)
        assert len(batch.pixels) == 4
        assert len(batch.masks) == 2
        assert batch.prompts == ["a ob1 with sks5 sks6 sks7 sks8"] * 2 + ["a ob1"] * 2
        # each shot's partner is the shot itself here: one augmentation gives equal pixels
        assert torch.equal(batch.pixels[:2], batch.pixels[2:])
        dark = batch.pixels[:2].mean(dim=1) < -0.7  # the toys' defects are dark
        agree = (dark == (batch.masks > 0.5)).float().mean()
        assert agree > 0.97, "the mask was turned another way than its shot"
    assert torch.equal(drawn.make(2, 1).pixels, drawn.make(2, 1).pixels)
    assert not torch.equal(drawn.make(2, 1).pixels, drawn.make(2, 0).pixels)


# 8. Focal loss


def test_focal_against_published_values() -> None:
    target = torch.rand(1, 8, 8, generator=generator(0)) > 0.5
    right = torch.stack([~target, target], dim=1).double()
    assert focal(torch.full((1, 2, 8, 8), 0.5).double(), target) == pytest.approx(0.173275, abs=2e-5)
    assert focal(right, target) == pytest.approx(0, abs=1e-4)
    assert focal(1 - right, target) == pytest.approx(10.819, abs=1e-2)


# 9. Mask head


def test_mask_head_at_published_size() -> None:
    with torch.device("meta"):
        head = MaskHead((1280, 640), (512, 512, 256))
    dead = 3 * (192 * 192 * 9 + 2 * 192)  # the published module's convolutions that nothing calls
    assert sum(parameter.numel() for parameter in head.parameters()) == 5_451_778
    assert 5_451_778 + dead == 6_448_258


def test_mask_head_shapes_and_gradient(random_base: Path, toys: TrainingSet) -> None:
    made, base = ready(random_base)
    base.unet.requires_grad_(False)
    head = made._new_head(base)
    stage = MaskStage(base, batches(toys, made, base), made.options, head)
    terms = stage.loss(0, 0)
    assert list(terms) == ["mask 64", "mask 8"]
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert all(parameter.grad is None for parameter in base.unet.parameters())
    low, high = torch.randn(4, 64, 4, 4), torch.randn(4, 32, 8, 8)
    vae = [torch.randn(2, 16, side, side) for side in (16, 32, 64)]
    fine, coarse = head([low, high], vae)
    assert (fine.shape, coarse.shape) == ((4, 2, 64, 64), (4, 2, 8, 8))
    assert torch.allclose(fine.sum(dim=1), torch.ones(()), atol=1e-5)
    assert head.eval().predict([low[:2], high[:2]], vae).shape == (2, 64, 64)


def test_feature_taps_find_the_published_places(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    with torch.no_grad(), FeatureTap(base.unet, UNET_FEATURES) as unet, FeatureTap(base.vae, VAE_FEATURES) as vae:
        base.unet(torch.zeros(1, 4, 8, 8), 1, encoder_hidden_states=base.embed(["a"]))
        base.decode(torch.zeros(1, 4, 8, 8))
    assert [tuple(feature.shape[1:]) for feature in unet.features] == [(64, 4, 4), (32, 8, 8)]
    assert [feature.shape[-1] for feature in vae.features] == [16, 32, 64]


def test_ddpm_step_equals_the_schedulers(random_base: Path) -> None:
    scheduler = open_base(str(random_base), None, device="cpu").scheduler
    predicted, noisy = (torch.randn(3, 4, 8, 8, generator=generator(n)) for n in (1, 2))
    t = torch.tensor([999, 500, 0])
    fresh = torch.stack([torch.randn(4, 8, 8, generator=generator(10 + n)) for n in range(3)])
    ours = previous_latents(scheduler, predicted, t, noisy, fresh)
    for n in range(3):
        step = scheduler.step(predicted[n], int(t[n]), noisy[n], generator=generator(10 + n))
        assert torch.allclose(ours[n], step.prev_sample, atol=1e-4), int(t[n])


# 10. Start noise


def test_start_noise() -> None:
    alpha = start_alpha(1500)
    assert math.sqrt(alpha) == pytest.approx(0.017841, abs=1e-6)
    assert 1 - alpha == pytest.approx(0.99968, abs=1e-5)
    assert math.sqrt(start_alpha(1000)) == pytest.approx(0.0683, abs=1e-4)
    assert start_alpha(0) == 1


def test_the_start_holds_as_much_of_the_normal_as_published(random_base: Path, toys: TrainingSet) -> None:
    """With 0.0979 of the denoiser's own latents, as at Stable Diffusion's scale, whatever the base's scaling factor."""
    made, base = ready(random_base)
    base.vae.register_to_config(scaling_factor=1.0)
    normal, rng = toys.shots[0].image, np.random.default_rng
    start = made._first_latents(base, normal, rng(0), [generator(3)])
    pixels = torch.from_numpy(centre_square(normal, 64, None, rng(0)).transpose(2, 0, 1).copy())[None]
    draws = [generator(3)]
    with torch.no_grad():
        latents = base.encode(pixels.float() / 127.5 - 1, draws)
    noise = torch.randn(1, 4, 8, 8, generator=draws[0])
    assert torch.allclose(start, 0.097948 * latents + 0.999841 * noise, atol=1e-5)
    assert torch.equal(
        made._first_latents(base, None, rng(0), [generator(3)]), torch.randn(1, 4, 8, 8, generator=generator(3))
    )


# 11. and 13. Sampling


def test_sampler_visits_the_published_timesteps(random_base: Path) -> None:
    base = open_base(str(random_base), None, device="cpu")
    times = dpm_solver(base, 25).timesteps.tolist()
    assert times[:2] == [999, 959]
    assert times[-4:] == [160, 120, 80, 40]
    assert len(times) == 25


@pytest.fixture(scope="module")
def fitted(random_base: Path, toys: TrainingSet) -> SeaS:
    made = seas(random_base, sampling_steps=5, mask_threshold=0.2)  # the published one
    made.fit(toys)
    return made


def test_masks_are_the_mean_of_the_last_three_steps(fitted: SeaS, toys: TrainingSet) -> None:
    seen: list[torch.Tensor] = []
    kept = SeaS._predict

    def watched(self: SeaS, *features: Any) -> torch.Tensor:
        seen.append(kept(self, *features))
        return seen[-1]

    SeaS._predict = watched  # type: ignore[method-assign]
    try:
        (sample,) = fitted.generate(1, [toys.shots[0].image, toys.shots[1].image], defect="scratch", seed=4)
    finally:
        SeaS._predict = kept  # type: ignore[method-assign]
    last = torch.stack(seen[-3:]).mean(dim=0)[0].numpy()
    assert len(seen) % 3 == 0
    assert np.array_equal(sample.label_map, last)
    assert np.array_equal(sample.mask, last > 0.2)
    object.__setattr__(fitted.options, "mask_threshold", None)  # small bases: ours
    try:
        (again,) = fitted.generate(1, [toys.shots[0].image, toys.shots[1].image], defect="scratch", seed=4)
    finally:
        object.__setattr__(fitted.options, "mask_threshold", 0.2)
    assert np.array_equal(again.mask, last > 0.5)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_guidance_one_still_gives_masks(fitted: SeaS, toys: TrainingSet, guidance: float) -> None:
    object.__setattr__(fitted.options, "guidance", guidance)
    normals = [toys.shots[0].image, toys.shots[1].image]
    one, again, other = (fitted.generate(1, normals, defect="scratch", seed=seed)[0] for seed in (1, 1, 2))
    assert one.image.shape == (64, 64, 3)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.label_map, again.label_map)
    assert not np.array_equal(one.image, other.image)


def test_the_prompt_changes_the_picture(random_base: Path, tmp_path: Path) -> None:
    data = toy_set(tmp_path)
    for kind in ("defect", "masks"):
        source, target = tmp_path / kind / "scratch", tmp_path / kind / "hole"
        target.mkdir()
        for path in source.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    made = seas(random_base, steps=3, token_lr=0.05)
    made.fit(ias_zoo.open_data(data.root), count=2)
    images = [made.generate(1, data, defect=defect, seed=1)[0].image for defect in ("hole", "scratch")]
    assert not np.array_equal(*images)


def test_batch_statistics_leave_no_trace(fitted: SeaS, toys: TrainingSet) -> None:
    normals = [toys.shots[0].image, toys.shots[1].image]
    object.__setattr__(fitted.options, "guidance", 3.0)
    before = fitted.generate(1, normals, defect="scratch", seed=1)[0].label_map
    object.__setattr__(fitted.options, "batch_norm", "batch")
    joint = fitted.generate(1, normals, defect="scratch", seed=1)[0].label_map
    object.__setattr__(fitted.options, "batch_norm", "eval")
    after = fitted.generate(1, normals, defect="scratch", seed=1)[0].label_map
    assert np.array_equal(before, after)
    assert not np.array_equal(before, joint)


def test_adapter_loads_in_plain_peft(fitted: SeaS, random_base: Path, tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    folder = fitted.save_pretrained(tmp_path / "weights")
    plain = UNet2DConditionModel.from_pretrained(random_base / "unet")
    loaded = PeftModel.from_pretrained(plain, folder / "unet_lora").eval()
    base = fitted._base
    assert base is not None
    latents, text = torch.randn(1, 4, 8, 8, generator=generator(0)), base.embed(["a ob1"])
    with torch.no_grad():
        ours = base.unet(latents, 7, encoder_hidden_states=text).sample
        theirs = loaded(latents, 7, encoder_hidden_states=text).sample
    assert torch.equal(ours, theirs)
    assert isinstance(fitted._tokens, NewRows)


# Options of ours


def test_weights_and_options_must_agree(fitted: SeaS, random_base: Path, tmp_path: Path) -> None:
    folder = fitted.save_pretrained(tmp_path / "weights")
    loaded = ias_zoo.load("seas", str(folder), base=str(random_base), device="cpu", guidance=2.0)
    assert loaded.options.rank == QUICK["rank"]
    assert loaded.options.guidance == 2.0
    with pytest.raises(OptionError, match="rank=8: these weights were trained with 2; leave it out"):
        ias_zoo.load("seas", str(folder), base=str(random_base), device="cpu", rank=8)


def test_weights_for_another_architecture_are_refused(fitted: SeaS, wider_base: Path, tmp_path: Path) -> None:
    folder = fitted.save_pretrained(tmp_path / "weights")
    with pytest.raises(WeightsError, match="the weights do not fit base"):
        ias_zoo.load("seas", str(folder), base=str(wider_base), device="cpu")


@pytest.mark.parametrize(
    "options",
    [{"mixed_precision": "bf16"}, {"gradient_checkpointing": True}, {"ema": 0.9}, {"channels_last": True}],
    ids=lambda options: next(iter(options)),
)
def test_it_trains_with(random_base: Path, toys: TrainingSet, options: dict[str, Any]) -> None:
    made = seas(random_base, sampling_steps=3, **options)
    report = made.fit(toys)
    assert all(math.isfinite(value) for stage in report.stages for value in stage.last().values())
    (sample,) = made.generate(1, [toys.shots[0].image, toys.shots[1].image], defect="scratch", seed=1)
    assert sample.image.std() > 0


def test_offloaded_weights_sample_the_same_and_do_not_train(
    fitted: SeaS, random_base: Path, toys: TrainingSet, tmp_path: Path
) -> None:
    folder = fitted.save_pretrained(tmp_path / "weights")
    normals = [toys.shots[0].image, toys.shots[1].image]
    pictures = []
    for offload in (False, True):
        made = ias_zoo.load("seas", str(folder), base=str(random_base), device="cpu", sampling_steps=3, offload=offload)
        pictures.append(made.generate(1, normals, defect="scratch", seed=1)[0].image)
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 1
    with pytest.raises(OptionError, match="offload=true is for sampling"):
        seas(random_base, offload=True).fit(toys)


def test_previews_do_not_change_the_training(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    weights = []
    for every in (0, 1):
        made = seas(random_base, steps=2, mask_steps=2, sampling_steps=3)
        seen: list[list[str]] = []

        def look(*_: Any, seen: list[list[str]] = seen) -> None:
            seen.append(sorted(path.name for path in tmp_path.rglob("preview*")))

        made.fit(toys, out=tmp_path / f"weights{every}", preview_every=every, step=look)
        assert any(seen[-1]) == bool(every)
        assert made._head is not None
        weights.append(torch.cat([value.flatten() for value in made._head.state_dict().values()]))
    assert torch.equal(*weights)


def test_a_card_without_samples_does_not_cost_the_weights(
    random_base: Path, toys: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SeaS, requests: Any) -> Any:
        raise RequestError("not today")

    monkeypatch.setattr(SeaS, "synthesize", fail)
    with pytest.warns(UserWarning, match="card has no samples: not today"):
        seas(random_base).fit(toys, out=tmp_path / "weights")
    assert "samples.png" not in (tmp_path / "weights/README.md").read_text(encoding="utf-8")
    assert ias_zoo.load("seas", str(tmp_path / "weights"), base=str(random_base), device="cpu").defects == ("scratch",)
