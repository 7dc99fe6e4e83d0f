"""Which method makes the detector better: several methods fitted, run and evaluated on one split, in one table.

Every experiment (a method with a seed) is a folder of its own with its options, its samples and its result, so that a
comparison goes on where it was stopped, and adding a method runs only what is missing. The layout is described in
:mod:`ias_zoo.report.results`, which reads it. Beside the methods asked for there are always the shots alone and the
methods that say they are a baseline. What was run with other pictures, options or versions is never reused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ias_zoo
from ias_zoo.data import DataSet, open_data
from ias_zoo.data.groups import Groups
from ias_zoo.data.images import write_whole
from ias_zoo.diffusion.fetch import check_base
from ias_zoo.errors import IasZooError, MissingDependency, OptionError, RunError
from ias_zoo.evaluation.downstream import gain
from ias_zoo.evaluation.kept import SETTINGS, claim, digest, finished, measures_record, write_result, write_settings
from ias_zoo.evaluation.leaks import GroupSplit, split_by_group
from ias_zoo.evaluation.pictures import read_samples, read_shots, read_test
from ias_zoo.evaluation.protocols import Protocol, find_protocol
from ias_zoo.evaluation.quality import measure
from ias_zoo.generation.folder import only_run_in
from ias_zoo.generation.plan import PLAN_FILE, make_plan
from ias_zoo.generation.provenance import PROVENANCE, read_provenance
from ias_zoo.generation.requests import Normals
from ias_zoo.generation.run import run
from ias_zoo.generation.seeds import seed_for
from ias_zoo.hub import read_weights
from ias_zoo.method import Method, Produces, Trains
from ias_zoo.options import build_options, options_to_json
from ias_zoo.registry import Entry, State, registry
from ias_zoo.report.results import (
    FORMAT,
    REAL_ONLY,
    SHOTS,
    TRAINING_FILE,
    Comparison,
    read_comparison,
    read_json,
)
from ias_zoo.synthesizer import copies_shots
from ias_zoo.training.devices import pick_device

Step = Callable[[str, str, int, int], None]
"""Called with the experiment, what it is at, the step and how many there are."""

GENERATED, WEIGHTS = "generated", "weights"
COST = "cost.json"
"""What making a seed's samples took."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is compared on.

    Attributes
    ----------
    data:
        A folder or manifest with normals, defects and masks.
    shots:
        How many groups of each type are for training, one picture of each; or a number for each type. None: a third.
    group_by:
        A pattern that finds a picture's group in its id; see :class:`ias_zoo.data.groups.Groups`.
    per_group:
        How many pictures of a group are tested on at most; None: all.
    protocol, encoder:
        A preset's name, and a file of weights for its encoder.
    n:
        Synthetic pictures of a method and seed, over all types.
    base, options:
        For methods that start from a base: which; and by method its options.
    fit_each_seed:
        Fit anew for each seed. Otherwise a method is fitted once, and the seeds vary samples and detector only.
    measures:
        Arguments for :func:`ias_zoo.evaluation.quality.measure` (``extractor``, ``lpips``, ``detector``, ``weights``).
        Without them only masks are measured, which needs no network's weights.
    """

    data: Path
    shots: int | Mapping[str, int] | None = None
    defects: Sequence[str] | None = None
    group_by: str | None = None
    per_group: int | None = None
    protocol: str = "quick"
    encoder: Path | None = None
    seeds: int | None = None
    n: int = 300
    base: str | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fit_each_seed: bool = False
    measures: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    white: int | None = None
    workers: int = 1


def compare(
    task: Task, methods: Sequence[str], out: Path, *, step: Step = lambda experiment, what, number, steps: None
) -> Comparison:
    """Run what is missing of a comparison, and read the whole.

    Parameters
    ----------
    methods:
        Names, beside the baselines. Methods of an earlier call in the same folder stay in the table.

    Returns
    -------
    Comparison
        With ``failed``: the methods that an error stopped, and its words. The others are run all the same.

    Raises
    ------
    OptionError, DataError, RunError, UnknownMethod, MissingDependency, ...
        Before anything is run where that can be known.
    """
    protocol = find_protocol(task.protocol, task.encoder)
    seeds = protocol.seeds if task.seeds is None else task.seeds
    if seeds < 1 or task.n < 1:
        raise OptionError(f"seeds={seeds}, n={task.n}: expected at least 1")
    if task.workers < 1:
        raise OptionError(f"workers={task.workers}: expected at least 1")
    entries = _entries(methods)
    for name in task.options:
        if name not in entries:
            raise OptionError(f"options for {name!r}, which is not among the methods: {', '.join(entries)}")
    identities = {name: _identity(entry, task) for name, entry in entries.items()}
    data = open_data(task.data, white=task.white)
    groups = Groups.of(data, task.group_by)
    split = split_by_group(data, task.shots, defects=task.defects, groups=groups, per_group=task.per_group)
    common = _common(task, protocol, split)
    if task.base is not None:
        check_base(task.base)
    for name, entry in entries.items():
        if any(finished(out / name / f"seed-{seed}") is None for seed in range(seeds)):
            _load(entry.method, task)  # a wrong base or path is told now, not after hours
    out.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    with only_run_in(out):
        write_settings(out, common, list(entries), list(range(seeds)))
        for name, identity in identities.items():
            claim(out / name, {"common": digest(common), **identity})
        bench = _Bench(task, out, data, split, protocol, common, step)
        for seed in range(seeds):
            bench.real_only(seed)
        for name, entry in entries.items():
            try:
                for seed in range(seeds):
                    bench.experiment(entry.method, seed)
            except IasZooError as error:  # one method's trouble is not the others'
                failed[name] = str(error)
    return replace(read_comparison(out), failed=failed)


def _entries(methods: Sequence[str]) -> dict[str, Entry]:
    """The baselines, which are what the others have to beat, and the methods asked for, by name."""
    known = registry()
    baselines = [entry for entry in known.entries() if entry.method.baseline and entry.state is State.READY]
    if not baselines:
        raise RunError("no baseline method is installed: install ias-zoo again, `ias-zoo list` shows what is missing")
    entries: dict[str, Entry] = {}
    for entry in (*baselines, *(known.find(name) for name in methods)):
        if entry.method.produces is not Produces.IMAGE:
            raise OptionError(f"{entry.method.name} perturbs feature maps; only methods that make images are compared")
        if entry.state is not State.READY:
            raise MissingDependency(f"{entry.method.name} {entry.hint}")
        entries[entry.method.name] = entry
    return entries


def _identity(entry: Entry, task: Task) -> dict[str, Any]:
    """What decides a method's samples, beside what all share; refuses wrong options."""
    name = entry.method.name
    given = dict(task.options.get(name, {}))
    return {
        "options": options_to_json(build_options(registry().options_class(name), given, method=name)),
        "base": task.base if entry.method.trains is not Trains.NONE else None,
        "plugin": f"{entry.plugin.distribution} {entry.plugin.version}",
    }


