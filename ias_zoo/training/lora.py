"""Low-rank adapters through peft, in peft's own format: a plain diffusers or peft user can load what is saved."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from ias_zoo.generation.seeds import seed_for

Start = Literal["gaussian", "kaiming"]
"""How an adapter starts. Neither changes anything before the first step, nor the network's own weights, so that the
adapter alone is all there is to save."""

DEFAULT = "default"
"""The name of an adapter that is alone, as peft calls it."""

_PREFIX = "base_model.model."
_FILE = "adapter_model.safetensors"


def add_lora(
    network: Any,
    rank: int,
    targets: Sequence[str],
    *,
    alpha: float | None = None,
    start: Start = "gaussian",
    name: str = DEFAULT,
) -> None:
    """Put adapters on the layers of a network, of diffusers or a plain module, whose names end in one of the targets.

    W x becomes W x + alpha / rank B A x (Hu et al., arXiv 2106.09685). The start is the same each time and leaves the
    global random state alone.

    Parameters
    ----------
    alpha:
        None: the rank, so that the update counts once.
    start:
        ``gaussian``: A ~ N(0, 1 / rank). ``kaiming``: A uniform, as peft and its authors start it. B = 0 in both.
    name:
        The adapter's name, for networks that carry several. Each name has a start of its own.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=rank if alpha is None else alpha,
        target_modules=list(targets),
        init_lora_weights=True if start == "kaiming" else start,
    )
    with torch.random.fork_rng(devices=[]):  # the adapters' start is drawn from the global generator
        torch.manual_seed(seed_for("lora", rank) if name == DEFAULT else seed_for("lora", rank, name))
        _attach(network, config, name)


@contextlib.contextmanager
def without_lora(network: Any) -> Iterator[None]:
    """Inside, a network works as it did before :func:`add_lora`; one without adapters is left alone."""
    if not getattr(network, "peft_config", None):
        yield
        return
    trains = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    network.disable_adapters()
    try:
        yield
    finally:
        network.enable_adapters()  # which lets them train, whatever they did before
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(trains[name])


def save_lora(network: Any, folder: Path, name: str = DEFAULT) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` of one adapter."""
    from peft import get_peft_model_state_dict

    config = copy.copy(network.peft_config[name])
    config.base_model_name_or_path = None  # transformers notes where its network was on this machine
    config.save_pretrained(str(folder))
    found = get_peft_model_state_dict(network, adapter_name=name)
    save_file({f"{_PREFIX}{key}": t.detach().cpu().contiguous() for key, t in found.items()}, folder / _FILE)


def load_lora(network: Any, folder: Path, name: str = DEFAULT) -> None:
    """Put the adapter of a folder on a network, under a name.

    Raises
    ------
    ValueError
        If they are for another architecture: a layer they have and the network lacks, or the other way round.
    """
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

    config = LoraConfig.from_pretrained(str(folder))
    config.init_lora_weights = True  # overwritten below; a start of another kind might change the network's own weights
    with torch.random.fork_rng(devices=[]):
        _attach(network, config, name)
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in load_file(folder / _FILE).items()}
    wanted = set(get_peft_model_state_dict(network, adapter_name=name))
    if different := sorted(wanted ^ set(state)):
        raise ValueError(f"the adapter and this base have different layers, among them {different[0]}")
    set_peft_model_state_dict(network, state, adapter_name=name)


def _attach(network: Any, config: Any, name: str) -> None:
    with warnings.catch_warnings():
        # peft warns of a second adapter, lest it be there by mistake; here each has a name that somebody gave
        warnings.filterwarnings("ignore", message="Already found a `peft_config`", category=UserWarning)
        if hasattr(network, "add_adapter"):
            network.add_adapter(config, adapter_name=name)
            return
        from peft import inject_adapter_in_model

        inject_adapter_in_model(config, network, adapter_name=name)
    # where peft's own saving and loading look for it
    network.peft_config = {**getattr(network, "peft_config", {}), name: config}
