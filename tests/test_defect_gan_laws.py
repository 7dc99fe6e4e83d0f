"""Defect-GAN's networks and losses against its publication, on tiny networks."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.gan.losses import unit_gradient
from ias_zoo_defect_gan import losses
from ias_zoo_defect_gan.base import for_defects, new_networks
from ias_zoo_defect_gan.networks import (
    Architecture,
    Discriminator,
    Generator,
    Judged,
    Layer,
    Noise,
    Spade,
    noise_shapes,
)
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.stages import Batch, Objective, draw_noise

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Architecture(("crack", "hole"), size=32, width=4, hidden=6, discriminator_width=4, discriminator_layers=5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=seeded(seed)) * 2 - 1


def planes(count: int, size: int = 32, seed: int = 5) -> list[torch.Tensor]:
    return draw_noise([seeded(seed + number) for number in range(count)], size, size)


def networks(architecture: Architecture = SMALL, seed: int = 1) -> tuple[Generator, Discriminator]:
    made = new_networks(architecture, seed)
    return made.generator, made.discriminator


# Shapes and sizes


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 24), (128, 128)])
def test_generator_gives_a_layer_and_the_picture_stays_within_its_parts(height: int, width: int) -> None:
    generator, _ = networks()
    picture = torch.rand(2, 3, height, width, generator=seeded()) * 2 - 1
    noise = draw_noise([seeded(1), seeded(2)], height, width)
    layer = generator(picture, SMALL.deface(torch.eye(2)), noise)
    assert layer.foreground.shape == (2, 3, height, width)
    assert layer.where.shape == (2, 1, height, width)
    assert float(layer.foreground.detach().abs().max()) <= 1
    assert bool(((layer.where >= 0) & (layer.where <= 1)).all())
    out = layer.over(picture)
    low, high = torch.minimum(picture, layer.foreground), torch.maximum(picture, layer.foreground)
    assert bool(((out >= low - 1e-6) & (out <= high + 1e-6)).all())
    assert generator.encoder(picture).shape[2:] == (height // 4, width // 4)


def test_composition_at_the_ends_of_the_map() -> None:
    picture, foreground = pictures(2), pictures(2, seed=1)
    assert torch.equal(Layer(foreground, torch.zeros(2, 1, 32, 32)).over(picture), picture)
    assert torch.equal(Layer(foreground, torch.ones(2, 1, 32, 32)).over(picture), foreground)


def conv(inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> int:
    return inputs * outputs * kernel**2 + bias * outputs


def test_parameter_counts_at_the_published_size() -> None:
    """Added up by hand from the table of layers: 5 categories, 128 pixels, 64 channels, SPADE over 128."""
    architecture = Architecture(tuple("abcde"))
    encoder = conv(3, 64, 7, bias=False) + conv(64, 128, 4, bias=False) + conv(128, 256, 4, bias=False)
    encoder += 2 * (64 + 128 + 256)  # scale and shift of the instance norms
    encoder += 3 * 2 * (conv(256, 256, 3, bias=False) + 2 * 256)

    def spade(channels: int) -> int:
        return conv(5, 128, 3) + 2 * conv(128, channels, 3)

    def block(inputs: int, outputs: int) -> int:
        middle = min(inputs, outputs)
        inner = spade(inputs) + conv(inputs, middle, 3) + middle + spade(middle) + conv(middle, outputs, 3) + outputs
        return inner + (spade(inputs) + conv(inputs, outputs, 1, bias=False) if inputs != outputs else 0)

    decoder = 3 * block(256, 256) + block(256, 128) + block(128, 64)
    heads = conv(64, 3, 7) + conv(64, 1, 7)
    assert sum(p.numel() for p in Generator(architecture).parameters()) == encoder + decoder + heads
    trunk = sum(
        conv(a, b, 4) for a, b in zip((3, 64, 128, 256, 512, 1024), (64, 128, 256, 512, 1024, 2048), strict=True)
    )
    ends = conv(2048, 1, 3, bias=False) + conv(2048, 5, 2, bias=False)
    # 44,762,048 is also what StarGAN's discriminator has with 5 classes at 128 pixels
    assert sum(p.numel() for p in Discriminator(architecture).parameters()) == trunk + ends == 44_762_048


@pytest.mark.parametrize(("size", "side"), [(128, 2), (64, 1)])
def test_discriminator_heads(size: int, side: int) -> None:
    architecture = Architecture(tuple("abcde"), size=size, discriminator_width=2)
    discriminator = Discriminator(architecture)
    judged = discriminator(pictures(2, size))
    assert judged.scores.shape == (2, 1, side, side)
    assert judged.logits.shape == (2, 5)
    kinds = {type(module) for module in discriminator.modules()}
    assert kinds == {Discriminator, nn.Sequential, nn.Conv2d, nn.LeakyReLU}
    assert all(module.negative_slope == 0.01 for module in discriminator.modules() if isinstance(module, nn.LeakyReLU))


def test_a_size_that_the_discriminator_cannot_halve_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 for 6 discriminator layers"):
        Architecture(("crack",), size=32)


# Control


def test_spade_is_instance_norm_modulated_by_two_convolutions_of_the_control() -> None:
    spade = Spade(3, 2, 5)
    x, control = torch.randn(1, 3, 12, 12, generator=seeded()), torch.rand(1, 2, 12, 12, generator=seeded(1))
    shared = F.relu(F.conv2d(control, spade.shared.weight, spade.shared.bias, padding=1))
    gamma = F.conv2d(shared, spade.gamma.weight, spade.gamma.bias, padding=1)
    beta = F.conv2d(shared, spade.beta.weight, spade.beta.bias, padding=1)
    mean, spread = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
    torch.testing.assert_close(spade(x, control), (1 + gamma) * (x - mean) / (spread + 1e-5).sqrt() + beta)


@pytest.mark.parametrize("side", [3, 5, 6, 16])
def test_a_label_everywhere_equals_the_map_that_repeats_it(side: int) -> None:
    spade = Spade(4, 2, 5)
    label = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    repeated = label[:, :, None, None].expand(-1, -1, side, side)
    for short, long in zip(
        spade.modulation(label, (side, side)), spade.modulation(repeated, (side, side)), strict=True
    ):
        torch.testing.assert_close(short, long)


def test_a_constant_control_modulates_evenly_away_from_the_border_and_zero_by_the_biases_alone() -> None:
    spade = Spade(4, 2, 5)
    gamma, _ = spade.modulation(torch.ones(1, 2, 12, 12), (12, 12))
    inner = gamma[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(inner, inner[:, :, :1, :1].expand_as(inner))
    assert float((gamma[:, :, 0] - inner[:, :, :1, 0]).detach().abs().max()) > 1e-4  # the padding shows
    with torch.no_grad():
        none, shift = spade.modulation(torch.zeros(1, 2), (12, 12))
    shared = F.relu(spade.shared.bias)
    torch.testing.assert_close(none[0, :, 6, 6], spade.gamma.weight.sum((2, 3)) @ shared + spade.gamma.bias)
    torch.testing.assert_close(shift[0, :, 6, 6], spade.beta.weight.sum((2, 3)) @ shared + spade.beta.bias)


def test_the_control_steers_the_decoder_alone() -> None:
    generator, _ = networks()
    picture, noise = pictures(1), planes(1)
    seen: list[torch.Tensor] = []
    generator.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    outputs = [generator(picture, SMALL.deface(torch.eye(2)[[kind]]), noise) for kind in (0, 1)]
    assert torch.equal(seen[0], seen[1])
    assert float((outputs[0].foreground - outputs[1].foreground).detach().abs().max()) > 1e-4


def test_a_control_of_the_right_half_leaves_the_modulation_far_left_as_it_was() -> None:
    generator, _ = networks()
    left, both = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    both[..., 16:] = 1
    controls = [SMALL.deface(torch.tensor([[1.0, 0.0]]), where) for where in (left, both)]
    for module in generator.modules():
        if isinstance(module, Spade):
            for side in (8, 16, 32):
                gammas = [module.modulation(control, (side, side))[0] for control in controls]
                reach = side // 2 - 2  # two 3 x 3 convolutions reach two places
                assert torch.equal(gammas[0][..., :reach], gammas[1][..., :reach])
                assert not torch.equal(gammas[0][..., reach:], gammas[1][..., reach:])


def test_controls_of_both_processes() -> None:
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert torch.equal(SMALL.deface(labels), labels)
    assert torch.equal(SMALL.restore(labels), -labels)
    where = torch.zeros(2, 1, 4, 4)
    where[:, :, 1] = 1
    placed = SMALL.deface(labels, where)
    assert placed.shape == (2, 2, 4, 4)
    assert placed[0, :, 1, 2].tolist() == [1, 0]
    assert placed[0, :, 2, 2].tolist() == [0, 0]
    channel = dataclasses.replace(SMALL, restore_control="normal_channel")
    assert channel.channels == 3
    assert torch.equal(channel.deface(labels), torch.tensor([[1.0, 0, 0], [1, 1, 0]]))
    assert torch.equal(channel.restore(labels), torch.tensor([[0.0, 0, 1], [0, 0, 1]]))


# Noise


def test_noise_is_one_plane_a_sample_scaled_by_channel_and_off_at_first() -> None:
    noise = Noise(3)
    x, plane = torch.zeros(2, 3, 4, 4), torch.randn(2, 1, 4, 4, generator=seeded())
    assert torch.equal(noise(x, plane), x)
    with torch.no_grad():
        noise.scale.copy_(torch.tensor([0.0, 1.0, -2.0]))
    assert torch.equal(noise(x, plane), torch.cat([0 * plane, plane, -2 * plane], dim=1))


def test_noise_works_in_eval_mode_and_a_sample_does_not_depend_on_its_batch_mates() -> None:
    generator, _ = networks()
    generator.eval().requires_grad_(False)
    picture, control = pictures(1), SMALL.deface(torch.eye(2)[[0]])
    same = [generator(picture, control, planes(1, seed=seed)).where for seed in (1, 2)]
    assert torch.equal(same[0], same[1])  # scales are 0
    for module in generator.modules():
        if isinstance(module, Noise):
            nn.init.constant_(module.scale, 0.5)
    first, second = (generator(picture, control, planes(1, seed=seed)) for seed in (1, 2))
    assert float((first.where - second.where).abs().max()) > 1e-5
    pair = generator(picture.repeat(2, 1, 1, 1), control.repeat(2, 1), planes(2, seed=1))
    torch.testing.assert_close(pair.foreground[:1], first.foreground, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pair.foreground[1:], second.foreground, rtol=1e-4, atol=1e-5)
    assert [tuple(plane.shape[1:]) for plane in planes(1)] == noise_shapes(32, 32)


# Losses against numbers worked out by hand


def test_losses_by_hand() -> None:
    assert float(losses.reconstruction(torch.tensor([0.0, 1.0]), torch.tensor([0.5, -1.0]))) == pytest.approx(1.25)
    assert float(losses.map_cycle(torch.tensor([0.25, 1.0]), torch.tensor([0.25, 0.5]))) == pytest.approx(0.25)
    maps = [torch.full((1, 1, 2, 2), value) for value in (0.1, 0.2, 0.3, 0.4)]
    assert float(losses.map_size(maps)) == pytest.approx(1.0)
    target = losses.map_target(torch.tensor([[[[0.8, 0.4]]]]), torch.tensor([[[[1.0, 0.0]]]]))
    assert float(target) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)


def test_class_losses_by_hand() -> None:
    logits, labels = torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])

    def softplus(value: float) -> float:
        return math.log1p(math.exp(value))

    by_category = (softplus(-2) + softplus(-1) + softplus(0) + softplus(3)) / 2
    assert float(losses.classification(SMALL, logits, labels)) == pytest.approx(by_category)
    single = dataclasses.replace(SMALL, classes="single")
    three = torch.tensor([[2.0, -1.0, 0.0], [0.0, 3.0, 1.0]])
    total = [math.log(sum(math.exp(value) for value in row)) for row in three.tolist()]
    wanted = ((total[0] - 2) + (total[1] - 1)) / 2  # the second is a normal: the last class
    assert float(losses.classification(single, three, labels)) == pytest.approx(wanted)


def test_gradient_penalty_by_hand() -> None:
    """A linear critic with weights of norm r has slope r everywhere: the penalty is (r - 1)^2."""
    real, fake, mix = pictures(3), pictures(3, seed=1), torch.rand(3, generator=seeded())
    weight = torch.randn(3, 32, 32, generator=seeded(2))
    weight = weight / weight.norm()

    def scores(picture: torch.Tensor) -> torch.Tensor:  # two patches whose derivatives add up
        return torch.stack([(picture * weight).sum((1, 2, 3)) * share for share in (0.25, 0.75)])

    assert float(unit_gradient(scores, real, fake, mix)) == pytest.approx(0, abs=1e-10)
    assert float(unit_gradient(lambda p: 3 * scores(p), real, fake, mix)) == pytest.approx(4, rel=1e-5)


def test_gradient_penalty_is_taken_between_the_pair() -> None:
    seen = []

    def scores(picture: torch.Tensor) -> torch.Tensor:
        seen.append(picture.detach())
        return picture.sum((1, 2, 3))

    unit_gradient(scores, torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.tensor([0.25, 1.0]))
    assert seen[0][0].unique().tolist() == [0.25]
    assert seen[0][1].unique().tolist() == [1.0]


def test_gradient_penalty_against_numeric_differences() -> None:
    """Its derivative by the discriminator's weights, in float64."""
    _, discriminator = networks(dataclasses.replace(SMALL, discriminator_width=2))
    discriminator.double()
    real, fake = pictures(2).double(), pictures(2, seed=1).double()
    mix = torch.rand(2, generator=seeded()).double()
    weight = discriminator.trunk[2].weight

    def penalty() -> torch.Tensor:
        return unit_gradient(lambda p: discriminator(p).scores, real, fake, mix)

    (slope,) = torch.autograd.grad(penalty(), weight)
    for place in ((0, 0, 1, 1), (3, 1, 2, 0), (2, 1, 0, 3)):
        found = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += change
            found.append(float(penalty().detach()))
            with torch.no_grad():
                weight[place] -= change
        assert float(slope[place]) == pytest.approx((found[0] - found[1]) / 2e-5, rel=1e-4, abs=1e-9)


