"""The bases of methods that train their own: weights folders of stage ``base``, of the user, the Hub or the package."""

from __future__ import annotations

import importlib.resources
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ias_zoo.errors import OptionError, PluginError, WeightsError

if TYPE_CHECKING:
    from ias_zoo.hub import Manifest
    from ias_zoo.method import Method

TINY = "tiny"


@dataclass(frozen=True)
class TrainedBase:
    """A base that ``fit --stage base`` wrote.

    Attributes
    ----------
    name, revision:
        What it was opened as: ``tiny``, a folder's name, or a repository id and its commit.
    """

    folder: Path
    manifest: Manifest
    name: str
    revision: str | None


def fetch_trained_base(base: str | os.PathLike[str] | None, method: Method) -> TrainedBase:
    """Find a base that was trained by ``fit --stage base``, and check it as every weights folder is.

    Parameters
    ----------
    base:
        ``tiny`` (the one in the method's plugin), a folder, or a repository id with an optional ``@revision``.

    Raises
    ------
    OptionError
        If none is named, or the method embeds none.
    WeightsError
        If there is none such, it fails a check, or it is of another method or stage.
    PluginError
        If the plugin lacks the base that its record names.
    """
    from ias_zoo.hub import fetch_weights

    own = f"`ias-zoo fit {method.name} --stage base --data DIR --out BASE` trains one on normals"
    if base is None:
        tiny = f"base={TINY!r}, " if method.tiny is not None else ""
        raise OptionError(f"no base: give {tiny}a folder or a Hub repository; {own}")
    text = os.fspath(base)
    if text == TINY:
        if method.tiny is None:
            raise OptionError(f"{method.name} has no embedded base; {own}")
        package, _, name = method.tiny.partition(":")
        folder = Path(str(importlib.resources.files(package).joinpath(name)))
        if not folder.is_dir():
            raise PluginError(f"{method.name}: its embedded base {method.tiny!r} is not there")
        _, manifest, _ = fetch_weights(folder, method=method.name)
        name, revision = TINY, None
    else:
        source, _, wanted = (text, "", "") if Path(text).expanduser().is_dir() else text.partition("@")
        folder, manifest, revision = fetch_weights(source, revision=wanted or None, method=method.name)
        name = folder.resolve().name if revision is None else source
    if manifest.stage != "base":
        raise WeightsError(f"base {text!r}: these weights were fitted on shots, they are no base; {own}")
    return TrainedBase(folder, manifest, name, revision)
