"""Train the embedded base of defect_gan on the pairs of make_pairs.py.

Drawn defects come in pairs with their good pictures, which no real data has. So most of the run learns by
regression: paint this defect there, take it off again. In the rest every other step is Defect-GAN's own, with the
masks' term; the regression between them holds the colours in place. The discriminator has had some steps before.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from common import Training, averaged, pick_device

from ias_zoo.imaging.drawn_defects import KINDS
from ias_zoo.training.devices import generator
from ias_zoo_defect_gan.base import Networks, new_networks, read_base, save_base
from ias_zoo_defect_gan.losses import map_target
from ias_zoo_defect_gan.networks import Architecture
from ias_zoo_defect_gan.options import DefectGANOptions
from ias_zoo_defect_gan.stages import Batch, Objective, draw_noise

PAIRED_UNTIL = 0.6  # of the run; from then on, every other step
WARM_UP = 4  # until then, the discriminator steps once in so many steps
GENERATOR, DISCRIMINATOR = "generator", "discriminator"


@dataclass
class Pairs:
    """N pairs: pictures N x 3 x S x S uint8, masks N x 1 x S x S bool, and the number of each kind."""

    normals: torch.Tensor
    defects: torch.Tensor
    masks: torch.Tensor
    kinds: torch.Tensor

    @classmethod
    def read(cls, folder: Path, names: tuple[str, ...]) -> Pairs:
        """Read all shards of a cache folder."""
        shards = [np.load(path) for path in sorted(folder.glob("pairs_[0-9][0-9][0-9].npz"))]
        if not shards:
            raise SystemExit(f"{folder} holds no pairs; run make_pairs.py first")
        normals, defects, masks, kinds = (
            np.concatenate([shard[key] for shard in shards]) for key in ("normals", "defects", "masks", "kinds")
        )
        return cls(
            torch.from_numpy(normals).permute(0, 3, 1, 2),
            torch.from_numpy(defects).permute(0, 3, 1, 2),
            torch.from_numpy(masks)[:, None],
            torch.tensor([names.index(kind) for kind in kinds]),
        )

    def batch(
        self, architecture: Architecture, size: int, step: int, device: torch.device
    ) -> tuple[Batch, torch.Tensor]:
        """A batch of shots and unpaired normals, and the normals that the shots were made from."""
        rng = np.random.default_rng([7, step])
        chosen, others = (torch.from_numpy(rng.integers(len(self.kinds), size=size)) for _ in range(2))
        flips = [dim for dim, on in ((2, rng.random() < 0.5), (3, rng.random() < 0.5)) if on]

        def pictures(source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            return (source[index].flip(flips).to(device).float() / 127.5 - 1).contiguous()

        batch = Batch(
            normals=pictures(self.normals, others),
            defects=pictures(self.defects, chosen),
            labels=torch.stack([architecture.label(int(kind)) for kind in self.kinds[chosen]]).to(device),
            masks=self.masks[chosen].flip(flips).float().to(device),
            spatial=bool(rng.random() < 0.5),
            generators=[generator(int(rng.integers(2**62))) for _ in range(size)],
        )
        return batch, pictures(self.normals, chosen)


def paired_terms(objective: Objective, batch: Batch, normals: torch.Tensor) -> dict[str, torch.Tensor]:
    """Regression on pairs: composed pictures and foregrounds by absolute error, maps by cross-entropy."""
    paint, erase = objective.controls(batch)
    terms = {"picture": torch.zeros(()), "foreground": torch.zeros(()), "map": torch.zeros(())}
    covered = batch.masks.sum() * 3
    for below, control, wanted in ((normals, paint, batch.defects), (batch.defects, erase, normals)):
        layer = objective.generator(below, control, batch.noise())
        terms["picture"] = terms["picture"] + 5 * (layer.over(below) - wanted).abs().mean()
        terms["foreground"] = terms["foreground"] + ((layer.foreground - wanted).abs() * batch.masks).sum() / covered
        terms["map"] = terms["map"] + 2 * map_target(layer.where, batch.masks)
    return terms


def sheet(networks: Networks, pairs: Pairs, device: torch.device) -> np.ndarray:
    """Held-out pairs: normal, defect, mask; painted in the mask; painted anywhere, twice; restored; with maps."""
    architecture, network, rows = networks.architecture, networks.generator.eval(), []
    for start in range(0, 24, 4):
        batch = Pairs(*(part[start : start + 4] for part in (pairs.normals, pairs.defects, pairs.masks, pairs.kinds)))
        normals, defects = (x.to(device).float() / 127.5 - 1 for x in (batch.normals, batch.defects))
        masks = batch.masks.float().to(device)
        labels = torch.stack([architecture.label(int(kind)) for kind in batch.kinds]).to(device)
        shown = [normals, defects, masks.expand(-1, 3, -1, -1) * 2 - 1]
        with torch.no_grad():
            for number, (below, control) in enumerate((
                (normals, architecture.deface(labels, masks)), (normals, architecture.deface(labels)),
                (normals, architecture.deface(labels)), (defects, architecture.restore(labels)),
            )):  # fmt: skip
                seeds = [generator(10 * number + place) for place in range(4)]
                layer = network(below, control, draw_noise(seeds, *below.shape[2:], device))
                shown += [layer.over(below), layer.where.expand(-1, 3, -1, -1) * 2 - 1]
        levels = [((x + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy() for x in shown]
        rows += [np.concatenate([column[place] for column in levels], axis=1) for place in range(4)]
    network.train()
    return np.concatenate([np.concatenate(rows[:12]), np.concatenate(rows[12:])], axis=1)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="pairs from make_pairs.py")
    parser.add_argument("--held-out", type=Path, required=True, help="pairs to draw sheets of")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, sheets, and at the end base/")
    parser.add_argument("--start", type=Path, help="a base's folder: begin with its generator")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="stop after this time")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--checkpoint-every", type=int, default=200)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = pick_device(args.device, args.threads)
    architecture = Architecture(
        tuple(sorted(KINDS)), size=64, width=args.width, hidden=16, discriminator_width=16, discriminator_layers=5,
        discriminator_limit=192,
    )  # fmt: skip
    pairs, held_out = (Pairs.read(folder, architecture.categories) for folder in (args.data, args.held_out))
    networks = new_networks(architecture, args.seed)
    if args.start is not None:
        networks.generator.load_state_dict(read_base(args.start, str(args.start)).generator.state_dict())
    networks.generator.to(device)
    networks.discriminator.to(device)
    halves = {
        name: Training(
            {name: network}, args.out / name, rate=args.rate, steps=args.steps, minutes=args.minutes, average=0.995,
            betas=(0.5, 0.999),
        )
        for name, network in ((GENERATOR, networks.generator), (DISCRIMINATOR, networks.discriminator))
    }  # fmt: skip
    run = halves[GENERATOR]
    objective = Objective(architecture, networks.generator, networks.discriminator, DefectGANOptions(), masks=True)
    while run.progress < 1:
        batch, normals = pairs.batch(architecture, args.batch, run.step, device)
        paired = run.progress < PAIRED_UNTIL or run.step % 2 == 1
        if not paired or run.step % WARM_UP == 0:
            terms = objective.discriminator_terms(batch)
            shown = {name: float(value.detach()) for name, value in terms.items()}
            halves[DISCRIMINATOR].advance(torch.stack(list(terms.values())).sum(), shown)
        networks.discriminator.requires_grad_(False)
        terms = paired_terms(objective, batch, normals) if paired else objective.generator_terms(batch)
        run.advance(
            torch.stack(list(terms.values())).sum(), {name: float(value.detach()) for name, value in terms.items()}
        )
        networks.discriminator.requires_grad_(True)
        if run.step % args.checkpoint_every == 0 or run.progress >= 1:
            for half in halves.values():
                half.note()
                half.save()
            picture = sheet(networks, held_out, device)
            cv2.imwrite(str(args.out / f"sheet_{run.step:06d}.png"), picture[..., ::-1])
    networks.generator.load_state_dict(averaged(args.out / GENERATOR, GENERATOR))
    networks.discriminator.load_state_dict(averaged(args.out / DISCRIMINATOR, DISCRIMINATOR))
    (args.out / "base").mkdir(exist_ok=True)
    save_base(networks, args.out / "base", half=True)
    cv2.imwrite(str(args.out / "sheet.png"), sheet(networks, held_out, device)[..., ::-1])


if __name__ == "__main__":
    main()
