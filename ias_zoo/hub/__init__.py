"""Weights folders, on disk and on the Hugging Face Hub.

A *weights folder* is everything that a fitted synthesizer needs beyond its base::

    ias_zoo.json                       the manifest: what made it, from what, and the hash of every other file
    <part>/adapter_config.json         adapters in peft's own format, so that plain peft or diffusers loads them too
    <part>/adapter_model.safetensors
    <module>.safetensors               other trained modules, one file each
    README.md                          the card
    *.json  *.png  *.txt               reports, if any

It is safetensors and JSON only. Nothing is ever unpickled and no code of a weights folder is ever run.
"""

from __future__ import annotations

from ias_zoo.hub.folder import read_weights, write_weights
from ias_zoo.hub.manifest import MANIFEST, Manifest
from ias_zoo.hub.remote import fetch_weights, pull_weights, push_weights

__all__ = [
    "MANIFEST",
    "Manifest",
    "fetch_weights",
    "pull_weights",
    "push_weights",
    "read_weights",
    "write_weights",
]
