"""Feature extractors by name. Every figure says which one it was measured with, and the hash of its weights.

============================  ======================================================================================
``inception-v3``              torch-fidelity's Inception-v3 (2048 features), the only one whose FID, KID and Inception
                              Score can be compared with published numbers
``lpips-squeeze|alex|vgg``    the backbone of LPIPS (:mod:`ias_zoo.evaluation.perceptual`)
``dinov2``                    DINOv2 ViT-S/14 from the Hub, or a local folder in transformers' format
``safetensors:FILE``          an EfficientNet-lite0 from a local file (timm's network; timm's or efficientnet-pytorch's
                              parameter names)
============================  ======================================================================================

Weights come from a local file where one is given, else from the library's own address; nothing that could run code is
unpickled (safetensors, or PyTorch files of plain tensors).
"""

from __future__ import annotations

import importlib
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data.images import sha256
from ias_zoo.errors import MissingDependency, OptionError, WeightsError

if TYPE_CHECKING:
    import torch

    from ias_zoo.synthesizer import RGB

WeightFiles = Mapping[str, "str | os.PathLike[str]"]
"""Local weight files by what they are for: the keys of :data:`WEIGHT_KEYS`."""

WEIGHT_KEYS = ("inception-v3", "dinov2", "lpips-backbone", "lpips-linear")
EXTRACTORS = ("inception-v3", "lpips-squeeze", "lpips-alex", "lpips-vgg", "dinov2", "safetensors:FILE")

BATCH = 16
"""Pictures at a time."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What an extractor gives for N pictures, all float32 on the CPU.

    Attributes
    ----------
    features:
        N x D.
    logits:
        N x K class scores before the softmax, or None where the network has no classifier.
    """

    features: torch.Tensor
    logits: torch.Tensor | None


class Extractor(ABC):
    """One feature network, ready to use.

    Attributes
    ----------
    name:
        What to type to get it again.
    weights:
        Which weights: ``sha256:...`` of the file, or ``repository@commit``.
    """

    name: str
    weights: str
    device: torch.device

    @abstractmethod
    def outputs(self, images: torch.Tensor) -> Outputs:
        """Features and logits of N x 3 x H x W uint8 pictures."""

    @abstractmethod
    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of N x 3 x H x W uint8 pictures, each N x C x h x w on the extractor's device.

        Raises
        ------
        OptionError
            If the network offers none.
        """

    @property
    def description(self) -> dict[str, str]:
        """Name and weights, for the protocol of a figure."""
        return {"extractor": self.name, "weights": self.weights}


def load_extractor(name: str, *, weights: WeightFiles | None = None, device: str = "cpu") -> Extractor:
    """Load a feature extractor by its name (the module lists them).

    Parameters
    ----------
    weights:
        Local files to use instead of a download, by :data:`WEIGHT_KEYS`.
    device:
        As torch calls it.

    Raises
    ------
    OptionError
        If the name or a key is unknown.
    WeightsError
        If weights cannot be had, or do not fit the network.
    MissingDependency
        If a package is missing.
    """
    files = checked_files(weights)
    kind, _, path = name.partition(":")
    if kind == "safetensors" and path:
        return _LiteNet(Path(path).expanduser(), device)
    if name == "inception-v3":
        return _Inception(files.get(name), device)
    if name == "dinov2":
        return _Dino(files.get(name), device)
    if name.startswith("lpips-"):
        from ias_zoo.evaluation.perceptual import load_lpips

        return load_lpips(name, weights=weights, device=device)
    raise OptionError(f"no feature extractor {name!r}; there are: {', '.join(EXTRACTORS)}")


def checked_files(weights: WeightFiles | None) -> dict[str, Path]:
    """The weight files by key, each of which exists.

    Raises
    ------
    OptionError, WeightsError
    """
    files = {key: Path(path).expanduser() for key, path in (weights or {}).items()}
    for key, path in files.items():
        if key not in WEIGHT_KEYS:
            raise OptionError(f"no weights are called {key!r}; expected some of: {', '.join(WEIGHT_KEYS)}")
        if not path.exists():
            raise WeightsError(f"{key}: no such file: {path}")
    return files


def to_batch(pictures: Sequence[RGB]) -> torch.Tensor:
    """Pictures of one size (H x W x 3 uint8 RGB) as one N x 3 x H x W uint8 tensor."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))


def extract(extractor: Extractor, pictures: Sequence[RGB], *, batch: int = BATCH) -> Outputs:
    """Features and logits of many pictures of one size, a batch at a time."""
    import torch

    parts = [extractor.outputs(to_batch(pictures[i : i + batch])) for i in range(0, len(pictures), batch)]
    logits = [part.logits for part in parts if part.logits is not None]
    return Outputs(torch.cat([part.features for part in parts]), torch.cat(logits) if logits else None)


def needs(module: str, package: str) -> Any:
    """Import a module that evaluation needs.

    Raises
    ------
    MissingDependency
        Saying what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingDependency(f"this figure needs {package}: pip install {package}") from None


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors of a ``.safetensors`` file or of a PyTorch file of plain tensors, and ``sha256:...`` of the file.

    Raises
    ------
    WeightsError
        If it cannot be read as such.
    """
    import torch

    try:
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            state = load(data)
        else:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # both readers raise types of their own
        raise WeightsError(f"{path}: not a safetensors file, nor a PyTorch file of plain tensors ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: expected a flat table of tensors")
    return state, f"sha256:{sha256(data)}"


