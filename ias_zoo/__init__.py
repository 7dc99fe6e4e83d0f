"""ias_zoo: a plugin-based model zoo for industrial anomaly synthesis.

``ias_zoo.load("draem").generate(100, normals="good_parts/")`` makes a hundred defect images with exact masks.
Everything below is imported on first use, so that ``import ias_zoo`` stays instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ias_zoo.data import open_data as open_data
    from ias_zoo.errors import IasZooError as IasZooError
    from ias_zoo.features import FeatureContext as FeatureContext
    from ias_zoo.features import FeatureSample as FeatureSample
    from ias_zoo.features import FeatureSynthesizer as FeatureSynthesizer
    from ias_zoo.hookspecs import hookimpl as hookimpl
    from ias_zoo.method import Method as Method
    from ias_zoo.options import option as option
    from ias_zoo.registry import info as info
    from ias_zoo.registry import list_methods as list_methods
    from ias_zoo.registry import load as load
    from ias_zoo.synthesizer import Drawn as Drawn
    from ias_zoo.synthesizer import ImageSynthesizer as ImageSynthesizer
    from ias_zoo.synthesizer import Request as Request
    from ias_zoo.synthesizer import Sample as Sample
    from ias_zoo.synthesizer import Synthesizer as Synthesizer
    from ias_zoo.torch_data import torch_dataset as torch_dataset

__version__ = "0.1.0"

_HOMES = {
    "Drawn": "synthesizer",
    "FeatureContext": "features",
    "FeatureSample": "features",
    "FeatureSynthesizer": "features",
    "IasZooError": "errors",
    "ImageSynthesizer": "synthesizer",
    "Method": "method",
    "Request": "synthesizer",
    "Sample": "synthesizer",
    "Synthesizer": "synthesizer",
    "hookimpl": "hookspecs",
    "info": "registry",
    "list_methods": "registry",
    "load": "registry",
    "open_data": "data",
    "option": "options",
    "torch_dataset": "torch_data",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ias_zoo' has no attribute {name!r}")
    if name == "torch_dataset":
        from ias_zoo.extras import require

        require("torch_dataset", "evaluation", "torch")
    value = getattr(importlib.import_module(f"ias_zoo.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
