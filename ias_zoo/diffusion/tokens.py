"""New words for a text encoder: rows of their own, trained alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ias_zoo.errors import OptionError


class NewRows(nn.Module):
    """A frozen token embedding with some more rows that can be trained.

    The old rows are not parameters of anything that trains, so neither a gradient nor weight decay reaches them.

    Attributes
    ----------
    old:
        The embedding as it was, frozen.
    rows:
        n x D float32, the new rows; ids count on from the old ones.
    """

    def __init__(self, old: nn.Embedding, rows: torch.Tensor) -> None:
        super().__init__()
        self.old = old
        self.rows = nn.Parameter(rows.detach().float().clone())

    @property
    def weight(self) -> torch.Tensor:
        """All rows, as the text encoder's own code may ask for them."""
        return torch.cat([self.old.weight, self.rows.to(self.old.weight.dtype)])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of ``ids`` (any shape of int64), ... x D."""
        count = self.old.num_embeddings
        known = self.old(ids.clamp(max=count - 1))
        new = self.rows[(ids - count).clamp(min=0)].to(known.dtype)
        return torch.where((ids >= count)[..., None], new, known)


def token_embedding(text_encoder: Any) -> nn.Module:
    """The layer of a text encoder that turns ids into vectors."""
    model = getattr(text_encoder, "model", text_encoder)
    found: nn.Module = getattr(model, "embed_tokens", None) or text_encoder.get_input_embeddings()
    return found


def encode_vectors(text_encoder: Any, ids: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Run a text encoder on vectors in place of those of its tokens; gradients reach them.

    Parameters
    ----------
    ids:
        B x 77 int64; where the text ends is read off them.
    vectors:
        B x 77 x D, before positions are added.

    Returns
    -------
    B x 77 x D, the last layer's states.
    """
    owner = threading.get_ident()  # the encoder may be at work in other threads, on vectors of their own

    def replace(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        return vectors.to(output.dtype) if threading.get_ident() == owner else None

    handle = token_embedding(text_encoder).register_forward_hook(replace)
    try:
        encoded: torch.Tensor = text_encoder(ids)[0]
        return encoded
    finally:
        handle.remove()


def add_words(tokenizer: Any, text_encoder: Any, words: Mapping[str, str]) -> NewRows:
    """Add words to a tokenizer and a text encoder, each starting from the row of a known word.

    Parameters
    ----------
    words:
        New word to the known word it starts from; that one must be a single token.

    Returns
    -------
    The module that holds the new rows, now the text encoder's token embedding.

    Raises
    ------
    OptionError
        If a new word is known already, or a known one is not a single token.
    """
    from tokenizers import AddedToken

    embedding = text_encoder.get_input_embeddings()
    rows = []
    for known in words.values():
        ids = tokenizer(known, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise OptionError(
                f"the word {known!r} is {len(ids)} tokens of this base; a new word starts from a single one"
            )
        rows.append(embedding.weight[ids[0]].detach())
    # Whole words only: "sks1" must not match within "sks10".
    tokens = [AddedToken(word, single_word=True, normalized=False) for word in words]
    before = len(tokenizer)
    if tokenizer.add_tokens(tokens) != len(words):
        raise OptionError(f"the base's tokenizer knows some of these words already: {', '.join(words)}")
    ids = tokenizer.convert_tokens_to_ids(list(words))
    if before != embedding.num_embeddings or ids != list(range(before, before + len(words))):
        raise OptionError("the base's tokenizer and text encoder count their words differently")
    new = NewRows(embedding, torch.stack(rows)).to(embedding.weight.device)
    text_encoder.set_input_embeddings(new)
    return new
