"""The GAN toolbox: losses by hand, penalties against numeric differences, filters, augmentation, averages, layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.gan.augment import SYM6, Augment, resampled
from ias_zoo.gan.averages import HalfLife, frozen_copy, lazy_adam
from ias_zoo.gan.layers import EqualConv2d, EqualLinear, ModulatedConv2d, blur, downsample, upsample
from ias_zoo.gan.losses import (
    PathLength,
    hinge_discriminator,
    logistic_discriminator,
    logistic_generator,
    mode_seeking,
    r1,
    unit_gradient,
    wasserstein_discriminator,
    wasserstein_generator,
)
from ias_zoo.gan.stylegan2 import (
    Discriminator,
    Generator,
    MappingNetwork,
    Sizes,
    draw_noise,
    mixed_styles,
    parameter_count,
    seeded,
    spread_of_groups,
)
from ias_zoo.training.devices import generator

TINY = Sizes(resolution=16, base=64, largest=6, latent=5, mapping_layers=2)
CPU = torch.device("cpu")


def networks(dtype: torch.dtype = torch.float32) -> tuple[Generator, Discriminator]:
    """A small generator and discriminator; their noise and biases are not 0, so that each matters."""
    made = seeded(lambda: nn.ModuleList([Generator(TINY), Discriminator(TINY)]), 3)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        for name, parameter in made.named_parameters():
            if name.endswith(("strength", "bias")) and "affine" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made[0].to(dtype), made[1].to(dtype)


def test_adversarial_losses_by_hand() -> None:
    fake, real = torch.tensor([[0.5], [-2.0]]), torch.tensor([[1.0], [3.0]])

    def soft(x: float) -> float:
        return math.log(1 + math.exp(x))

    assert logistic_generator(fake).item() == pytest.approx((soft(-0.5) + soft(2.0)) / 2)
    expected = (soft(0.5) + soft(-2.0)) / 2 + (soft(-1.0) + soft(-3.0)) / 2
    assert logistic_discriminator(fake, real).item() == pytest.approx(expected)
    assert wasserstein_generator(fake).item() == pytest.approx(0.75)
    assert wasserstein_discriminator(fake, real).item() == pytest.approx(-0.75 - 2.0)
    assert hinge_discriminator(fake, real).item() == pytest.approx((1.5 + 0.0) / 2 + 0.0)
    assert hinge_discriminator(fake, -real).item() == pytest.approx(0.75 + (2.0 + 4.0) / 2)


def test_penalties_of_a_linear_critic_are_its_weights() -> None:
    weight = torch.tensor([0.3, -0.4, 1.2], dtype=torch.float64)
    critic = nn.Linear(3, 1, bias=False).double()
    critic.weight = nn.Parameter(weight[None])
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert r1(critic(x), x).item() == pytest.approx(float(weight.square().sum()))
    pair = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    a, b = pair[0], pair[1]
    assert r1(critic(a) + 2 * critic(b), (a, b)).item() == pytest.approx(5 * float(weight.square().sum()))
    shares = torch.rand(5, dtype=torch.float64)
    expected = (float(weight.norm()) - 1) ** 2
    assert unit_gradient(critic, x, x + 1, shares).item() == pytest.approx(expected)


def test_the_gradient_penalty_is_taken_at_the_mixtures() -> None:
    seen = []

    class Critic(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.detach().clone())
            return x.square().sum(dim=(1, 2, 3))

    real, fake = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    shares = torch.tensor([0.0, 0.25, 1.0])
    value = unit_gradient(Critic(), real, fake, shares)
    assert torch.allclose(seen[0][:, 0, 0, 0], shares)
    assert value.item() == pytest.approx(float((4 * shares - 1).square().mean()), abs=1e-4)  # |2 x| over 4 pixels


def numeric(parameter: torch.Tensor, value: Callable[[], torch.Tensor], places: int = 6) -> float:
    """The largest difference between a parameter's gradient and central differences, over a few of its places."""
    value_now = value()
    (gradient,) = torch.autograd.grad(value_now, parameter, retain_graph=True)
    flat, worst = parameter.detach().view(-1), 0.0
    gradient = gradient.reshape(-1)
    for place in np.linspace(0, flat.numel() - 1, places).astype(int):
        kept = float(flat[place])
        step = 1e-5
        flat[place] = kept + step
        above = value().item()
        flat[place] = kept - step
        below = value().item()
        flat[place] = kept
        worst = max(worst, abs((above - below) / (2 * step) - float(gradient[place])))
    return worst / max(1.0, float(gradient.abs().max()))


