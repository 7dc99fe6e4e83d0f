"""Base class for methods that are trained: fit, save, load, push; the same for all of them."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import ias_zoo
from ias_zoo.data import DataSet, open_data
from ias_zoo.data.images import encode_png
from ias_zoo.errors import IasZooError, NotFitted, OptionError, WeightsError
from ias_zoo.method import PLUGIN_API
from ias_zoo.options import build_options, options_to_json
from ias_zoo.synthesizer import ImageSynthesizer, Setup
from ias_zoo.training.claim import checkpoints_beside, claimed, remove
from ias_zoo.training.report import StageReport, TrainingReport
from ias_zoo.training.shots import TrainingSet, load_normals, load_shots

if TYPE_CHECKING:
    from ias_zoo.hub import Manifest
    from ias_zoo.method import Method
    from ias_zoo.synthesizer import RGB

Stage = Literal["few-shot", "base"]
SAMPLES = "samples.png"
SHOWN_DEFECTS, SHOWN_SAMPLES, SHOWN_NORMALS = 4, 2, 6


@dataclass(frozen=True, kw_only=True)
class FitRun:
    """How a fit is run: where its checkpoints go, whether to resume, its seed, and whom to tell of each step."""

    seed: int
    crop: str
    folder: Path | None
    resume: bool
    preview_every: int | None
    step: Callable[[str, int, int, float], None]


class TrainableSynthesizer(ImageSynthesizer):
    """A method that has to be fitted, or given weights, before it can make samples.

    A subclass writes :meth:`train`, :meth:`write_parts`, :meth:`read_parts` and :meth:`draw`; one that trains its own
    base also :meth:`train_base`, :meth:`write_base` and :meth:`draw_normals`, and opens it with
    :func:`~ias_zoo.training.bases.fetch_trained_base`.

    Loaded weights bring the options they were made with. The caller's own go before them, except for those named in
    ``trained_options``, which the weights' shapes and meaning hang on: contradicting one is an error.
    """

    trained_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.manifest: Manifest | None = None
        self.report: TrainingReport | None = None
        self._commit: str | None = None
        self._sheet: bytes | None = None
        if setup.weights is not None:
            from ias_zoo.hub import fetch_weights

            folder, manifest, commit = fetch_weights(setup.weights, revision=setup.revision, method=self.method.name)
            if manifest.stage == "base":
                raise NotFitted(f"{setup.weights} is a base: {_fit_on(self.method, os.fspath(setup.weights))}")
            self.options = self._options_with(manifest)
            self.read_parts(folder, manifest)
            self._now_fitted(manifest, commit)

    @property
    def defects(self) -> tuple[str, ...]:
        """The defect types it was fitted on."""
        manifest = self._fitted()
        if manifest.stage == "base":
            raise NotFitted(f"only a base was trained so far: {_fit_on(self.method, 'BASE')}")
        return manifest.defects

    @property
    def weights_revision(self) -> str | None:
        """The commit its weights were fetched at, where they came from the Hub."""
        return self._commit

    def fit(
        self,
        shots: str | os.PathLike[str] | DataSet | TrainingSet,
        *,
        stage: Stage = "few-shot",
        defects: Sequence[str] | None = None,
        count: int | Mapping[str, int] | None = None,
        group_by: str | None = None,
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        seed: int = 0,
        crop: str = "auto",
        preview_every: int | None = None,
        step: Callable[[str, int, int, float], None] = lambda stage, number, steps, loss: None,
    ) -> TrainingReport:
        """Fine-tune on a product's shots and normals, or train a base on normals alone.

        Parameters
        ----------
        shots:
            A folder or data set with normals, defects and masks; or shots that were chosen already, which are taken as
            they are.
        stage:
            ``few-shot``, or ``base`` for methods that train their own base: on the normals, no shots are needed. It
            starts from the base that the method was loaded with, if any. A few-shot fit then starts from what it wrote.
        defects, count:
            Which defect types, and how many shots of each (one number, or one for each type), one picture a group: by
            default all, and a third of the groups. The same shots as in a comparison with these arguments.
        group_by:
            A pattern that finds a picture's group in its id; see :meth:`ias_zoo.data.groups.Groups.of`.
        out:
            Save the weights there; checkpoints go into a ``.training`` folder beside until that is done.
        resume:
            Go on from the newest checkpoint of the same run.
        crop:
            ``auto``, ``off`` or a number of pixels; see :func:`ias_zoo.training.shots.choose_crop`. Without shots,
            ``auto`` is ``off``.
        preview_every:
            Steps between pictures of what the model makes; 0 is never, None is as the method sees fit.
        step:
            Called after every step with the stage's name, the step, how many there are, and the loss.

        Raises
        ------
        DataError, OptionError, TrainingError
            If the shots, the options or the training fail.
        RunError
            If another process trains to the same ``out``.
        """
        data = _training_set(shots, defects, count, group_by, stage, self.method)
        target = None if out is None else Path(out)
        folder = None if target is None else checkpoints_beside(target)
        run = FitRun(seed=seed, crop=crop, folder=folder, resume=resume, preview_every=preview_every, step=step)
        if target is None:
            return self._fit(data, run, stage)
        claim = {"seed": seed, "crop": crop, "shots": data.files, "start": self._start(), "stage": stage}
        with claimed(target, {**self._identity, **claim}, resume=resume):
            report = self._fit(data, run, stage)
            self.save_pretrained(target)
            remove(target)
        return report

    def _fit(self, data: TrainingSet, run: FitRun, stage: Stage) -> TrainingReport:
        self.report = self.train_base(data, run) if stage == "base" else self.train(data, run)
        self._now_fitted(self._make_manifest(data, self.report, stage), None)
        try:
            self._sheet = self._draw_normals(run.seed) if stage == "base" else self._draw_samples(data, run.seed)
        except IasZooError as error:  # a picture for the card must not cost the weights
            self._sheet = None
            warnings.warn(f"the weights' card has no samples: {error}", stacklevel=3)
        return self.report

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the weights folder, whole or not at all.

        Raises
        ------
        NotFitted, WeightsError
        """
        from ias_zoo.cards import make_card, method_card
        from ias_zoo.hub import write_weights

        manifest, sheet = self._fitted(), self._sheet

        def write(place: Path) -> None:
            if manifest.stage == "base":
                self.write_base(place)
            else:
                self.write_parts(place)
            if self.report is not None:
                self.report.save(place)
            if sheet is not None:
                (place / SAMPLES).write_bytes(sheet)

        pictures = [SAMPLES] if sheet is not None else []
        card = make_card(self.method, manifest, body=method_card(self.method), pictures=pictures)
        return write_weights(Path(folder), manifest, write, card)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Save to a temporary folder and push it; gives the commit.

        Raises
        ------
        NotFitted, WeightsError
        """
        import tempfile

        from ias_zoo.hub import push_weights

        with tempfile.TemporaryDirectory() as scratch:
            return push_weights(self.save_pretrained(Path(scratch) / "weights"), repo_id, private=private)

    def _options_with(self, manifest: Manifest) -> Any:
        """The weights' options, and over them those that the caller gave."""
        name = self.method.name
        asked = options_to_json(self.options)
        given = {option: asked[option] for option in self.setup.given}
        for option in self.trained_options:
            stored = manifest.options.get(option)
            if option in given and given[option] != stored:
                raise OptionError(
                    f"{option}={given[option]!r}: these weights were trained with {stored!r}; leave it out"
                )
        try:
            return build_options(type(self.options), {**manifest.options, **given}, method=name)
        except OptionError as error:
            raise WeightsError(f"the weights' options are not those of this {name}: {error}") from error

    def _draw_samples(self, data: TrainingSet, seed: int) -> bytes:
        """A sheet of samples for the card, the first ones there are: two of each of the first defect types."""
        from ias_zoo.generation.requests import RequestMaker
        from ias_zoo.report.contact_sheet import Row, draw_sheet

        requests = []
        for defect in data.defects[:SHOWN_DEFECTS]:
            maker = RequestMaker(self.method, data.normals, seed=seed, defects=[defect])
            requests += [maker.make(number)[0] for number in range(SHOWN_SAMPLES)]
        samples = self.synthesize(requests)
        rows = [Row(sample.defect, None, sample.image, sample.mask) for sample in samples]  # normals stay at home
        return encode_png(draw_sheet(rows, self.method.title))

    def _draw_normals(self, seed: int) -> bytes | None:
        """A sheet of what a base makes."""
        import numpy as np

        from ias_zoo.report.contact_sheet import Row, draw_sheet

        shown = self.draw_normals(SHOWN_NORMALS, seed)
        rows = [Row("normal", None, image, np.zeros(image.shape[:2], np.bool_)) for image in shown]
        return encode_png(draw_sheet(rows, self.method.title)) if rows else None

    def _start(self) -> str:
        """The base that the fit starts from, as it was asked for."""
        if self.setup.base is not None:
            return os.fspath(self.setup.base)
        return "" if self.method.base is None else f"{self.method.base.repo_id}@{self.method.base.revision}"

    @abstractmethod
    def train(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """Train every stage."""

    def train_base(self, data: TrainingSet, run: FitRun) -> TrainingReport:
        """Train the base on normals: what ``stage="base"`` does."""
        raise NotImplementedError

    def write_base(self, folder: Path) -> None:
        """Write what :meth:`train_base` trained."""
        raise NotImplementedError

    def draw_normals(self, count: int, seed: int) -> Sequence[RGB]:
        """A few pictures by the base that was trained, for its card."""
        return ()

    @abstractmethod
    def write_parts(self, folder: Path) -> None:
        """Write what was trained: adapters in peft's format, other modules as safetensors."""

    @abstractmethod
    def read_parts(self, folder: Path, manifest: Manifest) -> None:
        """Load what :meth:`write_parts` wrote, on top of the manifest's base."""

    @abstractmethod
    def base_identity(self) -> tuple[str | None, str | None]:
        """Name and commit of the base in use; None where training started from nothing."""

    def base_of(self, manifest: Manifest) -> str | os.PathLike[str]:
        """The base that weights go on: the caller's, or the one that they were trained on, at its commit.

        Raises
        ------
        OptionError
            If neither names one.
        """
        if self.setup.base is not None:
            return self.setup.base
        if manifest.base is None:
            raise OptionError("the weights name no base; give one with base=")
        return manifest.base if manifest.base_revision is None else f"{manifest.base}@{manifest.base_revision}"

    def _fitted(self) -> Manifest:
        if self.manifest is None:
            name = self.method.name
            raise NotFitted(
                f"{name} has to be fitted first: .fit(folder), or ias_zoo.load({name!r}, weights=...); "
                f"on the shell `ias-zoo fit {name} --data DIR --out WEIGHTS`"
            )
        return self.manifest

    def _make_manifest(self, data: TrainingSet, report: TrainingReport, stage: Stage) -> Manifest:
        from ias_zoo.hub import Manifest

        base, revision = self.base_identity()
        return Manifest(
            method=self.method.name,
            distribution=self.setup.plugin.distribution,
            plugin_version=self.setup.plugin.version,
            plugin_api=PLUGIN_API,
            zoo_version=ias_zoo.__version__,
            base=base,
            base_revision=revision,
            options=options_to_json(self.options),
            defects=data.defects,
            licence=self._licence(base),
            training_files=data.files,
            facts={
                "shots": None if data.groups is None else f"one picture of each group, by {data.groups}",
                "resolution": report.resolution,
                "crop": report.crop,
                "seconds": round(report.seconds, 1),
                "peak_memory_mb": round(report.peak_memory_mb),
                "stages": [_stage_facts(stage) for stage in report.stages],
            },
            stage=stage,
            files={},
        )

    def _licence(self, base: str | None) -> str:
        """The licence that weights on this base come under."""
        from ias_zoo.diffusion.fetch import TINY

        licences = self.method.licences
        if base == TINY or self.method.base is None:
            return licences.code  # the embedded base is the zoo's own
        own = base == self.method.base.repo_id
        return (licences.base_weights or licences.code) if own else "that of the base"

    def _now_fitted(self, manifest: Manifest, commit: str | None) -> None:
        self.manifest, self._commit = manifest, commit
        weights = None if self.setup.weights is None else str(self.setup.weights)
        self._identity |= {
            "options": options_to_json(self.options),  # what training decided replaces what was asked for
            "weights": {"source": weights, "revision": commit, "training_files": manifest.training_files},
            "base": {"name": manifest.base, "revision": manifest.base_revision},
        }


def _stage_facts(stage: StageReport) -> dict[str, Any]:
    losses = {name: round(value, 5) for name, value in stage.last().items()}
    return {"name": stage.name, "steps": stage.steps, "seconds": round(stage.seconds, 1), "last_losses": losses}


def _fit_on(method: Method, base: str) -> str:
    name = method.name
    return (
        f"fit it on shots, ias_zoo.load({name!r}, base={base!r}).fit(folder); "
        f"on the shell `ias-zoo fit {name} --base {base} --data DIR --out WEIGHTS`"
    )


def _training_set(
    shots: str | os.PathLike[str] | DataSet | TrainingSet,
    defects: Sequence[str] | None,
    count: int | Mapping[str, int] | None,
    group_by: str | None,
    stage: Stage,
    method: Method,
) -> TrainingSet:
    if stage not in ("few-shot", "base"):
        raise OptionError(f"stage={stage!r}: expected few-shot or base")
    if stage == "base" and not method.base_stage:
        raise OptionError(f"{method.name} trains no base of its own: leave stage out")
    chooses = not (defects is None and count is None and group_by is None)
    if stage == "base" and chooses:
        raise OptionError("stage='base' trains on normals alone: leave defects, the number of shots and groups out")
    if isinstance(shots, TrainingSet):
        if chooses:
            raise OptionError("these shots were chosen already: leave defects, count and group_by out")
        return shots
    data = shots if isinstance(shots, DataSet) else open_data(shots)
    return load_normals(data) if stage == "base" else load_shots(data, defects=defects, shots=count, group_by=group_by)
