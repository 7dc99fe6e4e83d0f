"""From requests to samples: which mask, which window of the normal, and a batch of both through the samplers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ias_zoo.data.images import is_grey
from ias_zoo.diffusion.base import Base, generator, undisturbed
from ias_zoo.diffusion.rows import rows_apart, share_out
from ias_zoo.errors import RequestError
from ias_zoo.imaging.cutouts import Shape
from ias_zoo.synthesizer import Drawn, Request
from ias_zoo.training.lora import without_lora
from ias_zoo.training.shots import Window, choose_window, see, see_mask
from ias_zoo_anomalydiffusion.attention import Reweighting
from ias_zoo_anomalydiffusion.composing import grown, inside, mixed, put_back, spread_out
from ias_zoo_anomalydiffusion.encoder import SpatialEncoder
from ias_zoo_anomalydiffusion.pictures import signed, to_cells
from ias_zoo_anomalydiffusion.sampling import along_border, draw_masks, paint
from ias_zoo_anomalydiffusion.words import Vectors, embed, template

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask
    from ias_zoo_anomalydiffusion.options import AnomalyDiffusionOptions


PAINT_TRIES = 4
"""How often a sample is painted that shows too little."""
SEEN_LEVELS = 18
"""Of 255: what the embedded base's autoencoder alone does to a pixel of a normal stays under this in 99 of 100."""


@dataclass
class Model:
    """What samples are made with: a base and what was trained for it.

    ``crop``: the side of the crops it saw. ``shot_masks``: the shots' masks as it saw them, S x S, by type.
    """

    base: Base
    defects: tuple[str, ...]
    tokens: Vectors
    encoder: SpatialEncoder
    mask_tokens: Vectors
    crop: int | None
    shot_masks: dict[str, list[Mask]]


@dataclass(frozen=True, eq=False)
class _Task:
    """One sample in the making."""

    defect: str
    normal: RGB
    window: Window
    given: Mask | None
    region: Mask | None
    generator: torch.Generator
    rng: np.random.Generator


def cells_of(options: AnomalyDiffusionOptions, base: Base) -> str:
    """How masks become latent cells on a base."""
    return options.cells or ("any" if base.small else "one")


def masks_of(options: AnomalyDiffusionOptions, base: Base) -> str:
    """Where masks come from on a base when none is given."""
    return options.masks or ("shots" if base.small else "drawn")


def composing_of(options: AnomalyDiffusionOptions, base: Base, whole: bool) -> str:
    """Where samples count, on a base; ``whole``: they are put back into a normal."""
    return options.compose or ("mask" if whole or base.small else "off")


@dataclass(frozen=True, eq=False)
class _Painted:
    """A painted crop. ``picture`` is what was painted onto, ``cells`` where in the latents; all of the model's size."""

    task: _Task
    prompt: str
    mask: Mask
    mask_tries: int
    cells: Mask
    picture: RGB
    image: RGB

    @property
    def seen(self) -> float:
        """The share of the mask's pixels in which some channel differs by more than ``SEEN_LEVELS``."""
        differs = np.abs(self.image.astype(np.int16) - self.picture).max(axis=2) > SEEN_LEVELS
        return float(differs[self.mask].mean()) if self.mask.any() else 0.0


def draw(
    model: Model,
    options: AnomalyDiffusionOptions,
    requests: Sequence[Request],
    rngs: Sequence[np.random.Generator],
) -> list[Drawn]:
    """Make a batch of samples.

    A sample whose mask shows too little is painted again, with a new mask where none was given; of ``PAINT_TRIES`` the
    one that shows most is taken.

    Raises
    ------
    RequestError
        If a type is unknown, a mask does not fit, or none can be drawn.
    """
    least = options.least_seen if options.least_seen is not None else 0.5 if model.base.small else 0.0
    with undisturbed(model.base.device) as threads:
        tasks = [_plan(model, request, rng) for request, rng in zip(requests, rngs, strict=True)]
        best: dict[int, _Painted] = {}
        for _ in range(PAINT_TRIES):
            wanted = [number for number in range(len(tasks)) if number not in best or best[number].seen < least]
            if not wanted:
                break
            made = _paint(model, options, [tasks[number] for number in wanted], threads)
            for number, painted in zip(wanted, made, strict=True):
                if number not in best or painted.seen > best[number].seen:
                    best[number] = painted
    return [_finished(model, options, best[number]) for number in range(len(tasks))]


