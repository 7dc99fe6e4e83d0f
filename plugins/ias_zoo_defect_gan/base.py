"""A base of Defect-GAN: both networks, trained on plentiful defects, from which a few shots of a new product start.

A folder with ``config.json`` (the :class:`~ias_zoo_defect_gan.networks.Architecture`), ``generator.safetensors`` and
``discriminator.safetensors``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ias_zoo.errors import WeightsError
from ias_zoo_defect_gan.networks import Architecture, Discriminator, Generator

CONFIG, GENERATOR, DISCRIMINATOR = "config.json", "generator.safetensors", "discriminator.safetensors"
FILES = (CONFIG, GENERATOR, DISCRIMINATOR)

WORDS: Mapping[str, tuple[str, ...]] = {
    "scratch": ("scratch", "scuff", "scrape"),
    "crack": ("crack", "fissure", "craze"),
    "hole": ("hole", "blowhole", "pit", "pore", "pinhole"),
    "stain": ("stain", "discoloration", "spot", "color", "colour", "uneven"),
    "dent": ("dent", "squeeze", "bump"),
    "contamination": ("contamination", "dirt", "dust", "fibre", "fiber"),
    "broken_edge": ("broken", "break", "chip", "edge"),
}
"""Words in the name of a new defect type that pick the category of a base whose control it starts from."""


@dataclass
class Networks:
    """Both networks and what they were made for."""

    architecture: Architecture
    generator: Generator
    discriminator: Discriminator


def new_networks(architecture: Architecture, seed: int) -> Networks:
    """Untrained networks with PyTorch's initial weights; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(architecture, Generator(architecture), Discriminator(architecture))


def save_base(networks: Networks, folder: Path, *, half: bool = False) -> None:
    """Write a base's three files into an existing folder, in half precision if asked to."""
    (folder / CONFIG).write_text(networks.architecture.to_json(), encoding="utf-8")
    for name, network in ((GENERATOR, networks.generator), (DISCRIMINATOR, networks.discriminator)):
        state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
        save_file({key: value.half() if half else value for key, value in state.items()}, folder / name)


def read_base(folder: Path, name: str) -> Networks:
    """Read a base, in single precision.

    Raises
    ------
    WeightsError
        If a file is missing, damaged, or of another architecture.
    """
    try:
        architecture = Architecture.from_json((folder / CONFIG).read_text(encoding="utf-8"))
        networks = new_networks(architecture, 0)
        for file, network in ((GENERATOR, networks.generator), (DISCRIMINATOR, networks.discriminator)):
            network.load_state_dict({key: value.float() for key, value in load_file(folder / file).items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"base {name} is no base of defect_gan ({', '.join(FILES)} expected): {first}") from error
    return networks


def for_defects(base: Networks, defects: Sequence[str]) -> Networks:
    """The base with one category for each defect type of a new product, in place of its own.

    A type's control channel and class logit start as those of the base's category that its name points to
    (:data:`WORDS`), or as the mean of all.
    """
    old = base.architecture
    networks = new_networks(replace(old, categories=tuple(defects)), 0)
    picked = [_picked(old.categories, defect) for defect in defects]
    columns = picked + [[index] for index in range(len(old.categories), old.channels)]
    rows = picked + [[index] for index in range(len(old.categories), old.logits)]
    generator = {
        name: _mixed(value, columns, 1) if name.endswith("shared.weight") else value
        for name, value in base.generator.state_dict().items()
    }
    discriminator = {
        name: _mixed(value, rows, 0) if name == "classes.weight" else value
        for name, value in base.discriminator.state_dict().items()
    }
    networks.generator.load_state_dict(generator)
    networks.discriminator.load_state_dict(discriminator)
    return networks


def _picked(categories: Sequence[str], defect: str) -> list[int]:
    """The categories that a name points to: the one so called, those its words belong to, or all."""
    if defect in categories:
        return [categories.index(defect)]
    words = set(re.split(r"[^a-z]+", defect.lower()))
    found = [index for index, name in enumerate(categories) if words & {name, *WORDS.get(name, ())}]
    return found or list(range(len(categories)))


def _mixed(weight: torch.Tensor, groups: Sequence[Sequence[int]], dim: int) -> torch.Tensor:
    """For each group of indices along a dimension their mean."""
    return torch.stack([weight.index_select(dim, torch.tensor(list(group))).mean(dim) for group in groups], dim)
