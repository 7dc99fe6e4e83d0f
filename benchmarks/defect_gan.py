"""What Defect-GAN costs beyond its networks, in one run: training steps and samples against the bare networks.

    python benchmarks/defect_gan.py [--base tiny] [--count 20]

A discriminator step's networks: two translations without gradients, the discriminator forward and backward on four
batches and twice for the penalty. A generator step's: four translations and two judgements forward and backward. Both
with Adam's step. A sample's: one translation. Ratios within one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import ias_zoo
from ias_zoo.testing.subject import picture, toy_set
from ias_zoo.training.shots import load_shots
from ias_zoo.training.trainer import Schedule, train
from ias_zoo_defect_gan.networks import noise_shapes
from ias_zoo_defect_gan.stages import BETAS, Batches, Stage


def median(call: Callable[[int], object], count: int) -> float:
    call(0)
    seconds = []
    for number in range(count):
        started = time.process_time()
        call(number)
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def ready(base: str, folder: Path, every: int) -> Stage:
    """A stage with adapters on a base, labels everywhere."""
    made = ias_zoo.load("defect_gan", base=base, device="cpu", adapter="lora", supervision="labels")
    data = load_shots(toy_set(folder), shots=4)
    networks = made._start_from(data.defects, 0)
    made._prepare(networks)
    batches = Batches(data, made.options, networks.architecture, None, 0, torch.device("cpu"), masks=False)
    stage = made._stage("few-shot", networks, batches, 10, masks=False)
    stage.every = every
    return stage


def training(base: str, count: int, folder: Path) -> None:
    def seconds(every: int, steps: int) -> float:
        stage = ready(base, folder / f"{every}-{steps}", every)
        stage.steps = steps
        started = time.process_time()
        train(stage, Schedule(steps=steps), torch.device("cpu"))
        return time.process_time() - started

    warm = seconds(10**6, 2)  # imports and first calls
    discriminating = seconds(10**6, count) / count
    both = seconds(1, count) / count
    del warm

    stage = ready(base, folder / "bare", 1)
    objective = stage.objective
    generator, discriminator = objective.generator, objective.discriminator
    batch = stage.batches.make("generator", 0, 0)
    control, pixels, noise = batch.labels, batch.normals, batch.noise()
    fakes = torch.randn_like(pixels).clamp(-1, 1)
    optimizers = {
        name: torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-6, betas=BETAS)
        for name, network in (("g", generator), ("d", discriminator))
    }

    def step(name: str, loss: torch.Tensor) -> None:
        loss.backward()
        optimizers[name].step()
        optimizers[name].zero_grad(set_to_none=True)

    def judge(number: int) -> None:
        discriminator.requires_grad_(True)
        with torch.no_grad():
            for _ in range(2):
                generator(pixels, control, noise)
        total = torch.zeros(())
        for _ in range(2):
            real, fake = discriminator(pixels), discriminator(fakes)
            total = total + fake.scores.mean() - real.scores.mean() + real.logits.square().mean()
            mixed = (0.5 * pixels + 0.5 * fakes).requires_grad_(True)
            (slope,) = torch.autograd.grad(discriminator(mixed).scores.sum(), mixed, create_graph=True)
            total = total + (slope.flatten(1).norm(dim=1) - 1).square().mean()
        step("d", total)

    def paint(number: int) -> None:
        discriminator.requires_grad_(False)
        total = torch.zeros(())
        for start in (pixels, fakes):
            first = generator(start, control, noise)
            made = start * (1 - first.where) + first.foreground * first.where
            second = generator(made, -control, noise)
            judged = discriminator(made)
            total = total + judged.scores.mean() + judged.logits.mean() + second.foreground.mean() + second.where.mean()
        step("g", total)

    bare_judge, bare_paint = median(judge, count), median(paint, count)
    for name, whole, parts in (
        ("discriminator", discriminating, bare_judge),
        ("discriminator and generator", both, bare_judge + bare_paint),
    ):
        print(f"{name}: a step {1000 * whole:.0f} ms, its networks {1000 * parts:.0f} ms, ratio {whole / parts:.3f}")


def sampling(base: str, count: int, folder: Path) -> None:
    made = ias_zoo.load("defect_gan", base=base, device="cpu", steps=1)
    made.fit(toy_set(folder / "again"), count=2)
    painter = made._painter
    assert painter is not None
    side = painter.architecture.size
    request = ias_zoo.Request(seed=1, normal=picture((side, side), 1), defect="scratch")
    control = torch.rand(1, painter.architecture.channels, side, side)
    pixels = torch.rand(1, 3, side, side)
    noise = [torch.randn(1, *shape) for shape in noise_shapes(side, side)]

    @torch.no_grad()
    def bare(number: int) -> None:
        painter.generator(pixels, control, noise)

    whole = median(lambda number: made.synthesize([request]), count)
    parts = median(bare, count)
    print(f"sample: {1000 * whole:.1f} ms, its network {1000 * parts:.1f} ms, ratio {whole / parts:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        training(arguments.base, arguments.count, Path(scratch))
        sampling(arguments.base, 5 * arguments.count, Path(scratch))


if __name__ == "__main__":
    main()
