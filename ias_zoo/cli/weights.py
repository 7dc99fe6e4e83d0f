"""``push`` and ``pull``: weights folders to and from the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def push(
    weights: Annotated[Path, typer.Argument(help="A weights folder, as `ias-zoo fit` writes it.")],
    repo: Annotated[str, typer.Argument(help="The Hub repository, org/name; made where there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch. Default: main.")] = None,
    message: Annotated[str | None, typer.Option(help="The commit's message.")] = None,
) -> None:
    """Check a weights folder and upload it to the Hugging Face Hub in one commit."""
    from ias_zoo.hub import push_weights

    _quiet_unless_terminal()
    print(push_weights(weights, repo, private=private, revision=revision, message=message))


def pull(
    repo: Annotated[str, typer.Argument(help="A Hub repository, org/name.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit. Default: main.")] = None,
) -> None:
    """Fetch weights from the Hugging Face Hub into a new folder, and check them."""
    from ias_zoo.hub import MANIFEST, Manifest, pull_weights

    _quiet_unless_terminal()
    pull_weights(repo, folder, revision=revision)
    manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    print(f"weights of {manifest.method} in {folder}")
    print(f"try: ias-zoo generate {manifest.method} --weights {folder} --data FOLDER --out NEW_FOLDER")


def _quiet_unless_terminal() -> None:
    """Keep huggingface_hub's progress bars out of log files."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