def _load(method: Method, task: Task) -> Any:
    """A synthesizer with what was given for its method."""
    given = task.options.get(method.name, {})
    if method.trains is Trains.NONE:
        return ias_zoo.load(method.name, **given)
    return ias_zoo.load(method.name, base=task.base, device=task.device, **given)


def _common(task: Task, protocol: Protocol, split: GroupSplit) -> dict[str, Any]:
    """What all results of a folder must share to be comparable."""
    counts: dict[str, int] = {}
    for item in split.shots:
        counts[str(item.defect)] = counts.get(str(item.defect), 0) + 1
    return {
        "format": FORMAT,
        "data": str(task.data.expanduser().resolve()),
        "defects": sorted(counts),
        "shots": counts,
        "split": split.to_json(),
        "white": task.white,
        "protocol": protocol.to_json(),
        "device": pick_device(task.device).type,
        "zoo_version": ias_zoo.__version__,
        "n": task.n,
        "fit_each_seed": task.fit_each_seed,
    }


class _Bench:
    """Runs single experiments of one comparison."""

    def __init__(
        self, task: Task, out: Path, data: DataSet, split: GroupSplit, protocol: Protocol, common: dict[str, Any],
        step: Step,
    ) -> None:  # fmt: skip
        self.task, self.out, self.data, self.split, self.protocol, self.step = task, out, data, split, protocol, step
        self.measures = measures_record(task.measures)
        self.shots = read_shots(data, split.shots)
        self.normals = Normals(split.training_data())
        self.test = read_test(data, split.test)

    def real_only(self, seed: int) -> dict[str, Any]:
        """The shots alone; every method is compared with it."""
        folder = self.out / REAL_ONLY / f"seed-{seed}"
        found = finished(folder)
        if found is None:
            found = _result(REAL_ONLY, seed, {}, {}, {}, {}, self._gain(REAL_ONLY, None, seed, None, None))
            write_result(folder, found)
        return found

    def experiment(self, method: Method, seed: int) -> None:
        """Fit where needed, generate, measure, evaluate; skipped when the result is there."""
        folder = self.out / method.name / f"seed-{seed}"
        found = finished(folder)
        if found is not None:
            if self.measures and found.get("measures") != self.measures:  # asked for since: nothing else is run again
                quality = self._measure(method, seed, folder)
                write_result(folder, {**found, "quality": quality, "measures": self.measures})
            return
        folder.mkdir(parents=True, exist_ok=True)
        # Only what was given: an option left out may mean "as the base has it".
        options = dict(self.task.options.get(method.name, {}))
        weights, cost = self._fit(method, seed, folder) if method.trains is not Trains.NONE else (None, {})
        seconds = self._generate(method, options, weights, seed, folder)
        refused = sum("error" in line for line in read_provenance(folder / GENERATED))
        if 2 * refused > self.task.n:
            raise RunError(
                f"{refused} of {self.task.n} pictures of seed {seed} could not be made; see "
                f"{folder / GENERATED / PROVENANCE}; give other options, and a new --out"
            )
        quality = self._measure(method, seed, folder)
        alone = self.real_only(seed)["detail"]["arms"][SHOTS]
        use = self._use(method, seed)
        detail = self._gain(method.name, read_samples(folder / GENERATED), seed, alone, use)
        cost = {"fit_seconds": None, "peak_mb": None, **cost, "generate_seconds": seconds}
        known = read_json(folder.parent / SETTINGS)["options"]
        result = _result(method.name, seed, known, options, cost, quality, detail)
        write_result(folder, {**result, "measures": self.measures, "refused": refused})

    def _measure(self, method: Method, seed: int, folder: Path) -> dict[str, Any]:
        return measure(
            folder / GENERATED,
            self.data,
            shots=[item.id for item in self.split.shots],
            held=[item.id for item in self.split.test if item.defect is not None],
            normals=[item.id for item in self.split.normals],
            seed=seed,
            device=str(pick_device(self.task.device)),
            step=lambda what: self.step(f"{method.name}, seed {seed}", f"measuring, {what}", 0, 1),
            **({"extractor": None, "lpips": None} | dict(self.task.measures)),
        )

    def _fit(self, method: Method, seed: int, folder: Path) -> tuple[Path, dict[str, float | None]]:
        place = (folder if self.task.fit_each_seed else folder.parent) / WEIGHTS
        if not place.is_dir():
            synthesizer = _load(method, self.task)
            name = f"{method.name}, seed {seed}" if self.task.fit_each_seed else method.name

            def told(stage: str, number: int, steps: int, loss: float) -> None:
                self.step(name, f"fitting, {stage}", number, steps)

            fit_seed = seed if self.task.fit_each_seed else 0
            synthesizer.fit(self.split.training_set(), out=place, resume=True, seed=fit_seed, step=told)
        facts = read_weights(place, method=method.name).facts
        if (place / TRAINING_FILE).is_file() and not self.task.fit_each_seed:
            shutil.copyfile(place / TRAINING_FILE, folder / TRAINING_FILE)
        return place, {"fit_seconds": facts.get("seconds"), "peak_mb": facts.get("peak_memory_mb")}

    def _generate(
        self, method: Method, options: dict[str, Any], weights: Path | None, seed: int, folder: Path
    ) -> float | None:
        out = folder / GENERATED
        plan = make_plan(
            method.name,
            self.task.data,
            self.task.n,
            seed=seed_for(seed, "compare") % 2**31,
            options=options,
            weights=None if weights is None else str(weights),
            base=self.task.base if weights is not None else None,
            device=self.task.device,
            shots=[item.id for item in self.split.shots] if copies_shots(method) else None,
            normals=[item.id for item in self.split.normals],
            white=self.task.white,
        )
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            self.step(f"{method.name}, seed {seed}", "generating", done, plan.n)

        resumed = (out / PLAN_FILE).is_file()
        summary = run(plan, out, workers=self.task.workers, resume=resumed, step=told)
        if not summary.skipped:
            write_whole(folder / COST, json.dumps({"generate_seconds": round(summary.seconds, 2)}).encode())
        elif summary.made:
            (folder / COST).unlink(missing_ok=True)  # a run in several pieces has no time of its own
        return read_json(folder / COST)["generate_seconds"] if (folder / COST).is_file() else None

    def _use(self, method: Method, seed: int) -> str | None:
        """How the first seed's samples were best used: decided once a method, so that seeds vary nothing else."""
        if seed == 0:
            return None
        found = finished(self.out / method.name / "seed-0")
        assert found is not None  # noqa: S101 - seeds are run in order
        return str(found["use"]["both"])

    def _gain(
        self, name: str, synthetic: Any, seed: int, real: Mapping[str, Any] | None, use: str | None
    ) -> dict[str, Any]:
        def told(stage: str, number: int, steps: int, loss: float) -> None:
            self.step(f"{name}, seed {seed}", stage, number, steps)

        return gain(
            self.shots,
            self.normals,
            self.test,
            synthetic,
            self.protocol,
            seed,
            real=real,
            use=use,
            device=self.task.device,
            step=told,
        )


def _result(
    name: str,
    seed: int,
    options: dict[str, Any],
    given: dict[str, Any],
    cost: dict[str, Any],
    quality: dict[str, Any],
    detail: dict[str, Any],
) -> dict[str, Any]:
    arms = detail["arms"]
    return {
        "method": name,
        "seed": seed,
        "options": options,
        "given": given,
        "cost": cost,
        "quality": quality,
        "downstream": {arm: result["scores"] for arm, result in arms.items()},
        "curves": {
            arm: {key: result["precision_recall"][key] for key in ("recall", "precision")}
            for arm, result in arms.items()
        },
        "use": {arm: result["use"] for arm, result in arms.items()},
        "detail": detail,
    }
