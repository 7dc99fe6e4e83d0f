"""AnomalyDiffusion against its publication: embedding, what trains, losses, blending, re-weighting, samplers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from small_anomalydiffusion import method

import ias_zoo
from ias_zoo.diffusion.base import Base, generator, open_base, undisturbed
from ias_zoo.diffusion.sampling import ddim
from ias_zoo.diffusion.tokens import token_embedding
from ias_zoo.synthesizer import Request
from ias_zoo.testing.subject import disc, picture
from ias_zoo.training.lora import without_lora
from ias_zoo.training.shots import TrainingSet
from ias_zoo_anomalydiffusion.attention import Reweighting, code_weights, dilate, paper_weights, radius
from ias_zoo_anomalydiffusion.encoder import PAPER, SMALL, EqualLinear, SpatialEncoder
from ias_zoo_anomalydiffusion.options import AnomalyDiffusionOptions
from ias_zoo_anomalydiffusion.pictures import Pictures, augment, to_cells
from ias_zoo_anomalydiffusion.sampling import along_border, as_mask, blend
from ias_zoo_anomalydiffusion.stages import AnomalyStage, MaskStage, masked_loss, predict
from ias_zoo_anomalydiffusion.synthesizer import AnomalyDiffusion
from ias_zoo_anomalydiffusion.words import PLACE, TEMPLATES, Vectors, embed, insert, word_vector

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(random_base: Path) -> Base:
    return open_base(str(random_base), None, device="cpu")


def stage(base: Base, toys: TrainingSet, defects: tuple[str, ...], **options: Any) -> AnomalyStage:
    """The first training, of a model with these types."""
    start = word_vector(base, "object")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = SpatialEncoder(4, len(start), SMALL)
    rates = {"tokens": 2e-2, "encoder": 1e-3, "unet": 1e-3}
    pictures = Pictures(resolution=base.resolution, crop=None, size=2, augment=0.5, fill="reflect", seed=0)
    return AnomalyStage(
        base, toys, pictures, Vectors(defects, start, 4), encoder, rates, "any", "all", lambda step, folder: None
    )


def total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms.values())).sum()


@pytest.fixture(scope="module")
def fitted(random_base: Path, toys: TrainingSet) -> AnomalyDiffusion:
    made = method(random_base)
    made.fit(toys)
    return made


# Token insertion


def test_insertion_shifts_the_tail_and_keeps_the_length() -> None:
    vectors = torch.arange(10.0)[:, None].expand(10, 3)
    new = torch.full((4, 3), -1.0)
    made = insert(vectors, 2, new)
    assert made[:, 0].tolist() == [0, 1, -1, -1, -1, -1, 3, 4, 5, 6]
    assert insert(vectors, 8, new)[:, 0].tolist() == [*range(8), -1, -1], "cut off at the end"


def test_embedding_has_the_vectors_where_the_span_says(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "ias_zoo_anomalydiffusion.words.encode_vectors", lambda encoder, ids, vectors: seen.append(vectors) or vectors
    )
    new = torch.randn(8, 32, generator=generator(0))
    prompts = [f"a photo of a {PLACE}", f"{PLACE} with a photo"]
    text, spans = embed(base, prompts, [new, new])
    ids = base.token_ids(prompts)
    plain = token_embedding(base.text_encoder)(ids)
    assert text.shape == (2, 77, 32)
    assert spans[0][0] != spans[1][0] == 1
    for row, known, (first, last) in zip(text, plain, spans, strict=True):
        assert last - first == 8
        assert torch.equal(row[:first], known[:first])
        assert torch.equal(row[first:last], new)
        assert torch.equal(row[last:], known[first + 1 : 77 - 7])


def test_every_inserted_row_gets_a_gradient(base: Base) -> None:
    new = torch.randn(8, 32, generator=generator(0)).requires_grad_()
    text, _ = embed(base, [f"a photo of a {PLACE}"], [new])
    text.square().sum().backward()
    assert new.grad is not None
    assert (new.grad != 0).any(dim=1).all()


def test_only_the_types_of_the_batch_get_gradients(base: Base, toys: TrainingSet) -> None:
    made = stage(base, toys, ("another", "scratch"))
    total(made.loss(0, 0)).backward()
    assert made.tokens.of("another").grad is None
    gradient = made.tokens.of("scratch").grad
    assert gradient is not None
    assert (gradient != 0).any(dim=1).all()


def test_templates_name_neither_product_nor_defect() -> None:
    assert len(set(TEMPLATES)) == len(TEMPLATES) > 20
    assert all(text.split().count(PLACE) == 1 for text in TEMPLATES)
    for word in ("anomaly", "defect", "crack", "object"):
        assert not any(word in text for text in TEMPLATES)


def vectors_of(base: Base, word: str) -> torch.Tensor:
    ids = base.tokenizer(word, add_special_tokens=False)["input_ids"]
    return token_embedding(base.text_encoder)(torch.tensor(ids))


def test_start_is_the_words_vector(base: Base) -> None:
    known = vectors_of(base, "object")
    assert torch.equal(word_vector(base, "object"), known[0])
    rows = Vectors(("a", "b"), word_vector(base, "object"), 4)
    assert torch.equal(rows.of("b"), known.expand(4, -1))
    letters = vectors_of(base, "crack")
    assert len(letters) > 1
    assert torch.allclose(word_vector(base, "crack"), letters.mean(dim=0))


# What trains


def trained_names(made: AnomalyStage) -> set[str]:
    return {name for name, module in made.modules.items() if any(p.requires_grad for p in module.parameters())}


def test_the_base_stays_to_the_bit(random_base: Path, toys: TrainingSet) -> None:
    base = open_base(str(random_base), None, device="cpu")
    made = stage(base, toys, ("scratch",))
    assert trained_names(made) == {"tokens", "encoder"}
    parts = (base.unet, base.vae, base.text_encoder)
    before = [parameter.clone() for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(made.parameter_groups())
    kept = [parameter.detach().clone() for parameter in made.encoder.parameters()]
    for step in range(3):
        total(made.loss(step, 0)).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = [parameter for part in parts for parameter in part.parameters()]
    assert not any(parameter.requires_grad for parameter in after)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    moved = [not torch.equal(one, other) for one, other in zip(kept, made.encoder.parameters(), strict=True)]
    assert all(moved), "part of the spatial encoder did not train"


def test_rates_and_decay(base: Base, toys: TrainingSet) -> None:
    groups = {len(group["params"]): group for group in stage(base, toys, ("scratch",)).parameter_groups()}
    assert [group["weight_decay"] for group in groups.values()] == [0.0, 0.0]  # Adam
    options = AnomalyDiffusionOptions()
    masks = MaskStage(base, toys, None, Vectors(("scratch",), torch.zeros(32), 16), options, lambda s, f: None)  # type: ignore[arg-type]
    (group,) = masks.parameter_groups()
    assert (group["lr"], group["weight_decay"]) == (2e-2, 0.01)  # AdamW


def test_published_defaults() -> None:
    options = AnomalyDiffusionOptions()
    assert (options.tokens, options.spatial_tokens, options.mask_tokens) == (4, 4, 16)
    assert (options.lr, options.batch, options.augment) == (2e-2, 4, 0.5)
    assert (options.init_word, options.mask_init_word) == ("anomaly", "crack")
    assert (options.eta, options.mask_guidance) == (1.0, 5.0)
    assert (options.adapter, options.reweight) == ("embedding", "off")


# Masked loss


def test_masked_loss_counts_the_mask_over_all_numbers() -> None:
    told, wanted = (torch.randn(2, 4, 8, 8, generator=generator(n)) for n in (1, 2))
    cells = torch.zeros(2, 1, 8, 8)
    cells[:, :, 2:4, 3:7] = 1
    value = masked_loss(told, wanted, cells)
    other = torch.where(cells > 0, told, told + 100)
    assert torch.equal(masked_loss(other, wanted, cells), value), "what is outside counts"
    assert not torch.equal(masked_loss(told + 1, wanted, cells), value)
    assert torch.allclose(masked_loss(told, wanted, torch.ones(2, 1, 8, 8)), (told - wanted).square().mean())
    assert masked_loss(told, wanted, torch.zeros(2, 1, 8, 8)) == 0
    assert torch.equal(masked_loss(told, wanted, None), (told - wanted).square().mean())
    ones, zeros = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    assert masked_loss(ones, zeros, cells) == pytest.approx(8 / 64), "normalised by all numbers, not by the mask's"
    assert masked_loss(ones, zeros, cells, "mask") == 1  # ours: each shot alike
    cells[1] = 0
    assert masked_loss(ones, zeros, cells, "mask") == 0.5


def test_prediction_is_at_random_noise_levels_with_a_sampled_posterior(base: Base) -> None:
    pixels = torch.zeros(2, 3, 64, 64)
    context = base.embed(["", ""])
    with torch.no_grad():
        first, wanted = predict(base, pixels, context, [generator(0), generator(1)])
        again, _ = predict(base, pixels, context, [generator(0), generator(1)])
    assert torch.equal(first, again)
    assert not torch.equal(wanted[0], wanted[1])
    assert first.shape == wanted.shape == (2, 4, 8, 8)


# Spatial encoder


def test_encoder_at_the_published_size() -> None:
    with torch.device("meta"):
        encoder = SpatialEncoder(4, 1280, PAPER)
        assert sum(p.numel() for p in encoder.parameters()) == 356_019_392
        assert sum(p.numel() for p in encoder.heads.parameters()) == 4 * 81_273_600
        lateral = [encoder.lateral_1, encoder.lateral_2]
        assert sum(p.numel() for layer in lateral for p in layer.parameters()) == 197_632
        assert [len(group) for group in encoder.groups] == [3, 4, 14, 3]
        assert encoder(torch.empty(2, 256, 256)).shape == (2, 4, 1280)


def test_denoiser_at_the_published_size_has_sixteen_cross_attentions() -> None:
    blocks = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    ups = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=32, down_block_types=blocks, up_block_types=ups, cross_attention_dim=1280, attention_head_dim=8
        )
    layers = Reweighting(unet, "code")._layers
    assert len(layers) == 16
    assert all(layer.heads == 8 for layer in layers)
    assert 3.48e9 < 4 * sum(p.numel() for p in unet.parameters()) < 3.50e9  # the file: 3.49 GB


def test_encoder_tells_places_apart(base: Base) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = SpatialEncoder(3, 32, SMALL).eval()
    masks = torch.zeros(2, 64, 64)
    masks[0, 10:20, 10:20] = 1
    masks[1, 40:60, 40:60] = 1
    with torch.no_grad():
        tokens = encoder(masks)
        assert tokens.shape == (2, 3, 32)
        assert not torch.allclose(tokens[0], tokens[1], atol=1e-4)
        assert torch.allclose(encoder(masks[1:]), tokens[1:], atol=1e-5)


def test_equal_linear_scales_as_it_runs() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = EqualLinear(400, 300)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
    assert (layer.bias == 0).all()
    x = torch.randn(5, 400, generator=generator(0))
    assert torch.allclose(layer(x), x @ layer.weight.T / 20, atol=1e-5)


def test_places_are_shared_and_looks_are_not(base: Base, toys: TrainingSet) -> None:
    made = stage(base, toys, ("another", "scratch"))
    optimizer = torch.optim.AdamW(made.parameter_groups())
    start = made.tokens.of("another").detach().clone()
    for step in range(2):
        total(made.loss(step, 0)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(made.tokens.of("another"), start)
    assert not torch.equal(made.tokens.of("scratch"), start)
    # The encoder is given masks alone: there is no way for a type's name to reach it.


# Masks at the latents' size


def test_cells() -> None:
    masks = torch.zeros(3, 64, 64)
    masks[0, 8:24, 16:32] = 1  # exact cells
    masks[1, 3, 5] = 1  # a pixel
    for how in ("half", "one", "any"):
        cells = to_cells(masks, 8, how)
        assert cells.shape == (3, 1, 8, 8)
        assert cells[0].sum() == 4
        assert cells[2].sum() == 0, "an empty mask has no cell"
        assert cells[1].sum() == (0 if how == "half" else 1)
    masks[1, :, 7:9] = 1
    assert to_cells(masks, 8, "any")[1].sum() == 16  # two columns


# Blending


def test_blending(base: Base) -> None:
    latents, clean = (torch.randn(2, 4, 8, 8, generator=generator(n)) for n in (1, 2))
    t = torch.tensor(500)

    def run(cells: torch.Tensor) -> torch.Tensor:
        return blend(base, latents, clean, cells, t, [generator(7), generator(8)])

    noise = torch.stack([torch.randn(4, 8, 8, generator=generator(n)) for n in (7, 8)])
    kept = base.scheduler.alphas_cumprod[500]
    noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    assert torch.equal(run(torch.zeros(2, 1, 8, 8)), base.scheduler.add_noise(clean, noise, t))
    assert torch.allclose(run(torch.zeros(2, 1, 8, 8)), noisy, atol=1e-6)
    assert torch.equal(run(torch.ones(2, 1, 8, 8)), latents)
    half = torch.zeros(2, 1, 8, 8)
    half[:, :, :4] = 1
    assert torch.equal(run(half)[:, :, :4], latents[:, :, :4])
    assert torch.allclose(run(half)[:, :, 4:], noisy[:, :, 4:], atol=1e-6)


def test_no_noise_is_deterministic_but_for_start_and_background(fitted: AnomalyDiffusion) -> None:
    request = Request(seed=3, normal=picture((64, 64), 1), mask=disc((64, 64)), defect="scratch")
    plain = fitted.synthesize([request])[0]
    assert np.array_equal(plain.image, fitted.synthesize([request])[0].image)


# Re-weighting


def test_dilation_radius() -> None:
    assert [radius(t, 200) for t in (996, 500, 26, 24, 1)] == [8, 4, 1, 0, 0]
    assert radius(496, 50) == 9  # factor 16 where there are exactly 50 steps
    assert radius(996, 200, side=16) == 4
    one = torch.zeros(1, 1, 9, 9)
    one[0, 0, 4, 4] = 1
    assert dilate(one, 0) is one
    assert dilate(one, 2).sum() == 25
    assert dilate(one, 2)[0, 0, 2:7, 2:7].all()


def test_code_weight_map() -> None:
    clean, noisy = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    noisy[..., 2:6, 2:6] = 2.0
    assert torch.equal(code_weights(noisy, clean, mask), torch.ones(1, 8, 8)), "equal differences weigh 1"
    noisy[..., 2, 2] = 1.5
    noisy[..., 5, 5] = 3.0
    weights = code_weights(noisy, clean, mask)[0]
    assert weights.min() == 1
    assert weights.max() <= 1.5
    assert weights[2, 2] > weights[3, 3] >= weights[5, 5]
    assert (weights[mask[0, 0] == 0] == 1).all()
    # By hand: d = 2.25, 4 (14 cells), 9; |M| (1/d) / sum(1/d).
    inverse = 1 / 2.25
    assert weights[2, 2].item() == pytest.approx(min(1.5, 16 * inverse / (inverse + 14 / 4 + 1 / 9)), rel=1e-5)
    assert torch.equal(code_weights(clean, clean, mask), torch.ones(1, 8, 8)), "no difference at all: all 1"
    assert torch.equal(code_weights(noisy, clean, torch.zeros_like(mask)), torch.ones(1, 8, 8))


def test_paper_weight_map() -> None:
    normal = torch.zeros(1, 3, 64, 64)
    decoded = torch.ones(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    assert torch.allclose(paper_weights(decoded, normal, mask), torch.ones(1, 8, 8), atol=1e-6)
    decoded[..., 16:24, 16:24] = 0.7
    weights = paper_weights(decoded, normal, mask)[0]
    assert weights[2, 2] == weights.max()
    assert weights[mask[0, 0] > 0].mean().item() == pytest.approx(1, rel=1e-5)
    scores = torch.ones(16)
    scores[0] = 1 / 0.49
    assert weights[2, 2].item() == pytest.approx(16 * scores.softmax(0)[0].item(), rel=1e-4)
    assert torch.equal(paper_weights(decoded, normal, torch.zeros_like(mask)), torch.ones(1, 8, 8))


def run_with(base: Base, mode: Any, weights: torch.Tensor | None) -> torch.Tensor:
    latents = torch.randn(2, 4, 8, 8, generator=generator(0))
    text, spans = embed(base, [f"a {PLACE}", f"a photo of a {PLACE}"], [torch.randn(8, 32, generator=generator(1))] * 2)
    with torch.no_grad(), undisturbed(base.device), Reweighting(base.unet, mode) as reweighting:
        reweighting.spans, reweighting.weights = spans, weights
        told: torch.Tensor = base.unet(latents, 500, encoder_hidden_states=text).sample
    return told


@pytest.mark.parametrize("mode", ["code", "paper"])
def test_weights_of_one_change_nothing(base: Base, mode: str) -> None:
    latents = torch.randn(2, 4, 8, 8, generator=generator(0))
    text, _ = embed(base, [f"a {PLACE}", f"a photo of a {PLACE}"], [torch.randn(8, 32, generator=generator(1))] * 2)
    with torch.no_grad(), undisturbed(base.device):
        plain = base.unet(latents, 500, encoder_hidden_states=text).sample
    assert torch.equal(run_with(base, mode, None), plain), "switched off it is the plain attention to the bit"
    assert torch.allclose(run_with(base, mode, torch.ones(2, 8, 8)), plain, atol=1e-5)
    weights = torch.ones(2, 8, 8)
    weights[0, 2:5, 2:5] = 1.5
    changed = run_with(base, mode, weights)
    assert not torch.allclose(changed[0], plain[0], atol=1e-5)
    assert torch.allclose(changed[1], plain[1], atol=1e-5), "each image has its own weights"


def test_only_the_anomalys_columns_are_weighed(base: Base) -> None:
    weights = torch.rand(1, 8, 8, generator=generator(0)) + 1
    for mode, others in (("code", [0]), ("paper", [])):
        reweighting = Reweighting(base.unet, mode)  # type: ignore[arg-type]
        reweighting.spans, reweighting.weights = [(5, 13)], weights
        factors = reweighting.columns(64, 77)[0]
        touched = sorted({int(column) for column in (factors != 1).nonzero()[:, 1]})
        assert touched == [*others, *range(5, 13)], mode
        assert torch.allclose(factors[:, 5], weights.flatten())
        assert reweighting.columns(16, 77).shape == (1, 16, 77), "layers of other sizes get the map resized"


# Samplers


def test_ddim_is_the_published_one(base: Base) -> None:
    solver = ddim(base, 200)
    times = solver.timesteps.tolist()
    assert len(times) == 200
    assert (times[:2], times[-1]) == ([996, 991], 1)
    assert solver.final_alpha_cumprod == solver.alphas_cumprod[0]
    x, noise, fresh = (torch.randn(1, 4, 8, 8, generator=generator(n)) for n in range(3))
    now, before = solver.alphas_cumprod[501], solver.alphas_cumprod[496]
    sigma = ((1 - before) / (1 - now) * (1 - now / before)).sqrt()
    clean = (x - (1 - now).sqrt() * noise) / now.sqrt()
    wanted = before.sqrt() * clean + (1 - before - sigma**2).sqrt() * noise + sigma * fresh
    made = solver.step(noise, torch.tensor(501), x, eta=1.0, variance_noise=fresh).prev_sample
    assert torch.allclose(made, wanted, atol=1e-5)


def test_predictions_are_kept_within_a_limit(base: Base) -> None:
    noisy, told = 20 * torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    free, kept = (
        ddim(base, 25, limit).step(told, 481, noisy, eta=0.0).pred_original_sample.max() for limit in (None, 4.0)
    )
    assert free > 4
    assert kept == 4


def test_mask_pictures_become_masks() -> None:
    colours = torch.zeros(3, 4, 4)
    colours[:, 0, 0] = torch.tensor([1.0, 1.0, 0.5])  # mean 0.833
    colours[:, 1, 1] = torch.tensor([1.0, 1.0, 0.3])  # mean 0.767
    colours[0, 2, 2] = 3.0  # one channel alone, mean 1
    mask = as_mask(colours, 0.8)
    assert mask.dtype == np.bool_
    assert sorted(zip(*np.nonzero(mask), strict=True)) == [(0, 0), (2, 2)]


def test_border_rule_is_strictly_more_than_a_third() -> None:
    for line in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        mask = np.zeros((66, 66), bool)
        mask[line][20:42] = True  # exactly a third
        assert not along_border(mask)
        mask[line][42] = True
        assert along_border(mask)
    inside = np.zeros((66, 66), bool)
    inside[1:-1, 1:-1] = True
    assert not along_border(inside)


# Augmentation


def test_augmentation_keeps_picture_and_mask_together() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((128, 128), bool)
    mask[30:50, 60:100] = True
    image = np.repeat(mask[:, :, None] * np.uint8(200) + np.uint8(20), 3, axis=2)
    agreed, sizes = [], set()
    for _ in range(40):
        images, masks = augment([image, image], [mask, mask], 64, "reflect", rng)
        for one, where in zip(images, masks, strict=True):
            assert one.shape == (64, 64, 3)
            assert where.shape == (64, 64)
            assert where.any(), "the crop lost a mask of the batch"
            agreed.append(np.mean((one[:, :, 0] > 120) == where))
            sizes.add(int(where.sum()))
    assert np.mean(agreed) > 0.98
    assert len(sizes) > 20
    grey = [augment([image], [mask], 64, "grey", rng)[0][0] for _ in range(20)]
    assert any((picture == 128).any() for picture in grey)


def test_half_of_the_batches_are_augmented(toys: TrainingSet) -> None:
    plain = Pictures(resolution=64, crop=None, size=1, augment=0.0, fill="reflect", seed=0)
    some = Pictures(resolution=64, crop=None, size=1, augment=0.5, fill="reflect", seed=0)
    shots = toys.shots[:1]
    same = [torch.equal(plain.make(shots, n, 0).pixels, some.make(shots, n, 0).pixels) for n in range(60)]
    assert 15 <= sum(same) <= 45
    assert torch.equal(some.make(toys.shots, 5, 0).pixels, some.make(toys.shots, 5, 0).pixels)


# LoRA


def test_lora_starts_as_nothing_and_keeps_off_the_masks(random_base: Path, toys: TrainingSet, tmp_path: Path) -> None:
    made = method(random_base, adapter="lora", rank=2, lora_lr=0.1, steps=2)
    made.fit(toys, out=tmp_path / "weights")
    model = made._model
    assert model is not None
    base = model.base
    adapted = [name for name, _ in base.unet.named_parameters() if "lora_" in name]
    assert adapted
    assert all(".attn2." in name for name in adapted)
    latents, text = torch.randn(1, 4, 8, 8, generator=generator(0)), base.embed([""])
    plain = open_base(str(random_base), None, device="cpu")
    with torch.no_grad():
        changed = base.unet(latents, 5, encoder_hidden_states=text).sample
        untouched = plain.unet(latents, 5, encoder_hidden_states=text).sample
        with without_lora(base.unet):
            assert torch.allclose(base.unet(latents, 5, encoder_hidden_states=text).sample, untouched, atol=1e-6)
        assert torch.equal(base.unet(latents, 5, encoder_hidden_states=text).sample, changed)
    assert not torch.allclose(changed, untouched, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in base.unet.parameters())
    again = ias_zoo.load("anomalydiffusion", str(tmp_path / "weights"), base=str(random_base), device="cpu")
    with torch.no_grad():
        assert torch.equal(again._model.base.unet(latents, 5, encoder_hidden_states=text).sample, changed)


def test_lora_trains_beside_tokens_and_encoder_at_its_own_rate(random_base: Path, toys: TrainingSet) -> None:
    from ias_zoo.training.lora import add_lora

    base = open_base(str(random_base), None, device="cpu")
    latents, text = torch.randn(1, 4, 8, 8, generator=generator(0)), base.embed([""])
    with torch.no_grad():
        before = base.unet(latents, 5, encoder_hidden_states=text).sample
        add_lora(base.unet, 2, ["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"])
        assert torch.equal(base.unet(latents, 5, encoder_hidden_states=text).sample, before)
    made = stage(base, toys, ("scratch",))
    assert trained_names(made) == {"tokens", "encoder", "unet"}
    assert [group["lr"] for group in made.parameter_groups()] == [2e-2, 1e-3, 1e-3]