def _paint(model: Model, options: AnomalyDiffusionOptions, tasks: list[_Task], threads: int) -> list[_Painted]:
    """Masks where none are given, and all of them painted."""
    base = model.base
    with without_lora(base.unet):
        masks, tries = _masks(model, options, tasks, threads)
    for number, task in enumerate(tasks):
        if task.given is None and task.region is not None:
            tasks[number], masks[number] = _placed(model, task, masks[number], task.region)
    pictures = [see(task.normal, task.window, base.resolution) for task in tasks]
    prompts = [template(task.rng) for task in tasks]
    spread = torch.from_numpy(np.stack(masks)).float().to(base.device)
    cells = to_cells(spread, base.resolution // base.cell, cells_of(options, base))
    normals = torch.stack([signed(picture) for picture in pictures]).to(base.device)
    weighing = None if options.reweight == "off" else Reweighting(base.unet, options.reweight)

    guidance = options.guidance or (7.0 if base.small else 1.0)
    empty = None if guidance == 1.0 else _empty(base)
    grey = normals.new_tensor([_in_grey(options, base, task.normal) for task in tasks], dtype=torch.bool)
    grey = grey[:, None, None, None]

    def work(part: slice) -> list[RGB]:
        places = model.encoder(spread[part])
        looks = [model.tokens.of(task.defect) for task in tasks[part]]
        vectors = [torch.cat([look, place]) for look, place in zip(looks, places, strict=True)]
        text, spans = embed(base, prompts[part], vectors)
        painted = paint(
            base,
            normals[part],
            cells[part],
            text,
            spans,
            [task.generator for task in tasks[part]],
            steps=options.sampling_steps or (25 if base.small else 200),
            eta=options.eta,
            guidance=guidance,
            empty=empty,
            clip=options.clip or (4.0 if base.small else None),
            weighing=weighing,
        )
        painted = torch.where(grey[part], painted.mean(dim=1, keepdim=True), painted)
        levels = ((painted.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return [np.ascontiguousarray(image) for image in levels]

    with weighing or nullcontext():
        images = share_out(work, len(tasks), threads, base.device)
    where = cells[:, 0].cpu().numpy() > 0
    return [_Painted(*each) for each in zip(tasks, prompts, masks, tries, where, pictures, images, strict=True)]


def _finished(model: Model, options: AnomalyDiffusionOptions, painted: _Painted) -> Drawn:
    """Put together what is painted and what is the normal's."""
    base, task, image, mask = model.base, painted.task, painted.image, painted.mask
    told = {
        "prompt": painted.prompt,
        "mask_tries": painted.mask_tries,
        "window": vars(task.window),
        "seen": round(painted.seen, 3),
    }
    whole = task.given is not None if options.output is None else options.output == "normal"
    how = composing_of(options, base, whole)
    share = np.ones(mask.shape, np.float32)
    if how == "soft":
        share = grown(painted.cells, mask, base.cell)
    elif how == "mask":  # put back, a given mask counts at the normal's own scale, to the pixel
        share = inside(mask if task.given is None or not whole else task.given[task.window.box])
    if whole:
        image = put_back(task.normal, image, share, task.window)
        mask = spread_out(mask, task.window, task.normal.shape) if task.given is None else task.given
    else:
        image = mixed(painted.picture, image, share)
    return Drawn(image=image, mask=np.array(mask), drawn=told, defect=task.defect)


def _in_grey(options: AnomalyDiffusionOptions, base: Base, normal: RGB) -> bool:
    wanted = base.small if options.grey is None else options.grey
    return wanted and is_grey(normal)


def _plan(model: Model, request: Request, rng: np.random.Generator) -> _Task:
    """What a request comes to: type, window, and its random numbers."""
    defect = request.defect or (model.defects[0] if len(model.defects) == 1 else None)
    if defect is None or defect not in model.defects:
        raise RequestError(f"request.defect is {request.defect!r}; these weights know {', '.join(model.defects)}")
    assert request.normal is not None  # noqa: S101 - the method needs normals
    window = choose_window(request.normal.shape, model.crop, request.mask, rng)
    drawn = generator(int(rng.integers(2**63)))
    return _Task(defect, request.normal, window, request.mask, request.region, drawn, rng)


def _masks(
    model: Model, options: AnomalyDiffusionOptions, tasks: Sequence[_Task], threads: int
) -> tuple[list[Mask], list[int]]:
    """The given masks as the model sees them, and new ones where none is given; how often each was drawn."""
    base = model.base
    found: dict[int, Mask] = {}
    tries = [0] * len(tasks)
    for number, task in enumerate(tasks):
        if task.given is not None:
            found[number] = see_mask(task.given, task.window, base.resolution)
        elif masks_of(options, base) == "shots":
            found[number] = _mirrored(model.shot_masks[task.defect], task.rng)
    reject = options.mask_border == "reject" or (options.mask_border is None and model.crop is None)
    for _ in range(options.mask_tries):
        wanted = [task for number, task in enumerate(tasks) if number not in found]
        if not wanted:
            break
        made = iter(_new_masks(model, options, wanted, threads))
        for number in range(len(tasks)):
            if number in found:
                continue
            mask = next(made)
            tries[number] += 1
            if mask.any() and not (reject and along_border(mask)):
                found[number] = mask
    for number, task in enumerate(tasks):
        if number not in found:
            raise RequestError(
                f"no usable mask of {task.defect!r} in {options.mask_tries} tries (empty"
                + (", or along the border)" if reject else ")")
                + "; fit with more mask_steps, set mask_threshold lower or mask_border=keep, or give masks"
            )
    return [found[number] for number in range(len(tasks))], tries


def _placed(model: Model, task: _Task, mask: Mask, region: Mask) -> tuple[_Task, Mask]:
    """A mask of the method's own moved into the region (ours): from then on as one that was given.

    Its size on the picture is that of the crop it was made for; what of it lies outside the region is cut off.
    """
    size = task.normal.shape[:2]
    shape = Shape.cut(task.defect, spread_out(mask, task.window, task.normal.shape))
    placed = replace(shape, sides=(False,) * 4).placed(size, region, task.rng)
    window = choose_window(size, model.crop, placed, task.rng)
    return replace(task, given=placed, window=window), see_mask(placed, window, model.base.resolution)


def _mirrored(masks: Sequence[Mask], rng: np.random.Generator) -> Mask:
    """One of the masks, as it is or mirrored along one axis or both."""
    mask = masks[int(rng.integers(len(masks)))]
    for axis in (0, 1):
        if rng.random() < 0.5:
            mask = np.flip(mask, axis)
    return np.ascontiguousarray(mask)


def _empty(base: Base) -> torch.Tensor:
    with torch.no_grad(), rows_apart(base.device):
        return base.embed([""])


def _new_masks(model: Model, options: AnomalyDiffusionOptions, tasks: Sequence[_Task], threads: int) -> list[Mask]:
    """A mask for each, whatever it is like."""
    base = model.base
    prompts = [template(task.rng) for task in tasks]
    empty = _empty(base)

    threshold = (0.0 if base.small else 0.8) if options.mask_threshold is None else options.mask_threshold

    def work(part: slice) -> list[Mask]:
        text, _ = embed(base, prompts[part], [model.mask_tokens.of(task.defect) for task in tasks[part]])
        return draw_masks(
            base,
            text,
            empty,
            [task.generator for task in tasks[part]],
            steps=options.mask_sampling_steps or (20 if base.small else 100),
            eta=options.eta,
            guidance=options.mask_guidance,
            threshold=threshold,
        )

    return share_out(work, len(tasks), threads, base.device)
