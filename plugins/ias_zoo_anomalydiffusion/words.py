"""The spatial anomaly embedding: learned vectors put in the place of one word of a prompt (section 4.1 of the card)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ias_zoo.diffusion.base import Base
from ias_zoo.diffusion.tokens import encode_vectors, token_embedding
from ias_zoo.errors import OptionError

PLACE = "*"
"""The word that vectors take the place of; a single token."""

_THINGS = ("photo", "rendering", "depiction", "illustration", "cropped photo", "close-up photo")
_KINDS = ("good", "bright", "dark", "clean", "dirty", "nice", "cool", "weird", "small", "large")
TEMPLATES = (
    *(f"a {thing} of a {PLACE}" for thing in _THINGS),
    *(f"a {thing} of the {PLACE}" for thing in _THINGS),
    *(f"a photo of a {kind} {PLACE}" for kind in _KINDS),
    *(f"a photo of the {kind} {PLACE}" for kind in _KINDS),
)
"""Prompts in the style of those that textual inversion uses (Gal et al., 2022): neither product nor defect is named."""


class Vectors(nn.Module):
    """Learned vectors of defect types: ``count`` of width D each, a parameter a type.

    A type that is not in a batch gets no gradient at all, so that its vectors and the optimiser's memory of them stay.
    """

    def __init__(self, defects: Sequence[str], start: torch.Tensor, count: int) -> None:
        super().__init__()
        self.defects = tuple(defects)
        self.rows = nn.ParameterList(start.detach().float().repeat(count, 1) for _ in defects)

    def of(self, defect: str) -> torch.Tensor:
        """Vectors of a type, count x D."""
        found: torch.Tensor = self.rows[self.defects.index(defect)]
        return found


def word_vector(base: Base, word: str) -> torch.Tensor:
    """The vector of a word before positions are added, D; of a word of several tokens, their mean.

    Raises
    ------
    OptionError
        If the base's tokenizer makes nothing of it.
    """
    ids = base.word_ids(word)
    if not ids:
        raise OptionError(f"the word {word!r} has no token in this base; give another init_word")
    with torch.no_grad():
        found: torch.Tensor = token_embedding(base.text_encoder)(torch.tensor(ids, device=base.device)).float().mean(0)
    return found


def insert(vectors: torch.Tensor, position: int, new: torch.Tensor) -> torch.Tensor:
    """Put K x D vectors in the place of the one at ``position`` of L x D; the tail moves back, its end is cut off."""
    return torch.cat([vectors[:position], new.to(vectors.dtype), vectors[position + 1 :]])[: len(vectors)]


def embed(
    base: Base, templates: Sequence[str], vectors: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Text embeddings of prompts with vectors in the place of ``*``.

    Parameters
    ----------
    templates:
        B prompts with one ``*`` each.
    vectors:
        K x D for each prompt; gradients reach them through the frozen text encoder.

    Returns
    -------
    B x 77 x D, and the span [first, last) of the vectors in each.

    Raises
    ------
    OptionError
        If ``*`` is not one token of the base, or the vectors do not fit behind the prompt's beginning.
    """
    marks = base.word_ids(PLACE)
    if len(marks) != 1:
        raise OptionError(f"{PLACE!r} is {len(marks)} tokens of this base's tokenizer; expected one")
    ids = base.token_ids(list(templates))
    known = token_embedding(base.text_encoder)(ids)
    rows, spans = [], []
    for row, line, new in zip(known, ids.tolist(), vectors, strict=True):
        first = line.index(marks[0])
        if first + len(new) > len(line):
            raise OptionError(f"{len(new)} vectors do not fit into {len(line)} tokens at place {first}")
        rows.append(insert(row, first, new))
        spans.append((first, first + len(new)))
    return encode_vectors(base.text_encoder, ids, torch.stack(rows)), spans


def template(rng: Any) -> str:
    """One of the prompts, any."""
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))]
