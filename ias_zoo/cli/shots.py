"""How shots are asked for; the same for every command that chooses them."""

from __future__ import annotations

import typer

from ias_zoo.errors import OptionError

SHOTS = typer.Option(
    help="Training shots of each type, one a group: a number, or crack=4,blowhole=8. Default: a third of the groups."
)
GROUP = typer.Option(
    help="A regular expression that finds in a picture's name which part it shows: pictures of one part are a group. "
    "Default: as meta.csv says (column tile_group or group); else each picture is one."
)


def shot_counts(text: str | None) -> int | dict[str, int] | None:
    """What was typed after ``--shots``: a number, or numbers by defect type.

    Raises
    ------
    OptionError
        For anything else, or a type named twice.
    """
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    counts: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.strip().rpartition("=")
        if not name or name in counts or not number.isdecimal():
            raise OptionError(f"--shots {text!r}: expected a number, or crack=4,blowhole=8")
        counts[name] = int(number)
    return counts
