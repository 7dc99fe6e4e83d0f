"""LPIPS v0.1 (Zhang et al., CVPR 2018, arXiv 1801.03924): the perceptual distance, for pairs and for whole matrices.

With unit-length features u at each place of layer l and the learned weights w >= 0, LPIPS is
``sum_l mean_hw sum_c w_c (u_c - v_c)^2``. Scaling u by ``sqrt(w / (h w))`` makes it a squared Euclidean distance, so
that each picture goes through the network once and a matrix of distances is a matrix product.

The backbones are torchvision's, the learned layers those of the ``lpips`` package (or any safetensors copy of them).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.errors import OptionError, WeightsError
from ias_zoo.evaluation.extractors import (
    BATCH,
    Extractor,
    Outputs,
    WeightFiles,
    checked_files,
    download,
    fit_state,
    load_state,
    needs,
    to_batch,
)

if TYPE_CHECKING:
    import torch

    from ias_zoo.synthesizer import RGB

# Where the backbone's ``features`` are cut: after these many layers, each a ReLU (the lpips package's choice).
CUTS = {
    "lpips-squeeze": ("squeezenet1_1", "SqueezeNet1_1_Weights", (2, 5, 8, 10, 11, 12, 13)),
    "lpips-alex": ("alexnet", "AlexNet_Weights", (2, 5, 8, 10, 12)),
    "lpips-vgg": ("vgg16", "VGG16_Weights", (4, 9, 16, 23, 30)),
}
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of the pictures in [-1, 1] that the learned layers were trained on."""

HELD_BYTES = 768 * 2**20
"""How many bytes of embeddings are held at a time; more pictures go through the network again."""


