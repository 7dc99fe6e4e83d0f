"""Images of a run that could not be made: why, in words, and what a person can do about each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ias_zoo.data.groups import some_of


class Kind(StrEnum):
    """Why an image could not be made; each kind has another remedy."""

    REFUSED = "refused"  # every draw was refused by the gate; the same seeds give the same draws
    PICTURE = "picture"  # a picture it is made from cannot be used
    OTHER = "other"


_ADVICE = {
    Kind.REFUSED: "refused in every draw, and --resume would draw the same; use another --seed, other options or "
    "weights of a longer fit, into a new folder",
    Kind.PICTURE: "not made, from pictures that cannot be used; replace the files named above under the same names "
    "and add --resume",
    Kind.OTHER: "not made; --resume tries again, and if that fails too, use other options, into a new folder",
}


@dataclass(frozen=True)
class Failure:
    """One image that could not be made."""

    index: int
    error: str
    kind: Kind

    def __str__(self) -> str:
        return f"image {self.index}: {self.error}"

    @classmethod
    def read(cls, line: dict[str, Any]) -> Failure:
        """From its line of the provenance; runs of older versions name no kind."""
        kind = line.get("kind")
        return cls(line["index"], line["error"], Kind(kind) if kind in list(Kind) else Kind.OTHER)


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """One line for each reason, with the images that it cost: a broken file is named once."""
    by_error: dict[str, list[str]] = {}
    for failure in failures:
        by_error.setdefault(failure.error, []).append(str(failure.index))
    return [f"image{'s'[: len(images) > 1]} {some_of(images)}: {error}" for error, images in by_error.items()]


def advice_lines(failures: Sequence[Failure]) -> list[str]:
    """One line for each kind of failure that there is: how many images it cost and what to do."""
    counts = {kind: sum(failure.kind is kind for failure in failures) for kind in Kind}
    return [f"{count} image{'s'[: count > 1]} {_ADVICE[kind]}" for kind, count in counts.items() if count]
