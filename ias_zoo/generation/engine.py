"""Turn requests into samples that passed the gate. Everything that makes samples goes through :func:`produce`."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data.images import to_grey
from ias_zoo.errors import DataError, IasZooError, OptionError, PluginError, RunError
from ias_zoo.generation.failures import Failure, Kind
from ias_zoo.generation.gate import TRIES, refuse
from ias_zoo.generation.plan import check_defect_name
from ias_zoo.generation.requests import Normal, Normals, NormalsLike, RequestMaker
from ias_zoo.generation.shots import ShotsLike, gather_shots

if TYPE_CHECKING:
    from ias_zoo.synthesizer import Sample


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one request: a sample, or an error; and why earlier tries were refused."""

    index: int
    sample: Sample | None
    normal: Normal | None
    refusals: tuple[str, ...] = ()
    error: str = ""
    kind: Kind = Kind.OTHER

    @property
    def failure(self) -> Failure:
        """Why there is no sample."""
        return Failure(self.index, self.error, self.kind)


@dataclass(frozen=True)
class _Wanted:
    """A sample that is still to be made. As many tries as there are refusals have been made in vain."""

    index: int
    refusals: tuple[str, ...] = ()


def produce(synthesizer: Any, maker: RequestMaker, indices: Iterable[int]) -> Iterator[Outcome]:
    """Make the samples of a run's ``indices``, in order, as many at once as the method takes (its ``batch_size``).

    A sample the gate refuses is drawn again with the next seed of its request, beside the next samples of the run, so
    that batches stay full. A request that fails costs itself only.
    """
    batch = getattr(synthesizer, "batch_size", 1)
    remaining = iter(indices)
    waiting: deque[_Wanted] = deque()
    order: deque[int] = deque()
    done: dict[int, Outcome] = {}
    while True:
        for index in itertools.islice(remaining, max(0, batch - len(waiting))):
            waiting.append(_Wanted(index))
            order.append(index)
        if not waiting:
            return
        chunk = [waiting.popleft() for _ in range(min(batch, len(waiting)))]
        again = []
        for result in _try(synthesizer, maker, chunk):
            if isinstance(result, Outcome):
                done[result.index] = result
            else:
                again.append(result)
        waiting.extendleft(reversed(again))
        while order and order[0] in done:
            yield done.pop(order.popleft())


def _try(synthesizer: Any, maker: RequestMaker, chunk: list[_Wanted]) -> Iterator[Outcome | _Wanted]:
    """Try each once: what became of it, or what is still wanted."""
    requests: dict[int, Any] = {}
    normals: dict[int, Normal | None] = {}
    for wanted in chunk:
        try:
            requests[wanted.index], normals[wanted.index] = maker.make(wanted.index, len(wanted.refusals))
        except IasZooError as error:
            yield _failed(wanted, None, error)
    samples = _synthesize(synthesizer, requests)
    for wanted in chunk:
        index, refusals = wanted.index, wanted.refusals
        if index not in samples:
            continue
        made, normal = samples[index], normals[index]
        if isinstance(made, IasZooError):
            yield _failed(wanted, normal, made)
            continue
        sample = _as_the_camera_sees(made, normal)
        reason = refuse(sample, normal.image if normal else None)
        if reason is None:
            sample.recipe["run"] = {"seed": maker.seed, "index": index, "attempt": len(refusals)}
            if normal is not None:
                sample.recipe["run"] |= {"normal_pixels": normal.digest, "grey": normal.grey}
            yield Outcome(index, sample, normal, refusals)
        elif len(refusals) + 1 < TRIES:
            yield _Wanted(index, (*refusals, reason))
        else:
            refusals += (reason,)
            reasons = " and ".join(sorted(set(refusals)))
            yield Outcome(index, None, None, refusals, f"refused {TRIES} times: {reasons}", Kind.REFUSED)


