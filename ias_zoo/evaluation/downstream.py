"""Downstream gain: what a synthetic set is worth to a detector that is trained on it and tested on real pictures.

Three arms share the test, the protocol and the seeds:

``shots``
    the shots with ordinary augmentation, and normals;
``both``
    shots, normals and the synthetic set. How the set is used is part of the answer: it is mixed in at some share, or
    trained on before the shots. That choice is made on shots held out from training, never on the test;
``synthetic``
    the synthetic set and normals, no shot.

Every arm trains for the same number of steps and keeps its last weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data.images import resize_mask
from ias_zoo.errors import DataError, OptionError
from ias_zoo.evaluation.gathered import cover
from ias_zoo.evaluation.pictures import TestItem, not_made_of, numbers_by_defect, read_samples, read_shots, read_test
from ias_zoo.evaluation.protocols import Protocol
from ias_zoo.evaluation.scores import PixelScores, image_scores
from ias_zoo.evaluation.segmenter import Phase, Segmenter, train_segmenter
from ias_zoo.evaluation.tiles import View
from ias_zoo.generation.requests import Normals
from ias_zoo.generation.seeds import seed_for
from ias_zoo.report.results import interval

if TYPE_CHECKING:
    from ias_zoo.generation.requests import NormalsLike
    from ias_zoo.training.shots import Shot

    Step = Callable[[str, int, int, float], None]

__all__ = ["ARMS", "TestItem", "difference", "gain", "read_samples", "read_shots", "read_test", "run_arm", "summarise"]

ARMS = ("shots", "both", "synthetic")
_CHOICE_NORMALS = 16
_LOSS_POINTS = 200


def run_arm(
    arm: str,
    shots: Sequence[Shot],
    normals: NormalsLike,
    test: Sequence[TestItem],
    synthetic: Sequence[Shot] | None,
    protocol: Protocol,
    seed: int,
    *,
    use: str | None = None,
    device: str = "auto",
    step: Step = lambda stage, number, steps, loss: None,
) -> dict[str, Any]:
    """Train one arm with one seed and test it.

    Parameters
    ----------
    arm:
        ``shots``, ``both`` or ``synthetic``. Arm ``shots`` looks at no synthetic picture: it is the same for every
        method and needs computing once.
    use:
        How arm ``both`` uses the synthetic set, where that is decided already; None decides it on held-out shots.
    step:
        Called after every training step with the stage's name, the step, how many there are, and the loss.

    Returns
    -------
    dict
        JSON-able: ``scores`` (pixel scores as of :class:`ias_zoo.evaluation.scores.PixelScores` under ``pixel_*``,
        ``pixel_ap_types`` (the mean over the types of their pixel AP: in the pooled one a few large defects outweigh
        all small ones), image scores under ``image_*``, ``type_accuracy``), ``by_defect``, ``precision_recall``,
        ``pictures`` (each test picture's image score), ``use`` (how the synthetic set was used), ``choice`` (how that
        was decided), ``loss``, ``seconds``, ``view``, ``protocol``, ``seed`` and ``counts``.

    Raises
    ------
    OptionError
        For an unknown arm.
    DataError
        If there are no shots, no synthetic pictures where the arm needs them, or a shot is among the test pictures.
    """
    import torch

    if arm not in ARMS:
        raise OptionError(f"no arm {arm!r}; there are {', '.join(ARMS)}")
    made: Sequence[Shot] = synthetic if synthetic is not None and arm != "shots" else ()
    if arm != "shots" and not made:
        raise DataError(f"arm {arm!r} needs synthetic pictures, and there are none")
    both = sorted({shot.id for shot in shots} & {item.id for item in test})
    if not shots or both:
        raise DataError(f"training shots are among the test pictures: {', '.join(both[:5])}" if both else "no shots")
    normals = normals if isinstance(normals, Normals) else Normals(normals)
    view = View.choose(shots, protocol.side, protocol.crop, protocol.tile_side)
    setting = _Setting(normals, protocol, view, seed, device, step)
    clock = time.perf_counter()
    choice: dict[str, Any] | None = None
    if arm != "both":
        use = arm
    elif use is None:
        use, choice = _choose_use(shots, made, setting)
    else:
        choice = {"how": "given"}
    seconds = {"choice": time.perf_counter() - clock}
    clock = time.perf_counter()
    segmenter = setting.train(f"{arm} ({use})", shots, made, use, protocol.steps)
    seconds["train"] = time.perf_counter() - clock
    clock = time.perf_counter()
    tested = _test(segmenter, test, protocol)
    seconds["test"] = time.perf_counter() - clock
    clock = time.perf_counter()
    accuracy, why = _type_accuracy(arm, shots, made, test, setting)
    seconds["classifier"] = time.perf_counter() - clock
    tested["scores"]["type_accuracy"] = accuracy
    every = max(1, -(-len(segmenter.losses) // _LOSS_POINTS))
    return {
        "arm": arm,
        "seed": seed,
        "use": use,
        "choice": choice,
        **tested,
        "type_accuracy_note": why,
        "loss": {"every": every, "values": [round(value, 5) for value in segmenter.losses[::every]]},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "view": view.to_json(),
        "channels": 1 if segmenter.grey else 3,
        "protocol": protocol.to_json(),
        "counts": {"shots": len(shots), "normals": len(normals), "synthetic": len(made), "test": len(test)},
        "machine": {
            "device": str(next(segmenter.network.parameters()).device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }


def gain(
    shots: Sequence[Shot],
    normals: NormalsLike,
    test: Sequence[TestItem],
    synthetic: Sequence[Shot] | None,
    protocol: Protocol,
    seed: int,
    *,
    arms: Sequence[str] = ARMS,
    real: Mapping[str, Any] | None = None,
    use: str | None = None,
    device: str = "auto",
    step: Step = lambda stage, number, steps, loss: None,
) -> dict[str, Any]:
    """Run the arms with one seed.

    Parameters
    ----------
    real:
        The result of arm ``shots`` with the same seed and protocol, where it is known already.
    use:
        As of :func:`run_arm`.

    Returns
    -------
    dict
        ``seed``; ``arms``: each arm's result of :func:`run_arm`; ``gain``: for each other arm, its scores minus those
        of ``shots``.

    Raises
    ------
    DataError
        If ``real`` is of another seed or protocol.
    """
    if real is not None and (real["arm"], real["seed"], real["protocol"]) != ("shots", seed, protocol.to_json()):
        raise DataError("the result given for the shots alone is of another arm, seed or protocol")
    normals = normals if isinstance(normals, Normals) else Normals(normals)
    results: dict[str, Any] = {} if real is None else {"shots": dict(real)}
    for arm in arms if synthetic else ("shots",):
        if arm not in results:
            results[arm] = run_arm(
                arm, shots, normals, test, synthetic, protocol, seed, use=use, device=device, step=step
            )
    base = results.get("shots")
    differences = {
        arm: difference(result["scores"], base["scores"]) for arm, result in results.items() if base and arm != "shots"
    }
    return {"seed": seed, "arms": results, "gain": differences}


def difference(scores: Mapping[str, float | None], base: Mapping[str, float | None]) -> dict[str, float | None]:
    """Score by score, None where either is; thresholds are left out."""
    result: dict[str, float | None] = {}
    for name, value in scores.items():
        other = base.get(name)
        if not name.endswith("threshold"):
            result[name] = None if value is None or other is None else value - other
    return result


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Bring several seeds' results of :func:`gain` together.

    Returns
    -------
    dict
        ``seeds``; ``arms``: for each arm and score ``mean``, ``sd`` (of the sample) and ``values``, seed by seed;
        ``gain``: for each arm and score the same of the paired differences to the shots alone, and ``low``, ``high``:
        Student's 95 % interval of the mean difference, None with fewer than two seeds. The seeds vary the network's
        start and the training's draws, not the choice of shots or test pictures: the interval says nothing of those.

    Raises
    ------
    DataError
        If a seed comes twice or the protocols differ.
    """
    seeds = [result["seed"] for result in results]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"a seed comes twice: {seeds}")
    protocols = [arm["protocol"] for result in results for arm in result["arms"].values()]
    if any(protocol != protocols[0] for protocol in protocols):
        raise DataError("results of different protocols cannot be brought together")
    arms = list(dict.fromkeys(arm for result in results for arm in result["arms"]))
    summary: dict[str, Any] = {"seeds": seeds, "arms": {}, "gain": {}}
    for arm in arms:
        runs = [result["arms"][arm]["scores"] for result in results if arm in result["arms"]]
        summary["arms"][arm] = {name: spread([run[name] for run in runs]) for name in runs[0]}
        paired = [result["gain"][arm] for result in results if arm in result["gain"]]
        if paired:
            columns = {name: [run[name] for run in paired] for name in paired[0]}
            summary["gain"][arm] = {
                name: {**spread(values), **dict(zip(("low", "high"), interval(values), strict=True))}
                for name, values in columns.items()
            }
    return summary


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard deviation of the sample; None where a value is missing, or one alone has no spread."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return {"mean": None, "sd": None, "values": list(values)}
    return {"mean": fmean(known), "sd": stdev(known) if len(known) > 1 else None, "values": known}


