"""The manifest of a weights folder, ``ias_zoo.json``: what it says and how strictly it is read."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, Literal

from ias_zoo.errors import WeightsError

MANIFEST = "ias_zoo.json"
FORMAT = 1
"""The version of the manifest's layout that is written, and the only one that is read."""

SUFFIXES = frozenset({".safetensors", ".json", ".md", ".png", ".txt"})
"""What a weights folder may hold: tensors, JSON, text and pictures; none of them can carry code."""

TOKEN = re.compile(r"\bhf_[A-Za-z0-9_]{30,}|\bhf_oauth_\w+")
"""What a Hub token looks like; none is ever published."""

_METHOD = re.compile(r"[a-z][a-z0-9_]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_BASE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?\Z")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``ias_zoo.json`` says.

    Attributes
    ----------
    method, distribution, plugin_version, plugin_api, zoo_version:
        What made the weights: the method, the plugin's package and its version, the contract it was written for, and
        the zoo's version.
    base, base_revision:
        The pretrained model under the weights: a Hub repository (``org/name``), ``tiny``, or the bare name of a
        folder; and its commit, 40 hex digits, where it has one. None for methods without a base.
    options:
        The method's options as JSON values.
    defects:
        The defect types that were learned.
    licence:
        SPDX id of the weights, or words.
    training_files:
        Every file that training read: an id relative to the data set -> sha256 of the file.
    facts:
        What was measured: steps, seconds, peak memory, final loss, the machine; and how the shots were chosen.
    stage:
        What was trained: ``few-shot`` weights make samples; a ``base`` is what a few-shot fit starts from.
    files:
        Every other file of the folder but the card (people edit it) -> sha256; ``write_weights`` fills it in.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    method: str
    distribution: str
    plugin_version: str
    plugin_api: int
    zoo_version: str
    base: str | None
    base_revision: str | None
    options: dict[str, Any]
    defects: tuple[str, ...]
    licence: str
    training_files: dict[str, str]
    facts: dict[str, Any]
    stage: Literal["few-shot", "base"] = "few-shot"
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``ias_zoo.json``.

        Raises
        ------
        WeightsError
            Naming the field that no reader would accept.
        """
        try:
            text = json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise WeightsError(f"{MANIFEST}: options and facts must be JSON values: {error}") from error
        Manifest.from_json(text)  # what cannot be read back is not written
        return text

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read the text of ``ias_zoo.json``; nothing in it is believed.

        Raises
        ------
        WeightsError
            When it is no JSON, of a format this zoo does not know, or a field is missing, unknown, of the wrong type
            or cannot be right: named.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{MANIFEST} is no JSON: {error}") from error
        if not isinstance(raw, dict):
            raise WeightsError(f"{MANIFEST} is no JSON object")
        version = raw.pop("format", None)
        if type(version) is not int or version != FORMAT:
            raise WeightsError(
                f"{MANIFEST}: format is {version!r}, this ias-zoo reads {FORMAT}: a newer one may know it "
                "(pip install -U ias-zoo)"
            )
        try:
            manifest = TypeAdapter(cls).validate_json(json.dumps(raw), strict=True)
        except ValidationError as error:
            details = "; ".join(
                f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()[:3]
            )
            raise WeightsError(f"{MANIFEST}: {details}") from error
        manifest._check()
        return manifest

    def _check(self) -> None:
        for name, value, pattern, expected in (
            ("method", self.method, _METHOD, "lower-case letters, digits and '_'"),
            ("base", self.base, _BASE, "org/name, 'tiny' or the bare name of a folder"),
            ("base_revision", self.base_revision, _COMMIT, "a commit of 40 hex digits, or null"),
        ):
            if value is not None and not pattern.match(value):
                raise WeightsError(f"{MANIFEST}: {name} is {value!r}: expected {expected}")
        for name, hashes in (("training_files", self.training_files), ("files", self.files)):
            for key, value in hashes.items():
                if not _SHA256.match(value):
                    raise WeightsError(f"{MANIFEST}: {name}: {key!r} has {value!r}: expected a sha256 in hex")
        for key in self.training_files:
            if is_absolute(key):
                raise WeightsError(f"{MANIFEST}: training_files: {key!r} is a path of one machine: expected an id")
        for key in self.files:
            reason = why_unsafe(key)
            if reason:
                raise WeightsError(f"{MANIFEST}: files: {key!r} {reason}")


def is_absolute(text: str) -> bool:
    """Whether a text is a path from the root of some machine, POSIX or Windows."""
    return PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() or text.startswith("~")


def why_unsafe(name: str) -> str:
    """Why a file's name must not be followed or written on every system; empty if it is fine.

    A name is relative, with ``/`` between its parts; no part is empty, hidden, ``.`` or ``..``.
    """
    if "\\" in name or ":" in name or not name.isprintable():
        return "has a backslash, a colon or a control character: expected letters, digits and / . _ -"
    if is_absolute(name):
        return "is an absolute path: expected a name inside the folder"
    if any(part.startswith(".") or not part for part in name.split("/")):
        return "leaves the folder or is hidden: no part of a name may start with '.' or be empty"
    if PurePosixPath(name).suffix.lower() not in SUFFIXES:
        return f"is not of a kind that a weights folder holds ({', '.join(sorted(SUFFIXES))})"
    return ""