def _synthesize(synthesizer: Any, requests: dict[int, Any]) -> dict[int, Sample | IasZooError]:
    """One call for the batch; where that fails, one call each, so that a bad request costs itself only."""
    if not requests:
        return {}
    try:
        samples = synthesizer.synthesize(list(requests.values()))
        check_samples(synthesizer.method.name, samples, len(requests))
    except Exception as error:  # noqa: BLE001 - a bug in a plugin costs its images, and is named
        if len(requests) == 1:
            return dict.fromkeys(requests, _named(synthesizer, error))
        merged: dict[int, Sample | IasZooError] = {}
        for index, request in requests.items():
            merged |= _synthesize(synthesizer, {index: request})
        return merged
    return dict(zip(requests, samples, strict=True))


def check_samples(name: str, samples: Any, count: int) -> None:
    """Refuse what no sample may be, before it reaches a data set.

    Raises
    ------
    PluginError
        Naming the method, the field, what it is and what was expected.
    """
    if not isinstance(samples, list) or len(samples) != count:
        raise PluginError(f"{name}: {count} requests gave {_text(samples)}; expected a list of as many samples")
    for sample in samples:
        image, mask = getattr(sample, "image", None), getattr(sample, "mask", None)
        if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
            raise PluginError(f"{name}: a sample's image is {_text(image)}; expected H x W x 3 uint8")
        if not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == image.shape[:2]):
            raise PluginError(f"{name}: a sample's mask is {_text(mask)}; expected {image.shape[:2]} bool")
        labels = sample.label_map
        if labels is not None and (getattr(labels, "dtype", None) != np.float32 or labels.shape != mask.shape):
            raise PluginError(f"{name}: a sample's label map is {_text(labels)}; expected {mask.shape} float32")


def _named(synthesizer: Any, error: Exception) -> IasZooError:
    if isinstance(error, IasZooError):
        return error
    named = PluginError(f"{synthesizer.method.name} raised {type(error).__name__}: {' '.join(str(error).split())}")
    named.__cause__ = error
    return named


def _text(value: Any) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _as_the_camera_sees(sample: Sample, normal: Normal | None) -> Sample:
    """A grey camera takes grey pictures of defects, so a grey normal gives a grey sample (three equal channels).

    Pixels that equal the grey normal keep their value exactly.
    """
    if normal is None or not normal.grey:
        return sample
    return replace(sample, image=np.repeat(to_grey(sample.image)[:, :, None], 3, axis=2))


def generate(
    synthesizer: Any,
    n: int,
    normals: NormalsLike | None,
    *,
    defect: str | None = None,
    shots: ShotsLike | None = None,
    seed: int = 0,
) -> list[Sample]:
    """See :meth:`ias_zoo.ImageSynthesizer.generate`."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise OptionError(f"n={n!r}: expected an integer >= 1")
    maker = _maker(synthesizer, normals, defect, shots, seed)
    return [_sample(outcome) for outcome in produce(synthesizer, maker, range(n))]


def stream(
    synthesizer: Any,
    normals: NormalsLike | None,
    *,
    defect: str | None = None,
    shots: ShotsLike | None = None,
    seed: int = 0,
) -> Iterator[Sample]:
    """See :meth:`ias_zoo.ImageSynthesizer.stream`."""
    maker = _maker(synthesizer, normals, defect, shots, seed)
    return (_sample(outcome) for outcome in produce(synthesizer, maker, itertools.count()))


def _maker(
    synthesizer: Any, normals: NormalsLike | None, defect: str | None, shots: ShotsLike | None, seed: int
) -> RequestMaker:
    if defect is not None:
        check_defect_name(defect)
    pool = None if normals is None else Normals(normals)
    defects = [defect] if defect else []
    given = gather_shots(synthesizer.method, shots, None if pool is None else pool.source, defects=defects)
    return RequestMaker(synthesizer.method, pool, seed=seed, defects=defects, shots=given)


def _sample(outcome: Outcome) -> Sample:
    if outcome.sample is None:
        raise RunError(f"sample {outcome.index} could not be made: {outcome.error}")
    return outcome.sample


def _failed(wanted: _Wanted, normal: Normal | None, error: IasZooError) -> Outcome:
    kind = Kind.PICTURE if isinstance(error, DataError) else Kind.OTHER
    return Outcome(wanted.index, None, normal, wanted.refusals, str(error), kind)
