"""What DFMGAN costs against a plain StyleGAN2 of the same sizes, in one run: ratios, each the median of paired turns.

    python benchmarks/dfmgan.py [--resolution 64] [--channels 1024] [--largest 128] [--latent 128] [--batch 8]

The plain StyleGAN2 is written below the usual way: a kernel a sample, modulated and demodulated, in grouped
convolutions; filters as depthwise convolutions. It does what a step has to: G through D, D on generated and real
pictures, every fourth step path length, every sixteenth R1. Ours are whole steps of the trainer's stages: reading and
cropping normals, augmentation, Adam, the moving average and all.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from ias_zoo.gan.stylegan2 import Discriminator, Generator, Sizes, parameter_count, seeded
from ias_zoo.testing.subject import toy_set
from ias_zoo.training.shots import load_shots
from ias_zoo_dfmgan.networks import Branch, DefectGenerator
from ias_zoo_dfmgan.options import DFMGANOptions
from ias_zoo_dfmgan.stages import BaseStage, FewShotStage, Plan

SPAN = 16  # steps after which all intervals have come round


def fir(
    x: torch.Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (2, 1), gain: float = 1.0
) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = (taps[:, None] * taps * gain).expand(x.shape[1], 1, 4, 4)
    if up > 1:
        wide = x.new_zeros(*x.shape[:2], x.shape[2], up, x.shape[3], up)
        wide[:, :, :, 0, :, 0] = x
        x = wide.reshape(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=x.shape[1], stride=down)


class PlainLinear(nn.Module):
    """Equalised layer."""

    def __init__(self, inputs: int, outputs: int, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.full((outputs,), start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        return F.linear(x, self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class PlainModulated(nn.Module):
    """A kernel a sample, in a grouped convolution."""

    def __init__(
        self, inputs: int, outputs: int, latent: int, size: int, *, up: bool = False, demod: bool = True
    ) -> None:
        super().__init__()
        self.affine, self.up, self.demod = PlainLinear(latent, inputs, 1.0), up, demod
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        batch, inputs, height, width = x.shape
        outputs, size = self.weight.shape[0], self.weight.shape[2]
        kernel = self.weight[None] / math.sqrt(inputs * size * size) * self.affine(w)[:, None, :, None, None]
        if self.demod:
            kernel = kernel * (kernel.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, batch * inputs, height, width)
        if self.up:
            kernel = kernel.transpose(1, 2).reshape(batch * inputs, outputs, size, size)
            x = F.conv_transpose2d(x, kernel, stride=2, groups=batch)
            return fir(x.reshape(batch, outputs, *x.shape[2:]), pad=(1, 1), gain=4)
        kernel = kernel.reshape(batch * outputs, inputs, size, size)
        return F.conv2d(x, kernel, padding=size // 2, groups=batch).reshape(batch, outputs, height, width)


class PlainConv(PlainModulated):
    """With noise, bias and activation."""

    def __init__(self, inputs: int, outputs: int, latent: int, *, up: bool) -> None:
        super().__init__(inputs, outputs, latent, 3, up=up)
        self.strength = nn.Parameter(torch.zeros([]))

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        y = super().forward(x, w)
        y = y + self.strength * torch.randn(len(y), 1, *y.shape[2:]) + self.bias[:, None, None]
        return (F.leaky_relu(y, 0.2) * math.sqrt(2)).clamp(-256, 256)


class PlainGenerator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        latent, channels = sizes.latent, sizes.channels
        self.mapping = nn.ModuleList(PlainLinear(latent, latent) for _ in range(sizes.mapping_layers))
        self.start = nn.Parameter(torch.randn(channels(4), 4, 4))
        self.first = PlainConv(channels(4), channels(4), latent, up=False)
        later = sizes.resolutions[1:]
        self.conv0 = nn.ModuleList(PlainConv(channels(r // 2), channels(r), latent, up=True) for r in later)
        self.conv1 = nn.ModuleList(PlainConv(channels(r), channels(r), latent, up=False) for r in later)
        self.rgb = nn.ModuleList(PlainModulated(channels(r), 3, latent, 1, demod=False) for r in sizes.resolutions)

    def styles(self, z: torch.Tensor) -> torch.Tensor:
        """The mapping."""
        w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), 0.2) * math.sqrt(2)
        return w

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        x = self.first(self.start.expand(len(w), -1, -1, -1), w)
        image = self.rgb[0](x, w) + self.rgb[0].bias[:, None, None]
        for conv0, conv1, rgb in zip(self.conv0, self.conv1, self.rgb[1:], strict=True):
            x = conv1(conv0(x, w), w)
            image = fir(image, up=2, pad=(2, 1), gain=4) + rgb(x, w) + rgb.bias[:, None, None]
        return image


class PlainDiscriminator(nn.Module):
    """The residual discriminator."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = sizes.channels
        self.kernels = nn.ParameterDict({"rgb": torch.randn(channels(sizes.resolution), 3, 1, 1)})
        self.biases = nn.ParameterDict({"rgb": torch.zeros(channels(sizes.resolution))})
        self.down = list(reversed(sizes.resolutions[1:]))
        for r in self.down:
            inputs, outputs = channels(r), channels(r // 2)
            shapes = {"0": (inputs, inputs, 3), "1": (outputs, inputs, 3), "skip": (outputs, inputs, 1)}
            for part, (out, into, size) in shapes.items():
                self.kernels[f"{r}_{part}"] = torch.randn(out, into, size, size)
                self.biases[f"{r}_{part}"] = torch.zeros(out)
        last = channels(4)
        self.kernels["last"], self.biases["last"] = torch.randn(last, last + 1, 3, 3), torch.zeros(last)
        self.full, self.out = PlainLinear(16 * last, last), PlainLinear(last, 1)

    def conv(self, x: torch.Tensor, name: str, *, act: bool = True, stride: int = 1, pad: int = 0) -> torch.Tensor:
        """One of its convolutions."""
        kernel = self.kernels[name]
        y = F.conv2d(x, kernel / math.sqrt(kernel[0].numel()), stride=stride, padding=pad)
        if not act:
            return y
        return (F.leaky_relu(y + self.biases[name][:, None, None], 0.2) * math.sqrt(2)).clamp(-256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute it."""
        x = self.conv(x, "rgb")
        for r in self.down:
            skip = self.conv(fir(x, down=2, pad=(1, 1)), f"{r}_skip", act=False)
            x = self.conv(x, f"{r}_0", pad=1)
            x = self.conv(fir(x, pad=(2, 2)), f"{r}_1", stride=2)
            x = (x + skip) * math.sqrt(0.5)
        groups = x.reshape(min(4, len(x)), -1, *x.shape[1:])
        spread = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat(len(groups))
        x = torch.cat([x, spread[:, None, None, None].expand(-1, 1, 4, 4)], dim=1)
        x = self.conv(x, "last", pad=1).flatten(1)
        return self.out(F.leaky_relu(self.full(x), 0.2) * math.sqrt(2))


class Plain:
    """What a StyleGAN2 step computes, and nothing else."""

    def __init__(self, sizes: Sizes, batch: int) -> None:
        torch.manual_seed(0)
        self.sizes, self.batch = sizes, batch
        self.network, self.judge = PlainGenerator(sizes), PlainDiscriminator(sizes)
        self.real = torch.randn(batch, 3, sizes.resolution, sizes.resolution)

    def styles(self, batch: int) -> torch.Tensor:
        """The mapping."""
        return self.network.styles(torch.randn(batch, self.sizes.latent))

    def step(self, number: int) -> None:
        """One step."""
        self.judge.requires_grad_(False)
        F.softplus(-self.judge(self.network(self.styles(self.batch)))).mean().backward()
        if number % 4 == 0:
            w = self.styles(self.batch // 2)
            images = self.network(w)
            (slope,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), w, create_graph=True)
            slope.square().sum(dim=1).sqrt().sub(1).square().mean().backward()
        self.judge.requires_grad_(True)
        with torch.no_grad():
            fake = self.network(self.styles(self.batch))
        (F.softplus(self.judge(fake)).mean() + F.softplus(-self.judge(self.real)).mean()).backward()
        if number % 16 == 0:
            leaf = self.real.clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.judge(leaf).sum(), leaf, create_graph=True)
            slope.square().flatten(1).sum(dim=1).mean().backward()
        for parameter in (*self.network.parameters(), *self.judge.parameters()):
            parameter.grad = None


def turns(task: BaseStage | FewShotStage) -> Callable[[int], None]:
    """Whole steps of a stage as the trainer takes them."""
    optimizers = task.optimizers()
    owned = {name: [p for g in o.param_groups for p in g["params"]] for name, o in optimizers.items()}

    def step(number: int) -> None:
        """One step."""
        for phase in task.phases(number):
            for name, parameters in owned.items():
                for parameter in parameters:
                    parameter.requires_grad_(name == phase.optimizer)
            torch.stack(list(phase.loss(number, 0).values())).sum().backward()
            optimizers[phase.optimizer].step()
            optimizers[phase.optimizer].zero_grad(set_to_none=True)
        task.after_step(number)

    return step


def compare(ours: Callable[[int], object], theirs: Callable[[int], object], count: int, span: int) -> tuple[float, ...]:
    """Seconds of ours and theirs, and the median ratio, over alternating runs of ``span`` calls."""
    ours(1), theirs(1)
    pairs = []
    for _ in range(count):
        seconds = []
        for call in (ours, theirs):
            started = time.process_time()
            for number in range(span):
                call(number)
            seconds.append((time.process_time() - started) / span)
        pairs.append(seconds)
    middle = [statistics.median(values) for values in zip(*pairs, strict=True)]
    return (*middle, statistics.median(one / other for one, other in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in {"resolution": 64, "channels": 1024, "largest": 128, "latent": 128, "batch": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--count", type=int, default=5, help="paired turns; training turns are 16 steps each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(args.resolution, args.channels, args.largest, args.latent)
    batch = args.batch
    plain = Plain(sizes, batch)
    network, judge = seeded(lambda: Generator(sizes), 0), seeded(lambda: Discriminator(sizes), 0)
    assert parameter_count(network) == sum(p.numel() for p in plain.network.parameters())
    z = torch.randn(batch, sizes.latent)

    @torch.no_grad()
    def theirs(number: int) -> torch.Tensor:
        return plain.network(plain.network.styles(z))

    @torch.no_grad()
    def ours(number: int) -> torch.Tensor:
        return network(z)

    branch = seeded(lambda: Branch(sizes, sizes.resolution // 4), 0)
    whole = DefectGenerator(network, branch)

    @torch.no_grad()
    def defects(number: int) -> object:
        return whole(network.mapping(z), branch.mapping(z))

    print(f"{sizes.resolution} px, channels {sizes.base} / {sizes.largest}, batch {batch}, one thread, CPU seconds")
    mine, other, ratio = compare(ours, theirs, args.count, 10)
    print(f"generator: {batch / mine:.0f} images/s, plain {batch / other:.0f}; {ratio:.3f} of its cost")
    mine, other, ratio = compare(defects, theirs, args.count, 10)
    print(f"generator with defect branch: {batch / mine:.0f} images/s; {ratio:.3f} of the plain one's cost")

    options = DFMGANOptions(
        resolution=sizes.resolution, channels=sizes.base, largest=sizes.largest, latent=sizes.latent, batch=batch
    )
    plan = Plan(batch, 1.0, 0.1, 0.2, 0.1, None)
    with tempfile.TemporaryDirectory() as scratch:
        data = load_shots(toy_set(Path(scratch)), shots=2)
        for strength in (0.0, 0.3):
            base = BaseStage("base", data, options, plan, None, 0, network, judge, torch.device("cpu"))
            base.augment.strength.fill_(strength)
            base.adjust_augmentation = lambda step: None  # type: ignore[method-assign]
            mine, other, ratio = compare(turns(base), plain.step, args.count, SPAN)
            rates = f"{1 / mine:.2f} steps/s, plain {1 / other:.2f}"
            print(f"base stage, augmentation {strength}: {rates}; {ratio:.3f} of its cost")
        quarter = dataclasses.replace(sizes, base=sizes.base // 4, largest=sizes.largest // 4)
        few = FewShotStage(
            "few", data, options, plan, None, 0, network.requires_grad_(False), branch, judge.requires_grad_(True),
            seeded(lambda: Discriminator(quarter, 4), 1), torch.device("cpu"),
        )  # fmt: skip
        mine, other, ratio = compare(turns(few), plain.step, args.count, SPAN)
        print(f"few-shot stage: {1 / mine:.2f} steps/s; {ratio:.3f} of the plain base step's cost")


if __name__ == "__main__":
    main()