# Both objectives


class FixedDiscriminator(nn.Module):
    """Scores and logits that are known functions of a picture's mean."""

    def forward(self, picture: torch.Tensor) -> Judged:
        mean = picture.mean((1, 2, 3))
        return Judged(mean[:, None, None, None], torch.stack([mean, -mean], dim=1))


def batch(spatial: bool = False, seed: int = 3) -> Batch:
    masks = torch.zeros(2, 1, 32, 32)
    masks[:, :, 8:16, 8:20] = 1
    generators = [seeded(seed), seeded(seed + 1)]
    return Batch(pictures(2, seed=8), pictures(2, seed=9), torch.eye(2), masks, spatial, generators)


def objective(masks: bool = False, **options: Any) -> tuple[Objective, Generator, Discriminator]:
    generator, discriminator = networks()
    made = Objective(SMALL, generator, discriminator, DefectGANOptions(**options), masks=masks)
    return made, generator, discriminator


def test_published_weights() -> None:
    options = DefectGANOptions()
    assert (options.class_real, options.class_fake, options.reconstruction, options.map_cycle, options.map_size) == (
        2, 5, 5, 5, 1,
    )  # fmt: skip
    assert (options.penalty, options.batch, options.lr_end, options.size) == (10, 4, 1e-6, 128)