@dataclass(frozen=True)
class _Setting:
    """What all trainings of one call share."""

    normals: Normals
    protocol: Protocol
    view: View
    seed: int
    device: str
    step: Step

    def train(self, stage: str, shots: Sequence[Shot], made: Sequence[Shot], use: str, steps: int) -> Segmenter:
        return train_segmenter(
            shots,
            made,
            self.normals,
            self.protocol,
            self.view,
            phases_of(use, steps),
            self.seed,
            device=self.device,
            step=lambda number, of, loss: self.step(stage, number, of, loss),
        )


def phases_of(use: str, steps: int) -> tuple[Phase, ...]:
    """``shots``, ``synthetic``, ``mix:S`` and ``pretrain:S`` as phases of training."""
    if use in ("shots", "synthetic"):
        return (Phase(steps, float(use == "synthetic")),)
    kind, _, share = use.partition(":")
    if kind == "mix":
        return (Phase(steps, float(share)),)
    first = round(steps * float(share))
    return (Phase(first, 1.0), Phase(steps - first, 0.0))


def _choose_use(shots: Sequence[Shot], made: Sequence[Shot], setting: _Setting) -> tuple[str, dict[str, Any]]:
    """Decide how to use the synthetic set, on shots held out from training.

    Samples that were copied from a held-out shot are left out. A method that learns from shots has seen the held-out
    ones too, and its samples may repeat them: the choice may lean to larger shares then. The test is not touched by
    that.
    """
    protocol = setting.protocol
    if len(protocol.uses) == 1:
        return protocol.uses[0], {"how": "the protocol has one use only"}
    parts = _folds(shots, protocol.folds, setting.seed)[: protocol.rounds]
    if not parts:
        return protocol.uses[0], {"how": "the protocol's first use: no type has two shots, so none can be held out"}
    found: dict[str, list[float]] = {use: [] for use in protocol.uses}
    samples: list[int] = []
    for held in parts:
        kept = [shot for number, shot in enumerate(shots) if number not in held]
        items = [TestItem(shots[n].id, shots[n].image, shots[n].mask, shots[n].defect) for n in sorted(held)]
        left = not_made_of({item.id for item in items}, made)
        if not left:
            return protocol.uses[0], {"how": "the protocol's first use: every sample was copied from a held-out shot"}
        samples.append(len(left))
        items += _some_normals(setting)
        for use in protocol.uses:
            segmenter = setting.train(f"choosing ({use})", kept, left, use, protocol.choice_steps)
            found[use].append(float(_test(segmenter, items, protocol)["scores"]["pixel_ap_types"]))
    best = max(found, key=lambda use: fmean(found[use]))
    return best, {
        "how": "pixel AP on held-out shots, mean over the types",
        "pixel_ap_types": found,
        "held": [[shots[number].id for number in sorted(held)] for held in parts],
        "synthetic": samples,
        "steps": protocol.choice_steps,
    }


