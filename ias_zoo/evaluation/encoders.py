"""A pretrained encoder for the segmenter: its weights from a file or the Hub, and the scale of its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ias_zoo.errors import OptionError, WeightsError
from ias_zoo.evaluation.protocols import HUB, Protocol

FILE = "model.safetensors"

_TIMM = "tu-"
"""How ``segmentation_models_pytorch`` writes that an encoder is timm's."""


def load_encoder(encoder: Any, name: str, weights: str) -> None:
    """Load an encoder's state dict from a safetensors file; a classification head in it is left out.

    Parameters
    ----------
    encoder:
        As ``segmentation_models_pytorch`` makes it.
    name:
        What that library calls it.
    weights:
        A ``.safetensors`` file with the library's, timm's or (EfficientNet-lite) efficientnet-pytorch's parameter
        names; or ``hub``.

    Raises
    ------
    WeightsError
        If the file cannot be had or read, or lacks or misshapes a weight.
    OptionError
        For ``hub`` with an encoder that timm does not have.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _fetch(name) if weights == HUB else Path(weights)
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error
    wanted = encoder.state_dict()
    if name.startswith(_TIMM):
        if "_conv_stem.weight" in state:
            state = timm_names(state, encoder.model)
        if not any(key.startswith("model.") for key in state):
            state = {f"model.{key}": value for key, value in state.items()}
    missing = [
        key
        for key, value in wanted.items()
        if (key not in state or state[key].shape != value.shape) and not key.endswith("num_batches_tracked")
    ]
    if missing:
        raise WeightsError(f"{path}: does not fit the encoder; missing or of another shape: {', '.join(missing[:5])}")
    kept = {key: state.get(key, value) for key, value in wanted.items()}
    torch.nn.Module.load_state_dict(encoder, kept)  # some encoders' own method expects the head


def with_encoder(network: Any, encoder: Any, protocol: Protocol) -> Any:
    """Give a network with an encoder in it the protocol's weights for that, if it has any.

    Returns
    -------
    The network, or one around it; it takes pictures in [-2, 2], as :func:`ias_zoo.evaluation.segmenter.to_unit` makes.

    Raises
    ------
    WeightsError, OptionError
        As of :func:`load_encoder`.
    """
    if protocol.encoder_weights is not None:
        load_encoder(encoder, protocol.encoder, protocol.encoder_weights)
        network = _Scaled(network, encoder, protocol.encoder)
    if protocol.freeze_encoder:
        encoder.requires_grad_(False)
    return network


class _Scaled(torch.nn.Module):
    """A network whose encoder takes pictures of another scale: timm's record, or else ImageNet's mean and deviation."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: Any, encoder: Any, name: str) -> None:
        super().__init__()
        self.network, self.encoder = network, encoder
        self.register_buffer("mean", torch.tensor(_scale(name, "mean")).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(_scale(name, "std")).reshape(1, -1, 1, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the network says of pictures B x 3 x H x W in [-2, 2]."""
        answer: torch.Tensor = self.network((pictures / 4 + 0.5 - self.mean) / self.std)
        return answer


def _scale(name: str, what: str) -> tuple[float, ...]:
    if name.startswith(_TIMM):
        import timm

        found: tuple[float, ...] = getattr(timm.get_pretrained_cfg(name.removeprefix(_TIMM)), what)
        return found
    return {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}[what]


def _fetch(name: str) -> Path:
    if not name.startswith(_TIMM):
        raise OptionError(f"encoder {name!r}: only timm's ({_TIMM}...) are fetched; give --weights encoder=FILE")
    import timm
    from huggingface_hub import hf_hub_download

    from ias_zoo.hub.remote import hub_errors

    repository = timm.get_pretrained_cfg(name.removeprefix(_TIMM)).hf_hub_id
    with hub_errors(repository, None, "read", instead="or give its file: --weights encoder=FILE"):
        return Path(hf_hub_download(repository, FILE))


def timm_names(state: Mapping[str, torch.Tensor], network: Any) -> dict[str, torch.Tensor]:
    """From efficientnet-pytorch's parameter names, blocks counted through, to timm's, counted by stage."""
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    other |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    blocks = [f"blocks.{stage}.{place}" for stage, part in enumerate(network.blocks) for place in range(len(part))]
    renamed = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "_blocks":
            number, layer, tensor = rest.split(".", 2)
            if int(number) >= len(blocks):
                raise WeightsError(f"{key}: EfficientNet-lite0 has {len(blocks)} blocks; is it a larger network's?")
            names = other if f"_blocks.{number}._expand_conv.weight" in state else first
            renamed[f"{blocks[int(number)]}.{names.get(layer, layer)}.{tensor}"] = value
        else:
            renamed[f"{top.get(part, part)}.{rest}"] = value
    return renamed