@pytest.mark.parametrize("spatial", [False, True])
def test_generator_objective_is_the_weighted_sum_of_its_terms(spatial: bool) -> None:
    made, _, _ = objective(masks=True)
    made.discriminator = FixedDiscriminator()
    given = batch(spatial)
    terms = made.generator_terms(given)
    chains = made.chains(batch(spatial))  # the same generators' state: the same noise
    first, second, third, fourth = chains.maps
    nothing = torch.zeros(2, 2)
    judged = [made.discriminator(picture) for picture in (chains.defaced, chains.restored)]
    wanted = {
        "adversarial": -judged[0].scores.mean() - judged[1].scores.mean(),
        "class_fake": 5 * (losses.classification(SMALL, judged[0].logits, given.labels)
                           + losses.classification(SMALL, judged[1].logits, nothing)),
        "reconstruction": 5 * ((given.normals - chains.cleaned).abs().mean()
                               + (given.defects - chains.repainted).abs().mean()),
        "map_cycle": 5 * ((first - second).abs().mean() + (third - fourth).abs().mean()),
        "map_size": 1 * (first.mean() + second.mean() + third.mean() + fourth.mean()),
        "map_target": 5 * sum(
            F.binary_cross_entropy(where, given.masks) for where in [third, fourth, first][: 3 if spatial else 2]
        ),
    }  # fmt: skip
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    made.masks = False
    assert "map_target" not in made.generator_terms(batch())