def _folds(shots: Sequence[Shot], folds: int, seed: int) -> list[set[int]]:
    """Disjoint sets of shots to hold out; each keeps at least one shot of each type for training."""
    rng = np.random.default_rng(seed_for(seed, "folds"))
    parts: list[set[int]] = [set() for _ in range(folds)]
    for numbers in numbers_by_defect(shots).values():
        order = [numbers[int(place)] for place in rng.permutation(len(numbers))]
        if len(order) > 1:
            for place, number in enumerate(order):
                parts[place % folds].add(number)
    return [part for part in parts if part]


def _some_normals(setting: _Setting) -> list[TestItem]:
    """A few training normals beside the held-out shots: the share matters for false alarms as well."""
    places = np.linspace(0, len(setting.normals) - 1, min(_CHOICE_NORMALS, len(setting.normals))).round().astype(int)
    chosen = [setting.normals.read(int(place)) for place in places]
    return [TestItem(each.id, each.image, np.zeros(each.image.shape[:2], np.bool_), None) for each in chosen]


def _test(segmenter: Segmenter, test: Sequence[TestItem], protocol: Protocol) -> dict[str, Any]:
    import cv2

    pixels = PixelScores()
    pictures: list[dict[str, Any]] = []
    window = (protocol.image_pool, protocol.image_pool)
    for item in test:
        score, mask = segmenter.score_map(item.image), item.mask
        side = protocol.score_side
        if side is not None:
            score = np.asarray(cv2.resize(score, (side, side), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
            smaller = resize_mask(mask, side, side)
            # A thin defect may cover half of no pixel: it must not vanish, or missing it would cost nothing.
            mask = smaller if smaller.any() or not mask.any() else cover(mask, side)
        pixels.add(score, mask, item.defect)
        probability = cv2.blur(1 / (1 + np.exp(-np.clip(score, -60, 60))), window)
        pictures.append({"id": item.id, "defect": item.defect, "score": float(probability.max())})
    scores = {f"pixel_{name}": value for name, value in pixels.scores().items()}
    kinds = pixels.by_defect()
    each = [row["ap"] for row in kinds.values() if row["ap"] is not None]
    scores["pixel_ap_types"] = fmean(each) if each else None
    whole = image_scores([row["score"] for row in pictures], [row["defect"] is not None for row in pictures])
    scores |= {f"image_{name}": value for name, value in whole.items()}
    return {
        "scores": scores,
        "by_defect": kinds,
        "precision_recall": pixels.curve(),
        "pictures": pictures,
    }


def _type_accuracy(
    arm: str, shots: Sequence[Shot], made: Sequence[Shot], test: Sequence[TestItem], setting: _Setting
) -> tuple[float | None, str | None]:
    """Accuracy of the defect type, or None and why there is none."""
    if not setting.protocol.classifier_steps:
        return None, "the protocol has no classifier"
    from ias_zoo.evaluation.classifier import type_accuracy

    names = sorted({shot.defect for shot in shots})
    if len(names) < 2:
        return None, "one defect type only"
    real = shots if arm != "synthetic" else ()
    return type_accuracy(real, made, test, names, setting.protocol, setting.seed, device=setting.device)
