"""Hand-crafted anomaly synthesis: methods that need no training and no pretrained model."""

from __future__ import annotations

from collections.abc import Iterator

import ias_zoo
from ias_zoo_handcrafted.methods import cutpaste, draem, nsa


@ias_zoo.hookimpl
def ias_zoo_methods() -> Iterator[ias_zoo.Method]:
    """The methods of this plugin, file by file."""
    for module in (cutpaste, draem, nsa):
        yield from module.METHODS
