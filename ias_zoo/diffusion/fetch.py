"""Find a base: the embedded one, a folder, or a Hub repository at a commit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ias_zoo.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from ias_zoo.method import Base as BaseId

TINY = "tiny"

# The parts by name: repositories also hold pickles, half-precision copies and a safety checker.
_FILES = [
    "model_index.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "vqvae/config.json",  # the older LDM layout
    "vqvae/diffusion_pytorch_model.safetensors",
    "bert/config.json",
    "bert/model.safetensors",
    "tokenizer/*",
    "scheduler/*",
]


def check_base(base: str) -> None:
    """Refuse what can be no base, without asking a network.

    Raises
    ------
    WeightsError
    """
    if base == TINY or Path(base).expanduser().is_dir():
        return
    if base.startswith((".", "/", "~")) or base.count("/") != 1:
        raise WeightsError(
            f"base {base!r}: no such folder; a Hub repository is written org/name, the embedded base {TINY}"
        )


def fetch_base(base: str | os.PathLike[str] | None, default: BaseId | None) -> tuple[Path, str, str | None]:
    """Give a base's folder, its name, and its commit where it has one.

    Parameters
    ----------
    base:
        ``tiny``, a folder, or ``org/name`` with an optional ``@revision``; None takes ``default``.

    Raises
    ------
    WeightsError
        If there is no such base, or it cannot be fetched.
    OptionError
        If there is neither a base nor a default.
    """
    if base is None:
        if default is None:
            raise OptionError("no base: give base='tiny', a folder or a Hub repository")
        base = f"{default.repo_id}@{default.revision}"
    text = os.fspath(base)
    if text == TINY:
        from ias_zoo import tiny

        return Path(tiny.path()), TINY, None
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder, folder.name, None
    check_base(text)
    repo_id, _, revision = text.partition("@")
    from huggingface_hub import snapshot_download

    from ias_zoo.hub.remote import hub_errors

    instead = f"or take the small embedded base, which needs no network: --base {TINY} (in Python base='{TINY}')"
    with hub_errors(repo_id, revision or None, "read", instead=instead):
        found = Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=_FILES))
    return found, repo_id, found.name
