"""The denoiser with both branches: sets of adapters and interaction layers on one base, and how they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ias_zoo.generation.seeds import seed_for
from ias_zoo.training.lora import add_lora, load_lora, save_lora
from ias_zoo_dualanodiff.interaction import (
    Background,
    ByPeft,
    DualProcessor,
    Flow,
    Interaction,
    Mix,
    attention_layers,
)

if TYPE_CHECKING:
    from ias_zoo.diffusion.base import Base
    from ias_zoo_dualanodiff.options import DualAnoDiffOptions

UNET_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj"]
ANOMALY_PROMPT = "sks"
GLOBAL_PROMPT = f"a vfx with {ANOMALY_PROMPT}"


class AdapterSet:
    """What one training makes: two adapters on the denoiser, one on the text encoder, interaction (and background).

    The adapters live in the base's networks under the names below; the modules are here.
    """

    def __init__(self, number: int, interactions: nn.ModuleList, backgrounds: nn.ModuleDict | None) -> None:
        self.branches = (f"global{number}", f"anomaly{number}")
        self.text = f"text{number}"
        self.interactions, self.backgrounds = interactions, backgrounds

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by name; the adapters are parts of other networks."""
        found: dict[str, nn.Module] = {"saim": self.interactions}
        return found if self.backgrounds is None else found | {"bcm": self.backgrounds}


class DualModel:
    """A base with as many sets of adapters as there are trainings."""

    def __init__(self, base: Base, options: DualAnoDiffOptions) -> None:
        self.base, self.options = base, options
        self.sets: list[AdapterSet] = []
        self.layers = attention_layers(base.unet)
        for number, (name, layer) in enumerate(self.layers):
            layer.set_processor(DualProcessor(number, name.endswith(".attn1")))

    @property
    def defect_share(self) -> float:
        """Least share of the loss that falls on the defect's cells."""
        given = self.options.defect_share
        return given if given is not None else 0.05 if self.base.small else 0.0

    def add_set(self) -> AdapterSet:
        """Add a set of adapters at its start."""
        number = len(self.sets)
        added = self._modules(number)
        for name in added.branches:
            add_lora(self.base.unet, self.options.rank, UNET_TARGETS, name=name)
        add_lora(self.base.text_encoder, self.options.rank, TEXT_TARGETS, name=added.text)
        self.sets.append(added)
        self.rest()
        return added

    def load_set(self, folder: Path) -> None:
        """Add a set as :meth:`save_set` wrote it.

        Raises
        ------
        OSError, ValueError, KeyError, RuntimeError
            If it does not fit the base.
        """
        added = self._modules(len(self.sets))
        for branch, name in zip(("global", "anomaly"), added.branches, strict=True):
            load_lora(self.base.unet, folder / f"{branch}_lora", name)
        load_lora(self.base.text_encoder, folder / "text_lora", added.text)
        for module_name, module in added.modules.items():
            module.load_state_dict(load_file(folder / f"{module_name}.safetensors"))
        self.sets.append(added)
        self.rest()

    def save_set(self, number: int, folder: Path) -> None:
        """Write a set: the adapters in peft's format, the interaction and background layers beside them."""
        saved = self.sets[number]
        folder.mkdir()
        for branch, name in zip(("global", "anomaly"), saved.branches, strict=True):
            save_lora(self.base.unet, folder / f"{branch}_lora", name)
        save_lora(self.base.text_encoder, folder / "text_lora", saved.text)
        for module_name, module in saved.modules.items():
            state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
            save_file(state, folder / f"{module_name}.safetensors")

    def train_set(self, number: int) -> AdapterSet:
        """Let one set require gradients, and nothing else."""
        self.rest()
        chosen = self.sets[number]
        self.base.unet.set_adapter(list(chosen.branches))
        self.base.text_encoder.set_adapter(chosen.text)
        for network, names in ((self.base.unet, chosen.branches), (self.base.text_encoder, (chosen.text,))):
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(any(f".{adapter}." in name for adapter in names))
        for module in chosen.modules.values():
            module.requires_grad_(True)
        return chosen

    def rest(self) -> None:
        """Nothing trains."""
        for network in (self.base.unet, self.base.text_encoder):
            network.requires_grad_(False).eval()
        for one in self.sets:
            for module in one.modules.values():
                module.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move everything."""
        base = self.base
        for part in (base.vae, base.unet, base.text_encoder):
            part.to(device)
        for one in self.sets:
            for module in one.modules.values():
                module.to(device)
        base.device = device

    def embed(self, number: int, prompts: list[str]) -> torch.Tensor:
        """Embeddings of prompts by a set's text encoder, B x 77 x D."""
        self.base.text_encoder.set_adapter(self.sets[number].text)
        return self.base.embed(prompts)

    def predict(
        self,
        number: int,
        latents: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        background: torch.Tensor | None = None,
        *,
        project: Callable[..., torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Run both branches together.

        Parameters
        ----------
        number:
            Which set of adapters.
        latents, timesteps, text:
            Rows in pairs (whole picture, anomaly): 2B x C x h x w noisy latents, 2B timesteps (both rows of a pair
            have the same one), 2B x 77 x D.
        background:
            B x C x h x w: noisy latents of the pairs' backgrounds, for sets with background compensation.
        project:
            Runs the layers with adapters; default: by peft.

        Returns
        -------
        What the base predicts, 2B x C x h x w float32.
        """
        chosen, unet = self.sets[number], self.base.unet
        runs = project or ByPeft(chosen.branches)
        tokens: dict[int, torch.Tensor] = {}
        if chosen.backgrounds is not None:
            if background is None:
                raise RuntimeError("background compensation needs the background's latents")
            writes = Flow(runs, None, chosen.backgrounds, tokens)
            self._run(unet, background, timesteps[0::2], text[0::2], writes)
        flow = Flow(runs, chosen.interactions, chosen.backgrounds, tokens)
        predicted: torch.Tensor = self._run(unet, latents, timesteps, text, flow)
        return predicted

    def _run(self, unet: Any, latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor, flow: Flow) -> Any:
        return unet(
            latents.to(self.base.dtype),
            timesteps,
            encoder_hidden_states=text.to(self.base.dtype),
            cross_attention_kwargs={"flow": flow},
        ).sample.float()

    def _modules(self, number: int) -> AdapterSet:
        """Interaction and background layers at their start, the same each time for the same set."""
        options, base = self.options, self.base
        mix: Mix | None = None if options.bcm == "off" else options.bcm
        start = options.saim_start or ("zero" if base.small else "default")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("interaction", number))
            interactions = nn.ModuleList(Interaction(layer.query_dim, start) for _, layer in self.layers)
            backgrounds = None
            if mix is not None:
                backgrounds = nn.ModuleDict(
                    {
                        str(number): Background(layer.query_dim, mix)
                        for number, (name, layer) in enumerate(self.layers)
                        if name.endswith(".attn1")
                    }
                )
        for module in (interactions, backgrounds):
            if module is not None:
                module.to(base.device, base.dtype)
        return AdapterSet(number, interactions, backgrounds)
