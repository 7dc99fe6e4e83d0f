"""What a plugin says about a method, as plain data.

The taxonomy is the one of *A Survey on Industrial Anomalies Synthesis* (arXiv 2502.16412): four paradigms, and the
groups into which the survey's own reading list divides them. Nothing here imports anything but the standard library,
so that a listing stays instant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any

PLUGIN_API = 1
"""The version of the contract between the zoo and a plugin that this zoo speaks."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")

# SPDX identifiers that allow commercial use and redistribution without a copyleft duty.
PERMISSIVE = frozenset(
    {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD", "Zlib", "Unlicense", "CC0-1.0", "CC-BY-4.0"}
)


class Paradigm(StrEnum):
    """The survey's four paradigms."""

    HAND_CRAFTED = "hand-crafted"
    DISTRIBUTION = "distribution-hypothesis"
    GENERATIVE = "generative-model"
    VISION_LANGUAGE = "vision-language-model"


class Group(StrEnum):
    """The groups within the paradigms, as the survey's repository (M-3LAB/awesome-anomaly-synthesis) lists them."""

    SELF_CONTAINED = "self-contained"
    EXTERNAL_DEPENDENT = "external-dependent"
    INPAINTING = "inpainting-based"
    PRIOR_DEPENDENT = "prior-dependent"
    DATA_DRIVEN = "data-driven"
    FULL_IMAGE_SYNTHESIS = "full-image-synthesis"
    FULL_IMAGE_TRANSLATION = "full-image-translation"
    LOCAL_ANOMALY_SYNTHESIS = "local-anomaly-synthesis"
    ONE_STAGE = "one-stage"
    MULTI_STAGE = "multi-stage"

    @property
    def paradigm(self) -> Paradigm:
        """The paradigm this group belongs to."""
        return _PARADIGM_OF[self]


_PARADIGM_OF = {
    Group.SELF_CONTAINED: Paradigm.HAND_CRAFTED,
    Group.EXTERNAL_DEPENDENT: Paradigm.HAND_CRAFTED,
    Group.INPAINTING: Paradigm.HAND_CRAFTED,
    Group.PRIOR_DEPENDENT: Paradigm.DISTRIBUTION,
    Group.DATA_DRIVEN: Paradigm.DISTRIBUTION,
    Group.FULL_IMAGE_SYNTHESIS: Paradigm.GENERATIVE,
    Group.FULL_IMAGE_TRANSLATION: Paradigm.GENERATIVE,
    Group.LOCAL_ANOMALY_SYNTHESIS: Paradigm.GENERATIVE,
    Group.ONE_STAGE: Paradigm.VISION_LANGUAGE,
    Group.MULTI_STAGE: Paradigm.VISION_LANGUAGE,
}


class Input(StrEnum):
    """What a method may need or accept."""

    NORMALS = "normals"
    SOURCE = "source"  # a second normal for each sample, drawn by the plan
    REGION = "region"  # where on the normal a defect may be
    SHOTS = "shots"
    MASKS = "masks"  # masks of the shots
    TEXTURES = "textures"
    PROMPT = "prompt"
    DEFECT = "defect"
    MASK = "mask"  # where the defect of one sample must be


class Trains(StrEnum):
    """What fitting changes."""

    NONE = "none"
    ADAPTER = "adapter"
    FULL = "full"


class Produces(StrEnum):
    """What one call gives back."""

    IMAGE = "image"
    FEATURES = "features"


class Fidelity(StrEnum):
    """How close the implementation is to the publication."""

    FAITHFUL = "faithful"
    WHERE_PUBLIC = "faithful where public"
    OUR_DESIGN = "our design"


@dataclass(frozen=True)
class Paper:
    """The publication."""

    title: str
    authors: str
    venue: str
    year: int
    arxiv: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class OriginalCode:
    """The authors' own code: where it is and under which licence (SPDX id, or words)."""

    repository: str
    licence: str


@dataclass(frozen=True)
class Base:
    """The pretrained model a method starts from, pinned to a commit (40 hex digits)."""

    repo_id: str
    revision: str


@dataclass(frozen=True)
class Licences:
    """Four licences kept apart, as SPDX ids; None where there is no such thing.

    ``original_code`` informs only: what is written here is our own, so that licence does not reach it.
    """

    code: str = "Apache-2.0"
    base_weights: str | None = None
    original_code: str | None = None
    training_data: str | None = None

    @property
    def permissive(self) -> bool:
        """Whether our code, the base weights and the data that those weights saw all allow commercial use."""
        binding = (self.code, self.base_weights, self.training_data)
        return all(licence is None or licence in PERMISSIVE for licence in binding)


@dataclass(frozen=True)
class Cost:
    """What one sample costs, as measured, and on which machine."""

    milliseconds: float
    memory_mb: float
    machine: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """One published technique, described without importing its code.

    Parameters
    ----------
    name:
        Lower-case ``[a-z][a-z0-9_]*``, unique among the plugins of one environment.
    title, summary:
        The method's own name, and one sentence for people.
    group:
        Where the survey puts it; the paradigm follows from it.
    implementation:
        ``"package.module:Class"``, imported by ``load`` only. The class is called with one ``Setup``.
    options:
        ``"package.module:Class"`` of a frozen dataclass whose fields are made with ``ias_zoo.option``. Keep it in a
        module that imports nothing heavy: ``info`` reads it.
    needs, accepts:
        What a sample cannot be made without, and what is used when it is there.
    exact_mask:
        True when every pixel outside a sample's mask equals the normal's, bit for bit.
    baseline:
        The row that others have to beat: every comparison includes it.
    base_stage:
        For methods that train their own base: ``fit(..., stage="base")`` trains it on normals alone.
    tiny:
        ``"package:folder"``, the weights folder of the embedded base of such a method; ``base="tiny"`` opens it.
    card:
        ``"package:file.md"``, the method's card; it is put at the end of the cards of weights made with it.
    quick:
        For methods that train: options with which a fit on the smallest base takes about a minute on a CPU. The demo
        uses them.
    requires, install:
        Top-level modules that the implementation imports beyond the zoo's own, and the command that installs them.
    plugin_api:
        The contract the plugin was written for; the zoo refuses one that it does not speak.

    Raises
    ------
    ValueError
        With the field's name, when a value cannot be right.
    """

    name: str
    title: str
    summary: str
    group: Group
    paper: Paper | None
    implementation: str
    options: str
    fidelity: Fidelity
    fidelity_note: str
    needs: frozenset[Input] = frozenset({Input.NORMALS})
    accepts: frozenset[Input] = frozenset()
    aliases: tuple[str, ...] = ()
    original_code: OriginalCode | None = None
    produces: Produces = Produces.IMAGE
    trains: Trains = Trains.NONE
    base: Base | None = None
    licences: Licences = Licences()
    cost: Cost | None = None
    exact_mask: bool = False
    baseline: bool = False
    base_stage: bool = False
    tiny: str | None = None
    card: str | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    install: str | None = None
    plugin_api: int = PLUGIN_API

    def __post_init__(self) -> None:
        coerced = {
            "group": Group(self.group),
            "fidelity": Fidelity(self.fidelity),
            "produces": Produces(self.produces),
            "trains": Trains(self.trains),
            "needs": _inputs(self.needs),
            "accepts": _inputs(self.accepts),
            "aliases": tuple(self.aliases),
            "requires": tuple(self.requires),
        }
        for name, value in coerced.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen; this is its constructor
        for name in (self.name, *self.aliases):
            if not _NAME.match(name):
                raise ValueError(f"method name {name!r}: expected lower-case letters, digits and '_', a letter first")
        if self.tiny is not None and not (self.base_stage and re.fullmatch(r"[A-Za-z_][\w.]*:[\w./-]+", self.tiny)):
            raise ValueError(f"{self.name}.tiny is {self.tiny!r}: expected 'package:folder', with base_stage")
        for attribute in ("implementation", "options"):
            if not _TARGET.match(target := getattr(self, attribute)):
                raise ValueError(f"{self.name}.{attribute} is {target!r}: expected 'package.module:Class'")
        if type(self.plugin_api) is not int:
            raise ValueError(f"{self.name}.plugin_api is {self.plugin_api!r}: expected an integer")
        if self.base is not None and not re.fullmatch(r"[0-9a-f]{40}", self.base.revision):
            raise ValueError(f"{self.name}.base.revision is {self.base.revision!r}: expected a 40-digit commit hash")
        for attribute in ("title", "summary", "fidelity_note"):
            if not getattr(self, attribute).strip():
                raise ValueError(f"{self.name}.{attribute} is empty")

    @property
    def paradigm(self) -> Paradigm:
        """The survey's paradigm, by its group."""
        return self.group.paradigm

    def uses(self, what: Input) -> bool:
        """Whether the method needs or accepts ``what``."""
        return what in self.needs or what in self.accepts

    def to_dict(self) -> dict[str, Any]:
        """Everything above as JSON-able values."""
        return {"paradigm": self.paradigm.value, **_plain(self)}


def _inputs(values: Iterable[Input | str]) -> frozenset[Input]:
    return frozenset(Input(value) for value in values)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value.value if isinstance(value, StrEnum) else value
