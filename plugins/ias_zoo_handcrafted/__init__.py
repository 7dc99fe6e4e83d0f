"""Hand-crafted anomaly synthesis: methods that need no training and no pretrained model."""

from __future__ import annotations

import ias_zoo

# The records by name, not their modules: `ias_zoo_handcrafted.nsa` is also the module of an implementation.
from ias_zoo_handcrafted.methods.adsas import METHODS as ADSAS
from ias_zoo_handcrafted.methods.ami_net import METHODS as AMI_NET
from ias_zoo_handcrafted.methods.cdo import METHODS as CDO
from ias_zoo_handcrafted.methods.crop_paste import METHODS as CROP_PASTE
from ias_zoo_handcrafted.methods.cutpaste import METHODS as CUTPASTE
from ias_zoo_handcrafted.methods.destseg import METHODS as DESTSEG
from ias_zoo_handcrafted.methods.draem import METHODS as DRAEM
from ias_zoo_handcrafted.methods.masking import METHODS as MASKING
from ias_zoo_handcrafted.methods.memseg import METHODS as MEMSEG
from ias_zoo_handcrafted.methods.nsa import METHODS as NSA
from ias_zoo_handcrafted.methods.rdpp import METHODS as RDPP
from ias_zoo_handcrafted.methods.reb_defectmaker import METHODS as REB_DEFECTMAKER


@ias_zoo.hookimpl
def ias_zoo_methods() -> tuple[ias_zoo.Method, ...]:
    """The methods of this plugin, file by file."""
    return (
        *ADSAS,
        *AMI_NET,
        *CDO,
        *CROP_PASTE,
        *CUTPASTE,
        *DESTSEG,
        *DRAEM,
        *MASKING,
        *MEMSEG,
        *NSA,
        *RDPP,
        *REB_DEFECTMAKER,
    )