@pytest.mark.parametrize("augmented", [False, True])
def test_r1_gradient_against_numeric_differences(augmented: bool) -> None:
    _, judge = networks(torch.float64)
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64, generator=generator(0))
    augment = Augment().double()
    augment.strength.fill_(0.9)

    def penalty() -> torch.Tensor:
        leaf = images.clone().requires_grad_(True)
        seen = augment(leaf, generator(1)) if augmented else leaf
        return r1(judge(seen), leaf)

    for name in ("from_pixels.weight", "blocks.16.conv0.weight", "blocks.8.conv1.weight", "blocks.8.skip.weight"):
        assert numeric(judge.get_parameter(name), penalty) < 1e-6, name
    assert penalty().item() > 1e-6


def test_path_length_gradient_against_numeric_differences() -> None:
    network, _ = networks(torch.float64)
    z = torch.randn(3, 5, dtype=torch.float64, generator=generator(0))
    noise = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=generator(1))

    def penalty() -> torch.Tensor:
        path = PathLength().double()
        path.mean.fill_(0.3)
        # The target is a running mean, held for the gradient: a fixed one lets differences see the same function.
        path.decay = 0.0
        ws = network.mapping(z)
        return path(network.synthesis(ws), ws, noise)

    names = ["start", "convs.8.conv0.conv.kernel.weight", "convs.16.conv1.conv.affine.bias"]
    names += ["to_rgb.16.conv.kernel.weight"]
    for name in ["mapping.layers.0.weight", *(f"synthesis.{name}" for name in names)]:
        assert numeric(network.get_parameter(name), penalty) < 1e-6, name


def test_path_length_by_hand() -> None:
    """Images that are linear in their styles: the length is that of the noise's projection, and the mean follows."""
    path = PathLength(decay=0.25)
    styles = torch.randn(2, 3, 4, requires_grad=True)
    weights = torch.randn(3, 4)
    images = (styles * weights).sum(dim=(1, 2))[:, None, None, None].expand(-1, 1, 2, 2)
    noise = torch.randn(2, 1, 2, 2)
    scale = noise.sum(dim=(1, 2, 3)) / 2  # over the root of 2 x 2 pixels
    lengths = scale.abs() * weights.square().sum(dim=1).mean().sqrt()
    target = 0.25 * lengths.mean()
    assert torch.allclose(path(images, styles, noise), (lengths - target).square().mean())
    assert torch.allclose(path.mean, target)


def test_mode_seeking_by_hand() -> None:
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, -1.0]])
    one, other = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.25)
    assert mode_seeking((a, b), (one, other), 0.0).item() == pytest.approx(2.0 / 0.25)
    assert mode_seeking((a, a), (one, other)).item() == 0.0
    same = mode_seeking((a, b), (one, one), 1e-5)
    assert same.item() == pytest.approx(2e5)
    assert mode_seeking((a, b), (one, -other)).item() < mode_seeking((a, b), (one, other)).item()


def _filtered(x: np.ndarray, up: int, down: int, before: int, gain: float) -> np.ndarray:
    """Insert zeros, pad, convolve with [1, 3, 3, 1] / 8 in both directions, keep every ``down``-th: the plain way."""
    taps = np.array([1, 3, 3, 1]) / 8 * gain
    size = x.shape[0]
    spread = np.zeros((size * up, size * up))
    spread[::up, ::up] = x
    padded = np.pad(spread, ((before, before + 2), (before, before + 2)))
    rows = np.stack([np.convolve(row, taps, mode="valid") for row in padded])
    both = np.stack([np.convolve(column, taps, mode="valid") for column in rows.T]).T
    return both[::down, ::down]


