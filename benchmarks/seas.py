"""What SeaS costs beyond its parts, in one run: a training step against its bare networks, a sample against its own.

    python benchmarks/seas.py [--base tiny] [--count 20]

A training step's parts: encoding the pictures, the text encoder, the denoiser forward and backward, of the same batch.
A sample's parts: the denoiser's calls, the decodings and the mask head's predictions. Ratios within one run.
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
from ias_zoo.diffusion.base import gaussian, generator
from ias_zoo.diffusion.taps import FeatureTap
from ias_zoo.testing.subject import picture, toy_set
from ias_zoo.training.shots import load_shots
from ias_zoo_seas.stages import UNET_FEATURES, VAE_FEATURES, Batches, GeneratorStage


def median(call: Callable[[int], object], count: int) -> float:
    call(0)
    seconds = []
    for number in range(count):
        started = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def training(base_name: str, count: int, folder: Path) -> None:
    made = ias_zoo.load("seas", base=base_name, device="cpu")
    base = made._open(base_name, "float32")
    data = load_shots(toy_set(folder), shots=4)
    made._add_tokens(base, data.defects)
    made._prepare_unet(base)
    prompts = {name: made.prompt(name, data.defects) for name in data.defects}
    batches = Batches(data, made.options, base.resolution, None, prompts, "a ob1", seed=0)
    stage = GeneratorStage(base, batches, made.options, made._tokens, (1e-4, 1e-3))
    optimizer = torch.optim.AdamW(stage.parameter_groups())

    def whole(number: int) -> None:
        torch.stack(list(stage.loss(number, 0).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    batch = batches.make(0, 0)
    pixels = batch.pixels
    t = torch.tensor([500, 200, 800, 20])

    def bare(number: int) -> None:
        with torch.no_grad():
            latents = base.vae.encode(pixels).latent_dist.mean
        context = base.text_encoder(base.token_ids(batch.prompts))[0]
        base.unet(latents, t, encoder_hidden_states=context).sample.square().mean().backward()
        optimizer.zero_grad(set_to_none=True)

    steps, parts = median(whole, count), median(bare, count)
    print(f"training: a step {1000 * steps:.0f} ms, its parts {1000 * parts:.0f} ms, ratio {steps / parts:.3f}")


def sampling(base_name: str, count: int, folder: Path) -> None:
    made = ias_zoo.load("seas", base=base_name, device="cpu", steps=1, mask_steps=1)
    made.fit(toy_set(folder / "again"), count=2)
    base, head = made._base, made._head
    assert base is not None
    assert head is not None
    request = ias_zoo.Request(seed=1, normal=picture((128, 128), 1), defect="scratch")
    side = base.resolution // base.cell
    text = base.embed(["", made.prompt("scratch", ("scratch",))])
    latents = gaussian((base.unet.config.in_channels, side, side), [generator(0)], base.device)

    @torch.no_grad()
    def bare(number: int) -> None:
        with FeatureTap(base.unet, UNET_FEATURES) as unet:
            for step in range(made.options.sampling_steps):
                base.unet(torch.cat([latents, latents]), 999 - 40 * step, encoder_hidden_states=text)
        for _ in range(3):
            with FeatureTap(base.vae, VAE_FEATURES) as vae:
                base.decode(latents)
            head.predict([feature[-1:] for feature in unet.features], vae.features)
        base.decode(latents)

    whole = median(lambda number: made.synthesize([request]), count)
    parts = median(bare, count)
    print(f"sampling: a sample {1000 * whole:.0f} ms, its parts {1000 * parts:.0f} ms, ratio {whole / parts:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        training(arguments.base, arguments.count, Path(scratch))
        sampling(arguments.base, max(5, arguments.count // 4), Path(scratch))


if __name__ == "__main__":
    main()
