"""Hand-crafted anomaly synthesis: methods that need no training and no pretrained model."""

from __future__ import annotations

import ias_zoo

# The records by name, not their modules: `ias_zoo_handcrafted.nsa` is also the module of an implementation.
from ias_zoo_handcrafted.methods.cutpaste import METHODS as CUTPASTE
from ias_zoo_handcrafted.methods.draem import METHODS as DRAEM
from ias_zoo_handcrafted.methods.nsa import METHODS as NSA


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The methods of this plugin, file by file."""
    return (*CUTPASTE, *DRAEM, *NSA)