def test_filters_against_the_plain_way() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    for b in range(2):
        for c in range(3):
            plain = x[b, c].numpy()
            assert np.allclose(upsample(x)[b, c].numpy(), _filtered(plain, 2, 1, 2, 2.0)[:16, :16])
            assert np.allclose(downsample(x)[b, c].numpy(), _filtered(plain, 1, 2, 1, 1.0)[:4, :4])
            assert np.allclose(blur(x, 2)[b, c].numpy(), _filtered(plain, 1, 1, 2, 1.0)[:9, :9])


def test_modulated_convolution_is_that_of_scaled_kernels() -> None:
    """Against one kernel a sample, modulated and demodulated as the paper writes it."""
    layer = ModulatedConv2d(4, 6, 5, 3).double()
    x, w = torch.randn(3, 4, 8, 8, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    style = layer.affine(w)
    for sample in range(3):
        kernel = layer.kernel.weight * layer.gain * style[sample][None, :, None, None]
        kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = F.conv2d(x[sample : sample + 1], kernel, padding=1)
        assert torch.allclose(layer(x, w)[sample : sample + 1], expected)


def test_upsampling_convolution_is_filter_after_zeros() -> None:
    layer = ModulatedConv2d(2, 3, 4, 3, up=True, demodulate=False).double()
    with torch.no_grad():
        layer.affine.weight.zero_()
    x, w = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64)
    spread = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    spread[:, :, ::2, ::2] = x
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 4
    smooth = (taps[:, None] * taps)[None, None].expand(2, 1, 4, 4)
    smoothed = F.conv2d(F.pad(spread, (6, 6, 6, 6)), smooth, groups=2)
    kernel = (layer.kernel.weight * layer.gain).flip(2, 3)  # a transposed convolution's kernel, the other way round
    expected = F.conv2d(smoothed, kernel)
    made = layer(x, w)
    assert made.shape == (1, 3, 8, 8)
    offset = (expected.shape[-1] - 8) // 2
    assert torch.allclose(made, expected[:, :, offset : offset + 8, offset : offset + 8]) or torch.allclose(
        made, expected[:, :, offset + 1 : offset + 9, offset + 1 : offset + 9]
    )


def test_equalised_layers_keep_the_spread() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 64)
    assert EqualLinear(64, 200)(x).std().item() == pytest.approx(1, rel=0.1)
    assert EqualConv2d(8, 50, 3)(torch.randn(20, 8, 16, 16))[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, rel=0.1)
    slow = EqualLinear(64, 200, rate=0.01)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.1)
    assert slow(x).std().item() == pytest.approx(1, rel=0.1)


def test_parameter_counts_at_the_published_sizes() -> None:
    with torch.device("meta"):
        network, judge = Generator(Sizes()), Discriminator(Sizes())
        small = Discriminator(Sizes(base=4096, largest=128), channels=4)
    assert parameter_count(network) == 23_191_522
    assert parameter_count(network.mapping) == 525_312
    assert parameter_count(judge) == 24_001_089
    assert parameter_count(small) == 1_502_113
    assert Sizes().styles == 14


def test_the_generator_compiles_whole() -> None:
    network, _ = networks()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    z = torch.randn(2, 5)
    assert torch.equal(compiled(z), network(z))


