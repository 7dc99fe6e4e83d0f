"""The detector's pretrained encoder, fetched from the Hub: another file than safetensors is never opened."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

_SPEC = importlib.util.spec_from_file_location("hubtools", Path(__file__).with_name("hubtools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
hub, client = tools.hub, tools.client

REPOSITORY = "timm/tf_efficientnet_lite0.in1k"

BUILD = """
import sys
from ias_zoo.errors import IasZooError
from ias_zoo.evaluation.protocols import find_protocol
from ias_zoo.evaluation.segmenter import build_network
try:
    network = build_network(find_protocol("quick-imagenet"), channels=3, seed=0)
except IasZooError as error:
    print("refused:", error)
else:
    print(float(network.encoder.state_dict()["model.conv_stem.weight"].double().sum()))
"""


def run(client: Any) -> str:
    out, err = client.start(BUILD).communicate(timeout=300)
    assert out.strip(), err
    return str(out.strip().splitlines()[-1])


def test_the_encoder_comes_from_the_hub_as_safetensors_only(hub: Any, client: Any) -> None:
    import timm
    import torch
    from safetensors.torch import save

    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    hub.create(REPOSITORY)
    tools.put(hub, REPOSITORY, {"pytorch_model.bin": b"\x80\x04a pickle"})
    refused = run(client)
    assert refused.startswith("refused:")
    assert "--weights encoder=FILE" in refused
    tools.put(hub, REPOSITORY, {"model.safetensors": save(state)})
    wanted = float(state["conv_stem.weight"].double().sum())
    assert abs(float(run(client)) - wanted) < 1e-3