class Lpips(Extractor):
    """LPIPS with one of three backbones; as an extractor, the backbone's last layer, averaged over the picture."""

    def __init__(self, name: str, backbone: Path, linear: Path, device: str) -> None:
        import torch

        models = needs("torchvision.models", "torchvision")
        self.name, self.device = name, torch.device(device)
        architecture, _, self._cuts = CUTS[name]
        state, backbone_hash = load_state(backbone)
        network = getattr(models, architecture)(weights=None)
        fit_state(network, state, backbone)
        for layer in network.modules():
            if isinstance(layer, torch.nn.ReLU):
                layer.inplace = False  # an in-place ReLU would change the features that were taken before it
        self._layers = network.features.eval().float().requires_grad_(False).to(self.device)
        learned, linear_hash = load_state(linear)
        self._linear = []
        for number in range(len(self._cuts)):
            weight = learned.get(f"lin{number}.model.1.weight")
            if weight is None or bool((weight < 0).any()):
                raise WeightsError(f"{linear}: no LPIPS v0.1 layers of {name} (lin{number}.model.1.weight)")
            self._linear.append(weight.float().flatten().to(self.device))
        self.weights = f"backbone {backbone_hash}, linear {linear_hash}"
        sizes = [layer.shape[1] for layer in self.maps(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))]
        if sizes != [len(weight) for weight in self._linear]:
            raise WeightsError(f"{linear}: made for another backbone than {architecture}")

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The backbone's feature maps where LPIPS taps them, each N x C x h x w."""
        import torch

        shift = torch.tensor(MEAN, device=self.device).view(1, 3, 1, 1)
        scale = torch.tensor(DEVIATION, device=self.device).view(1, 3, 1, 1)
        x = (images.to(self.device).float() / 127.5 - 1 - shift) / scale
        found, start = [], 0
        with torch.inference_mode():
            for cut in self._cuts:
                x = self._layers[start:cut](x)
                found.append(x)
                start = cut
        return found

    def outputs(self, images: torch.Tensor) -> Outputs:
        """The last tapped layer averaged over the picture, N x C; LPIPS has no classes."""
        return Outputs(self.maps(images)[-1].mean((2, 3)).cpu(), None)

    def embed(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Vectors whose squared Euclidean distances, added up over the layers, are LPIPS; each N x (C h w)."""
        layers = []
        for taken, weight in zip(self.maps(images), self._linear, strict=True):
            unit = taken / (taken.square().sum(1, keepdim=True).sqrt() + 1e-10)
            places = taken.shape[2] * taken.shape[3]
            layers.append((unit * (weight / places).sqrt().view(1, -1, 1, 1)).flatten(1))
        return layers

    def distance(self, first: Sequence[RGB], second: Sequence[RGB], *, batch: int = BATCH) -> np.ndarray[Any, Any]:
        """LPIPS of pairs: ``first[i]`` with ``second[i]``, all of one size; N float64."""
        parts: list[Any] = []
        for i in range(0, len(first), batch):
            a, b = self.embed(to_batch(first[i : i + batch])), self.embed(to_batch(second[i : i + batch]))
            parts.append(sum((u - v).square().sum(1).double() for u, v in zip(a, b, strict=True)).cpu().numpy())  # type: ignore[union-attr]
        return np.concatenate(parts) if parts else np.zeros(0)

    def matrix(self, rows: Sequence[RGB], columns: Sequence[RGB] | None = None) -> np.ndarray[Any, Any]:
        """LPIPS of every row with every column, R x C float64; without columns, of the rows with one another.

        Exact to about 1e-6, since squared distances come from a matrix product.
        """
        others = rows if columns is None else columns
        found = np.zeros((len(rows), len(others)))
        if not len(rows) or not len(others):
            return found
        one = sum(layer[0].numel() * layer.element_size() for layer in self.embed(to_batch(rows[:1])))
        block = max(1, HELD_BYTES // one)
        for top in range(0, len(rows), block):
            held = self._embed_all(rows[top : top + block])
            for left in range(top if columns is None else 0, len(others), BATCH):
                same = columns is None and left + BATCH <= top + block  # these are held already
                part = (
                    [layer[left - top : left - top + BATCH] for layer in held]
                    if same
                    else self.embed(to_batch(others[left : left + BATCH]))
                )
                found[top : top + block, left : left + BATCH] = _squared(held, part)
        if columns is None:
            upper = np.triu(found, 1)
            found = upper + upper.T
        return found

    def _embed_all(self, pictures: Sequence[RGB]) -> list[torch.Tensor]:
        import torch

        parts = [self.embed(to_batch(pictures[i : i + BATCH])) for i in range(0, len(pictures), BATCH)]
        return [torch.cat(layers) for layers in zip(*parts, strict=True)]


def _squared(rows: Sequence[torch.Tensor], columns: Sequence[torch.Tensor]) -> np.ndarray[Any, Any]:
    """Squared Euclidean distances, added up over the layers, R x C; never below 0."""
    total: Any = 0.0
    for a, b in zip(rows, columns, strict=True):
        inner = (a @ b.T).double()
        total = total + a.square().sum(1).double()[:, None] + b.square().sum(1).double()[None] - 2 * inner
    return np.asarray(total.clamp_min(0).cpu().numpy())


def load_lpips(name: str = "lpips-squeeze", *, weights: WeightFiles | None = None, device: str = "cpu") -> Lpips:
    """Load LPIPS with the backbone that its name says.

    Parameters
    ----------
    weights:
        ``lpips-backbone``: the backbone in torchvision's names, else torchvision's own download;
        ``lpips-linear``: the learned layers in the lpips package's names, else those of the installed package.

    Raises
    ------
    OptionError, WeightsError, MissingDependency
    """
    if name not in CUTS:
        raise OptionError(f"no LPIPS {name!r}; there are: {', '.join(CUTS)}")
    files = checked_files(weights)
    architecture, catalogue, _ = CUTS[name]
    linear = files.get("lpips-linear") or _packaged(name)
    backbone = files.get("lpips-backbone")
    advice = (
        f"{name} takes two files: --weights lpips-backbone=FILE ({architecture}, torchvision's names) and "
        f"--weights lpips-linear=FILE (the learned layers; `pip install lpips` brings them)"
    )
    if linear is None:
        raise WeightsError(f"{name}: the learned layers are missing. {advice}")
    if backbone is None:
        models = needs("torchvision.models", "torchvision")
        url = getattr(models, catalogue).IMAGENET1K_V1.url
        backbone = download(url, f"{name}, its backbone {architecture}", advice)
    return Lpips(name, backbone, linear, device)


def _packaged(name: str) -> Path | None:
    """The learned layers that the lpips package ships, where it is installed; it is not imported."""
    found = importlib.util.find_spec("lpips")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "weights" / "v0.1" / f"{name.removeprefix('lpips-')}.pth"
    return path if path.is_file() else None