def download(url: str, what: str, otherwise: str) -> Path:
    """A file of a model's publisher, kept in torch's own cache; its name carries the start of its hash.

    Raises
    ------
    WeightsError
        If it cannot be reached: ``what`` it is, and what to do ``otherwise``.
    """
    import torch

    place = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not place.exists():
        found = re.search(r"-([a-f0-9]{8,})\.", place.name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(place), hash_prefix=found[1] if found else None, progress=False)
        except (OSError, RuntimeError) as error:  # no network; a damaged file
            raise WeightsError(f"{what}: cannot be fetched from {url} ({error}); {otherwise}") from error
    return place


def fit_state(network: torch.nn.Module, state: Mapping[str, torch.Tensor], where: Path) -> None:
    """Load a state into a network, exactly (but for counters that inference does not use).

    Raises
    ------
    WeightsError
        Naming what is missing or too much.
    """
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # sizes
        raise WeightsError(f"{where}: does not fit {type(network).__name__} ({str(error).splitlines()[-1]})") from error
    odd = [f"-{key}" for key in missing if not key.endswith("num_batches_tracked")] + [f"+{key}" for key in unexpected]
    if odd:
        raise WeightsError(f"{where}: does not fit {type(network).__name__}: {', '.join(odd[:4])} ({len(odd)} in all)")


class _Inception(Extractor):
    """The network of the FID paper, ported from TensorFlow by torch-fidelity; resizes to 299 x 299 by itself."""

    def __init__(self, path: Path | None, device: str) -> None:
        import torch

        ported = needs("torch_fidelity.feature_extractor_inceptionv3", "torch-fidelity")
        self.name, self.device = "inception-v3", torch.device(device)
        if path is None:
            path = download(
                ported.URL_INCEPTION_V3,
                "inception-v3",
                "fetch it elsewhere and give --weights inception-v3=FILE, or use another extractor, whose figures "
                "compare only with one another",
            )
        state, self.weights = load_state(path)
        plain = io.BytesIO()  # torch-fidelity would unpickle the file itself, without restrictions
        torch.save(state, plain)
        plain.seek(0)
        try:
            network = ported.FeatureExtractorInceptionV3(self.name, ["2048", "logits_unbiased"], plain)
        except RuntimeError as error:
            raise WeightsError(f"{path}: not torch-fidelity's Inception-v3 ({str(error).splitlines()[0]})") from error
        self._network = network.to(self.device)

    def outputs(self, images: torch.Tensor) -> Outputs:
        import torch

        with torch.inference_mode():
            features, logits = self._network(images.to(self.device))
        return Outputs(features.float().cpu(), logits.float().cpu())

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        raise OptionError("inception-v3 gives no feature maps here; use lpips-squeeze, dinov2 or safetensors:FILE")


class _LiteNet(Extractor):
    """EfficientNet-lite0 (Tan & Le, ICML 2019; lite variants by Google): 1280 features, 1000 classes."""

    # The ends of the stages at strides 8 and 16, in timm's numbering of strides 2, 4, 8, 16, 32.
    LEVELS = (2, 3)

    def __init__(self, path: Path, device: str) -> None:
        import torch

        timm = needs("timm", "timm")
        from ias_zoo.evaluation.encoders import timm_names

        self.name, self.device = f"safetensors:{path.name}", torch.device(device)
        state, self.weights = load_state(path)
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        if "_conv_stem.weight" in state:
            state = timm_names(state, network)
        fit_state(network, state, path)
        self._network = network.eval().to(self.device)

    def _input(self, images: torch.Tensor) -> torch.Tensor:
        return (images.to(self.device).float() - 127) / 128  # as the lite networks were trained

    def outputs(self, images: torch.Tensor) -> Outputs:
        import torch

        with torch.inference_mode():
            maps = self._network.forward_features(self._input(images))
            features = self._network.forward_head(maps, pre_logits=True)
            logits = self._network.classifier(features)
        return Outputs(features.cpu(), logits.cpu())

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        import torch

        with torch.inference_mode():
            return list(
                self._network.forward_intermediates(
                    self._input(images), indices=list(self.LEVELS), intermediates_only=True
                )
            )


class _Dino(Extractor):
    """DINOv2 (Oquab et al., arXiv 2304.07193): the class token of the last layer; patch tokens as the map.

    Pictures are resized whole to 224 x 224; the authors' recipe would cut the borders off, where defects can be.
    """

    REPOSITORY = "facebook/dinov2-small"
    SIDE = 224

    def __init__(self, folder: Path | None, device: str) -> None:
        import torch

        transformers = needs("transformers", "transformers")
        self.name, self.device = "dinov2", torch.device(device)
        if folder is not None:
            network = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
            files = sorted(folder.glob("*.safetensors"))
            self.weights = f"sha256:{sha256(b''.join(path.read_bytes() for path in files))}"
        else:
            from ias_zoo.hub.remote import hub_errors

            with hub_errors(self.REPOSITORY, None, "read"):
                network = transformers.AutoModel.from_pretrained(self.REPOSITORY, use_safetensors=True)
            self.weights = f"{self.REPOSITORY}@{network.config._commit_hash}"
        self._network = network.eval().to(self.device)
        self._patch = int(network.config.patch_size)

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional

        mean = torch.tensor([0.485, 0.456, 0.406], device=self.device).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225], device=self.device).view(1, 3, 1, 1)
        side = (self.SIDE // self._patch) * self._patch
        x = functional.interpolate(images.to(self.device).float() / 255, size=(side, side), mode="bicubic")
        with torch.inference_mode():
            return torch.as_tensor(self._network((x.clamp(0, 1) - mean) / std).last_hidden_state)

    def outputs(self, images: torch.Tensor) -> Outputs:
        return Outputs(self._tokens(images)[:, 0].float().cpu(), None)

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        side = self.SIDE // self._patch
        tokens = self._tokens(images)[:, -side * side :]
        return [tokens.transpose(1, 2).reshape(len(images), -1, side, side)]