def test_minibatch_spread() -> None:
    x = torch.randn(8, 3, 4, 4)
    channel = spread_of_groups(x, 4)
    assert channel.shape == (8, 1, 4, 4)
    group = x[1::2]  # samples n, n + B / g, ...
    expected = (group.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    assert torch.allclose(channel[1], expected.expand(1, 4, 4))
    assert torch.allclose(channel[7], expected.expand(1, 4, 4))
    assert spread_of_groups(x[:6], 4).shape == (6, 1, 4, 4)
    assert torch.allclose(spread_of_groups(x[:1], 4), torch.full((1, 1, 4, 4), 1e-4))


def test_style_mixing() -> None:
    mapping = MappingNetwork(5, 2, 8)
    never = mixed_styles(mapping, 50, 5, 0.0, generator(0), CPU)
    assert torch.equal(never, never[:, :1].expand_as(never))
    always = mixed_styles(mapping, 400, 5, 1.0, generator(0), CPU)
    changes = (always[:, 1:] != always[:, :-1]).any(dim=2)
    assert bool((changes.sum(dim=1) == 1).all())
    assert set(changes.float().argmax(dim=1).tolist()) == set(range(7))
    some = mixed_styles(mapping, 2000, 5, 0.9, generator(1), CPU)
    assert (some[:, 0] != some[:, -1]).any(dim=1).float().mean().item() == pytest.approx(0.9, abs=0.03)


def test_noise_inputs() -> None:
    network, _ = networks()
    z = torch.randn(2, 5)
    assert torch.equal(network(z), network(z))
    one, same, other = (draw_noise(TINY, 2, generator(seed), CPU) for seed in (0, 0, 1))
    assert torch.equal(network(z, one), network(z, same))
    assert not torch.equal(network(z, one), network(z, other))
    assert len(one) == sum(convs.count for convs in network.synthesis.convs.values())


# Averages and Adam


def test_half_life() -> None:
    network = nn.Linear(2, 2)
    average = frozen_copy(network)
    assert not list(average.parameters())
    start = average.weight.clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    for number in range(50):
        HalfLife(1000).update(average, network, 20, number * 20)
    assert torch.allclose(average.weight, start + 0.5, atol=1e-4)
    ramped = HalfLife(1000, ramp=0.05)
    assert ramped.decay(20, 0) == 0.0
    assert ramped.decay(20, 2000) == pytest.approx(0.5 ** (20 / 100))
    assert ramped.decay(20, 10**6) == pytest.approx(0.5 ** (20 / 1000))


def test_a_frozen_copy_computes_the_same_and_is_apart() -> None:
    network, _ = networks()
    copied = frozen_copy(network)
    z = torch.randn(2, 5)
    assert torch.equal(copied(z), network(z))
    assert set(copied.state_dict()) == set(network.state_dict())
    with torch.no_grad():
        network.synthesis.start.add_(1)
    assert not torch.equal(copied(z), network(z))


def test_lazy_adam() -> None:
    optimizer = lazy_adam([nn.Parameter(torch.zeros(1))], 0.0025, (0.0, 0.99), 16)
    group = optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.0025 * 16 / 17)
    assert group["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    assert lazy_adam([nn.Parameter(torch.zeros(1))], 0.1, (0.5, 0.9), None).param_groups[0]["betas"] == (0.5, 0.9)


# Augmentation


def test_the_wavelet_is_orthogonal_to_its_even_shifts() -> None:
    taps = np.array(SYM6)
    assert taps.sum() == pytest.approx(math.sqrt(2), abs=1e-9)
    for shift in range(0, 12, 2):
        product = float((taps[shift:] * taps[: 12 - shift]).sum())
        assert product == pytest.approx(1.0 if shift == 0 else 0.0, abs=1e-9)


def _smooth(size: int = 32) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    return torch.stack([torch.sin(2 * x), torch.cos(3 * y), x * y])[None].double()


def test_resampling_moves_pictures_as_told() -> None:
    x = _smooth()
    inner = np.s_[:, :, 8:-8, 8:-8]
    unit = torch.eye(3, dtype=torch.float64)[None]
    assert torch.allclose(resampled(x, unit)[inner], x[inner], atol=1e-9)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))[None]
    assert torch.allclose(resampled(x, flip)[inner], x.flip(3)[inner], atol=1e-2)
    shift = unit.clone()
    shift[0, 0, 2] = 3 * 2 / 32
    assert torch.allclose(resampled(x, shift)[inner], x.roll(-3, dims=3)[inner], atol=1e-6)
    quarter = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    turned = resampled(x, quarter)[inner]
    assert min((turned - torch.rot90(x, k, (2, 3))[inner]).abs().max() for k in (1, 3)) < 1e-2


