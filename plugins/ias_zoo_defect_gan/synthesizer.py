"""Defect-GAN: defects painted onto pictures of good parts by a generator that also learns to take them off.

Gongjie Zhang, Kaiwen Cui, Tzu-Yi Hung, Shijian Lu: *Defect-GAN: High-Fidelity Defect Synthesis for Automated Defect
Inspection*, WACV 2021, arXiv 2103.15158.

One generator does both processes, steered by a control map: defacement (normal to defect) and restoration (defect to
normal). It gives a foreground and a spatial distribution map, and its output is the foreground laid over the input
through that map. The discriminator tells real from made and names the category. There is no code of the authors.

Ours, each an option, and named in the card: few-shot fitting from a base (LoRA on the decoder), masks of shots as
targets of the maps and as control maps, and the mask of a sample, which is where its map exceeds a threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ias_zoo import Drawn, Request
from ias_zoo.errors import OptionError, RequestError, WeightsError
from ias_zoo.training.trainable import TrainableSynthesizer
from ias_zoo_defect_gan.painting import Painter
from ias_zoo_defect_gan.shapes import shapes_from_tensors, shapes_to_tensors

if TYPE_CHECKING:
    from ias_zoo_defect_gan.options import DefectGANOptions


class DefectGAN(TrainableSynthesizer):
    """Defect-GAN (see the module's docstring)."""

    options: DefectGANOptions
    devices = ("cpu", "cuda")
    trained_options = ("adapter", "rank", "alpha", "restore_control", "classes", "size", "width")

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Paint a defect of the request's type onto its normal.

        A type may be several, joined by ``+``. ``drawn`` says where the defect was asked for (``place``: the request's
        ``mask``, a ``shape`` of a shot, or ``free``) and the ``square`` that the model saw (top, left, side).
        """
        defects = self.defects
        assert self._painter is not None and request.normal is not None  # noqa: S101, PT018 - fitted, and it is needed
        defect = request.defect or (defects[0] if len(defects) == 1 else None)
        names = [defect] if defect in defects else (defect or "").split("+")
        if defect is None or not set(names) <= set(defects):
            known = ", ".join(defects)
            raise RequestError(f"request.defect is {request.defect!r}; these weights know {known}")
        categories = [defects.index(name) for name in names]
        made = self._painter.paint(request.normal, categories, rng, region=request.region, mask=request.mask)
        return Drawn(image=made.image, mask=made.mask, label_map=made.map, drawn=made.drawn, defect=defect)