def test_discriminator_objective_is_the_weighted_sum_of_its_terms() -> None:
    made, _, discriminator = objective()
    given = batch()
    terms = made.discriminator_terms(given)
    again = batch()
    with torch.no_grad():
        defaced, restored = made.fakes(again)
    mixes = [again.shares(), again.shares()]
    pairs = ((given.defects, defaced), (given.normals, restored))
    wanted = {
        "critic": sum(discriminator(fake).scores.mean() - discriminator(real).scores.mean() for real, fake in pairs),
        "class_real": 2 * (losses.classification(SMALL, discriminator(given.defects).logits, given.labels)
                           + losses.classification(SMALL, discriminator(given.normals).logits, torch.zeros(2, 2))),
        "penalty": 10 * sum(
            unit_gradient(lambda p: discriminator(p).scores, real, fake, mix)
            for (real, fake), mix in zip(pairs, mixes, strict=True)
        ),
    }  # fmt: skip
    assert terms.keys() == wanted.keys()  # no class loss on what was made
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, msg=name)


def test_the_discriminators_step_leaves_the_generator_without_gradients() -> None:
    made, generator, discriminator = objective()
    sum(made.discriminator_terms(batch()).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_chains_start_and_end_where_the_paper_says() -> None:
    """With nothing painted both chains give back what they began with, and reconstruction is 0."""
    made, generator, _ = objective()
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []
    generator.register_forward_pre_hook(lambda module, inputs: asked.append((inputs[0], inputs[1])))
    with torch.no_grad():
        generator.where.weight.zero_()
        generator.where.bias.fill_(-200)
        given = batch()
        chains = made.chains(given)
    for picture, wanted in (
        (chains.defaced, given.normals), (chains.cleaned, given.normals),
        (chains.restored, given.defects), (chains.repainted, given.defects),
    ):  # fmt: skip
        assert torch.equal(picture, wanted)
    labels = given.labels
    for (picture, control), (wanted, sign) in zip(
        asked, ((given.normals, 1), (given.normals, -1), (given.defects, -1), (given.defects, 1)), strict=True
    ):
        assert torch.equal(picture, wanted)
        assert torch.equal(control, sign * labels)


def test_which_heads_the_losses_reach() -> None:
    made, generator, _ = objective()
    chains = made.chains(batch())
    losses.map_size(chains.maps[:1]).backward(retain_graph=True)
    assert generator.foreground.weight.grad is None or not generator.foreground.weight.grad.any()
    assert generator.where.weight.grad is not None
    assert generator.where.weight.grad.any()
    assert generator.decoder[0].conv1.weight.grad.any()
    generator.zero_grad()
    losses.reconstruction(batch().normals, chains.cleaned).backward()
    assert generator.foreground.weight.grad.any()
    assert generator.where.weight.grad.any()


# From a base to a new product


def test_new_types_start_from_the_bases_categories() -> None:
    base = new_networks(Architecture(("crack", "hole", "stain"), size=32, width=4, hidden=6, discriminator_width=4,
                                     discriminator_layers=5), 3)  # fmt: skip
    made = for_defects(base, ("big blowhole", "crack", "melt"))
    assert made.architecture.categories == ("big blowhole", "crack", "melt")
    old, new = base.generator.decoder[0].spade1.shared.weight, made.generator.decoder[0].spade1.shared.weight
    assert torch.equal(new[:, 0], old[:, 1])
    assert torch.equal(new[:, 1], old[:, 0])
    torch.testing.assert_close(new[:, 2], old.mean(dim=1))
    assert torch.equal(made.discriminator.classes.weight[0], base.discriminator.classes.weight[1])
    picture, noise = pictures(1), planes(1)
    before = base.generator(picture, torch.tensor([[1.0, 0, 0]]), noise)
    after = made.generator(picture, torch.tensor([[0.0, 1, 0]]), noise)
    assert torch.equal(before.where, after.where)


def test_the_generator_compiles_without_a_graph_break() -> None:
    generator, _ = networks()
    picture, noise = pictures(1), planes(1)
    compiled = torch.compile(generator, backend="eager", fullgraph=True)
    for control in (torch.tensor([[1.0, 0.0]]), torch.rand(1, 2, 32, 32, generator=seeded())):
        with torch.no_grad():
            torch.testing.assert_close(
                compiled(picture, control, noise).where, generator(picture, control, noise).where
            )