def test_interpolation_is_that_of_grid_sample() -> None:
    from ias_zoo.gan.augment import _bilinear

    x = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    places = torch.rand(2, 20, 30, 2, dtype=torch.float64) * 6 - 3
    expected = F.grid_sample(x, places, mode="bilinear", padding_mode="reflection", align_corners=False)
    assert torch.allclose(_bilinear(x, places), expected)


def test_how_often_each_operation_is_applied() -> None:
    augment = Augment("bgc")
    p = 0.4
    inverse, moved = Augment("b", turns=False).draw_geometry(20000, 64, p, generator(0))
    assert (inverse[:, 0, 0] < 0).float().mean().item() == pytest.approx(p / 2, abs=0.015)
    shifts = inverse[:, :2, 2].abs().max()
    assert shifts.item() <= 2 * 0.125 + 1e-6
    assert ((inverse[:, 0, 2] * 32).round() - inverse[:, 0, 2] * 32).abs().max().item() < 1e-4
    inverse, _ = Augment("b").draw_geometry(20000, 64, p, generator(0))
    turned = (inverse[:, 0, 0].abs() < 0.5).float().mean().item()  # quarter turns 1 and 3 of four
    assert turned == pytest.approx(p / 2, abs=0.015)
    inverse, moved = Augment("g").draw_geometry(20000, 64, 1.0, generator(0))
    assert bool(moved.all())
    area = torch.linalg.det(inverse[:, :2, :2])  # only the isotropic scale changes it
    assert (-area.log2() / 2).std().item() == pytest.approx(0.2, abs=0.01)
    assert inverse[:, 0, 2].abs().mean().item() > 0
    matrix = augment.draw_colour(20000, 0.0, generator(0))
    assert torch.allclose(matrix, torch.eye(4).expand_as(matrix))
    matrix = augment.draw_colour(20000, 1.0, generator(0))
    grey = matrix[:, :3, :3] @ torch.ones(3)
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-4)  # grey stays grey
    assert (grey[:, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.015)  # luma flips
    assert grey[:, 0].abs().log2().std().item() == pytest.approx(0.5, abs=0.02)  # contrast


def test_nothing_is_changed_at_strength_0_or_where_nothing_was_drawn() -> None:
    x = torch.rand(64, 3, 16, 16)
    augment = Augment()
    assert augment(x, generator(0)) is x
    few = Augment("g")
    few.strength.fill_(0.02)
    _, moved = few.draw_geometry(64, 16, 0.02, generator(4))
    assert 0 < int(moved.sum()) < 20
    made = few(x, generator(4))
    assert torch.equal(made[~moved], x[~moved])
    assert not torch.equal(made[moved], x[moved])


def test_the_strength_follows_the_sign_of_real_logits() -> None:
    augment = Augment()
    augment.observe(torch.tensor([3.0, 1.0, 2.0, 5.0]))
    assert augment.adjust(target=0.6, images=64, span=1000.0) == 1.0
    assert augment.strength.item() == pytest.approx(0.064)
    augment.observe(torch.tensor([3.0, -1.0, 2.0, -5.0]))
    assert augment.adjust(target=0.6, images=32, span=1000.0) == 0.0
    assert augment.strength.item() == pytest.approx(0.032)
    for _ in range(3):
        augment.observe(-torch.ones(4))
        augment.adjust(target=0.6, images=64, span=1000.0)
    assert augment.strength.item() == 0.0
    for _ in range(30):
        augment.observe(torch.ones(4))
        augment.adjust(target=0.6, images=64, span=1000.0)
    assert augment.strength.item() == pytest.approx(1.92), "published: no limit"
    augment.observe(torch.ones(4))
    augment.adjust(target=0.6, images=64, span=1000.0, most=0.5)
    assert augment.strength.item() == 0.5
