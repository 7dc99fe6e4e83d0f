"""The checks, one function each. Their names are the kit's interface: expected failures are listed by them."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.errors import IasZooError, NotFitted, OptionError, RequestError
from ias_zoo.generation.engine import produce
from ias_zoo.generation.plan import check_defect_name
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.hub import read_weights
from ias_zoo.method import Fidelity, Input, Method, Produces, Trains
from ias_zoo.options import options_to_json
from ias_zoo.registry import registry
from ias_zoo.synthesizer import copies_shots
from ias_zoo.testing.subject import DEFECT, SHAPE, Subject, disc, picture, same, toy_set, toy_shot

if TYPE_CHECKING:
    from ias_zoo.synthesizer import Request, Sample

HEAVY = ("torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "cv2")
"""What listing and describing a method must not import."""

_SEEDS = range(8)


@dataclass(frozen=True)
class Check:
    """A named promise: ``run`` raises AssertionError, in words, when a method breaks it."""

    name: str
    run: Callable[[Subject], None]
    applies: Callable[[Method], bool]

    def __repr__(self) -> str:
        return f"Check({self.name})"


CHECKS: list[Check] = []


def _makes_images(method: Method) -> bool:
    return method.produces is Produces.IMAGE


def check(applies: Callable[[Method], bool] = _makes_images) -> Callable[[Callable[[Subject], None]], Any]:
    """Register a check under its function's name."""

    def register(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        CHECKS.append(Check(function.__name__, function, applies))
        return function

    return register


@check(applies=lambda method: True)
def metadata_complete(subject: Subject) -> None:
    """The method says what it is, needs and costs in law; its options all have a line of help and a JSON default."""
    method = subject.method
    assert method.needs, "needs is empty: what is a sample made from?"
    assert method.paper is not None or method.fidelity is Fidelity.OUR_DESIGN, "no paper, and not labelled our design"
    assert method.licences.code, "licences.code is empty"
    options = registry().options_class(subject.name)
    assert dataclasses.is_dataclass(options), f"{method.options} is no dataclass"
    assert options.__dataclass_params__.frozen, f"{method.options} is not frozen"  # type: ignore[attr-defined]
    for field in dataclasses.fields(options):
        assert field.metadata.get("help"), f"option {field.name} has no help; make it with ias_zoo.option"
    json.dumps(options_to_json(options()))
    json.dumps(method.to_dict())


@check(applies=lambda method: True)
def listing_imports_nothing_heavy(subject: Subject) -> None:
    """Listing and describing the method works where torch and OpenCV cannot be imported."""
    code = (
        "import sys\n"
        f"for name in {HEAVY!r}: sys.modules[name] = None\n"
        "from ias_zoo.registry import registry\n"
        "from ias_zoo.options import describe_options\n"
        f"registry().find({subject.name!r}); describe_options(registry().options_class({subject.name!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the listing needs a heavy import: {done.stderr.strip().splitlines()[-1:]}"


@check()
def mask_fits(subject: Subject) -> None:
    """Image is uint8 RGB; the mask is bool, of the image's size, and not empty; label maps are finite float32."""
    for sample in subject.load().synthesize(subject.requests(_SEEDS)):
        _well_formed(sample)
        assert sample.mask.any(), "the mask is empty"


@check(applies=lambda method: _makes_images(method) and method.exact_mask)
def outside_untouched(subject: Subject) -> None:
    """Every pixel outside the mask equals the normal's."""
    for seed in _SEEDS:
        request = subject.request(seed)
        sample = _one(subject.load(), request)
        assert request.normal is not None
        changed = (sample.image != request.normal).any(axis=2) & ~sample.mask
        assert not changed.any(), f"seed {seed}: {changed.sum()} pixels outside the mask differ from the normal"


@check()
def equal_requests_equal_bytes(subject: Subject) -> None:
    """The same request gives the same bytes from two synthesizers; seed 0 and the largest seeds included."""
    for seed in (0, 1, 2**63 - 1):
        first, second = (_one(subject.load(), subject.request(seed)) for _ in range(2))
        assert same(first, second), f"seed {seed} gave two different samples"


@check()
def seeds_differ(subject: Subject) -> None:
    """Different seeds give different images: the seed is used."""
    samples = subject.load().synthesize(subject.requests(_SEEDS))
    distinct = {sample.image.tobytes() for sample in samples}
    assert len(distinct) > len(samples) // 2, f"{len(samples)} seeds gave {len(distinct)} different images"


@check()
def batch_equals_singles(subject: Subject) -> None:
    """N requests in one call give what n calls give, in order."""
    synthesizer = subject.load()
    requests = subject.requests(range(5))
    batch = synthesizer.synthesize(requests)
    singles = [_one(synthesizer, request) for request in requests]
    assert len(batch) == len(requests), f"{len(requests)} requests gave {len(batch)} samples"
    for number, (one, other) in enumerate(zip(batch, singles, strict=True)):
        assert same(one, other), f"sample {number} of the batch differs from the same request alone"
        assert one.recipe["request"]["seed"] == requests[number].seed, f"sample {number} is out of order"
    assert synthesizer.synthesize([]) == [], "no requests should give no samples"


@check()
def no_global_random_state(subject: Subject) -> None:
    """Neither reads nor touches the global random state of random, numpy, and torch where it is installed."""
    request = subject.request(3)
    kept = random_state()
    try:
        results = []
        for seed in (1, 2):
            seed_globals(seed)
            before = pickle.dumps(random_state())
            results.append(_one(subject.load(), request))
            assert pickle.dumps(random_state()) == before, "a global random state was advanced or reseeded"
        assert same(*results), "the sample depends on a global random state"
    finally:
        restore(kept)


@check()
def inputs_unmodified(subject: Subject) -> None:
    """Works on read-only inputs, leaves them alone, and shares no memory with them."""
    request = subject.request(4)
    arrays = {name: value for name in ("normal", "source", "mask") if (value := getattr(request, name)) is not None}
    before = {name: value.copy() for name, value in arrays.items()}
    for value in arrays.values():
        value.setflags(write=False)
    sample = _one(subject.load(), request)
    for name, value in arrays.items():
        assert np.array_equal(value, before[name]), f"request.{name} was modified"
        for what in ("image", "mask"):
            assert not np.shares_memory(getattr(sample, what), value), f"sample.{what} is request.{name}'s memory"


@check()
def any_size(subject: Subject) -> None:
    """1 pixel high, 37 x 91 and 2048 x 2048 pictures work, or are refused in words."""
    synthesizer = subject.load()
    for shape in ((1, 64), (64, 1), (37, 91), (2048, 2048)):
        try:
            sample = _one(synthesizer, subject.request(5, shape=shape))
        except IasZooError as error:
            assert str(error), f"{shape}: refused without a word"  # noqa: PT017 - the words are the point
            continue
        _well_formed(sample)


@check(applies=lambda method: _makes_images(method) and Input.NORMALS in method.needs)
def any_pixel_format(subject: Subject) -> None:
    """Grey, RGBA and 16-bit normals work through the ordinary way in, or are refused in words."""
    colour = picture(SHAPE, 6)
    other = picture(SHAPE, 7)
    alpha = np.full((*SHAPE, 1), 255, np.uint8)
    kinds = {
        "grey": [image[:, :, 0] for image in (colour, other)],
        "RGBA": [np.concatenate([image, alpha], axis=2) for image in (colour, other)],
        "16-bit": [image.astype(np.uint16) * 257 for image in (colour, other)],
    }
    synthesizer = subject.load()
    for kind, arrays in kinds.items():
        if not set(subject.method.needs) <= {Input.NORMALS, Input.SOURCE, Input.SHOTS, Input.MASKS}:
            continue
        maker = RequestMaker(
            subject.method,
            Normals(arrays),
            seed=0,
            defects=[DEFECT] if subject.trained else [],
            shots=[toy_shot()] if copies_shots(subject.method) else [],
        )
        for outcome in produce(synthesizer, maker, range(2)):
            assert outcome.sample is not None or outcome.error, f"{kind}: neither a sample nor a word"
            if outcome.sample is not None:
                _well_formed(outcome.sample)
                grey = (outcome.sample.image == outcome.sample.image[:, :, :1]).all()
                assert kind != "grey" or grey, "a grey normal gave a coloured sample"


@check()
def survives_pickling(subject: Subject) -> None:
    """A synthesizer sent to a spawned worker gives there what it gives here."""
    synthesizer, request = subject.load(), subject.request(8)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        there = pool.apply(_one, (synthesizer, request))
    assert same(there, _one(synthesizer, request)), "the worker's sample differs"


@check()
def two_threads(subject: Subject) -> None:
    """One synthesizer used by two threads at once gives what it gives alone."""
    synthesizer = subject.load()
    requests = subject.requests(range(12))
    alone = [_one(synthesizer, request) for request in requests]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda request: _one(synthesizer, request), requests))
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert same(one, other), f"sample {number} differs when two threads work"


@check()
def recipe_is_json(subject: Subject) -> None:
    """The recipe is JSON and holds method, plugin and version, options, request and the drawn parameters."""
    sample = _one(subject.load(), subject.request(9))
    recipe = json.loads(json.dumps(sample.recipe, allow_nan=False))
    for key in ("method", "plugin", "options", "weights", "base", "request", "drawn"):
        assert key in recipe, f"the recipe lacks {key!r}"
    assert recipe["method"] == subject.method.name, f"the recipe names the method {recipe['method']!r}"
    assert recipe["plugin"].get("version"), "the recipe lacks the plugin's version"
    assert recipe["request"]["seed"] == 9, "the recipe lacks the request's seed"


@check(applies=lambda method: _makes_images(method) and method.uses(Input.REGION))
def region_respected(subject: Subject) -> None:
    """With a region, the mask lies in it."""
    region = disc(SHAPE)
    for sample in subject.load().synthesize(subject.requests(_SEEDS, region=region)):
        _well_formed(sample)
        outside = int((sample.mask & ~region).sum())
        assert not outside, f"{outside} mask pixels lie outside the region"


@check(applies=lambda method: _makes_images(method) and method.uses(Input.MASK))
def mask_respected(subject: Subject) -> None:
    """With a given mask, the defect is there and nowhere else."""
    mask = disc(SHAPE)
    for sample in subject.load().synthesize(subject.requests(_SEEDS, mask=mask)):
        _well_formed(sample)
        assert sample.mask.any(), "the mask is empty"
        assert not (sample.mask & ~mask).any(), "the sample's mask leaves the given one"


@check()
def wrong_requests_refused(subject: Subject) -> None:
    """A missing input, a wrong dtype, a misfitting region, a negative seed, an unknown option: refused in words."""
    synthesizer = subject.load()
    wrong: list[dict[str, Any]] = [{"seed": -1}]
    if Input.SHOTS in subject.method.needs and copies_shots(subject.method):
        wrong += [{"shot": None}]
    if Input.NORMALS in subject.method.needs:
        wrong += [{"normal": None}, {"normal": picture(SHAPE, 1).astype(np.float32)}]
        wrong += [{"normal": picture(SHAPE, 1)[:, :, 0]}]
    if subject.method.uses(Input.REGION):
        wrong += [{"region": disc((5, 5))}, {"region": np.zeros(SHAPE, np.bool_)}]
    if not subject.method.uses(Input.MASK):
        wrong += [{"mask": disc(SHAPE)}]
    for change in wrong:
        request = dataclasses.replace(subject.request(1), **change)
        try:
            synthesizer.synthesize([request])
        except RequestError as error:
            assert str(error), "refused without a word"  # noqa: PT017 - the words are the point
        else:
            raise AssertionError(
                f"a request with {', '.join(change)} = {next(iter(change.values()))!r} was not refused"
            )
    try:
        registry().load(subject.name, no_such_option=1)
    except OptionError:
        return
    raise AssertionError("an unknown option was not refused")


def _trains(method: Method) -> bool:
    return _makes_images(method) and method.trains is not Trains.NONE


@check(applies=_trains)
def unfitted_use_refused(subject: Subject) -> None:
    """Using or saving it before it is fitted is an error that says which call is missing."""
    synthesizer = subject.unfitted()
    uses: list[Callable[[], Any]] = [
        lambda: synthesizer.synthesize([subject.request(1)]),
        lambda: synthesizer.save_pretrained("nowhere"),
    ]
    for use in uses:
        try:
            use()
        except NotFitted as error:
            assert "fit" in str(error), f"the error names no call: {error}"  # noqa: PT017
        else:
            raise AssertionError("an unfitted synthesizer was used")


@check(applies=_trains)
def fit_save_load_agree(subject: Subject) -> None:
    """Fitted, saved and loaded, it gives the samples it gave before saving; the folder passes every check."""
    with tempfile.TemporaryDirectory() as scratch:
        synthesizer = subject.unfitted()
        report = synthesizer.fit(toy_set(Path(scratch) / "data"), count=2)
        assert report.stages, "the report has no stage"
        assert len(report.training_files) == 2, f"2 shots were given, the report lists {len(report.training_files)}"
        folder = synthesizer.save_pretrained(Path(scratch) / "weights")
        manifest = read_weights(folder, method=subject.method.name)
        assert manifest.defects == (DEFECT,), f"the weights know {manifest.defects}"
        loaded = registry().load(subject.name, folder, base=subject.base, device="cpu", **subject.options)
        for seed in (0, 1):
            request = subject.request(seed)
            assert same(_one(synthesizer, request), _one(loaded, request)), f"seed {seed} differs after loading"


@check(applies=_trains)
def fit_repeats(subject: Subject) -> None:
    """The same shots and seed give the same weights, to the bit, on a CPU; another seed gives others."""
    with tempfile.TemporaryDirectory() as scratch:
        data = toy_set(Path(scratch) / "data")
        hashes = []
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            subject.unfitted().fit(data, count=2, seed=seed, out=Path(scratch) / name)
            files = read_weights(Path(scratch) / name).files
            hashes.append({file: digest for file, digest in files.items() if file.endswith(".safetensors")})
        assert hashes[0] == hashes[1], "two fits with one seed differ"
        assert hashes[0] != hashes[2], "the seed of the fit is not used"


@check(applies=_trains)
def unknown_defect_refused(subject: Subject) -> None:
    """A defect type it was not fitted on is refused with those it knows."""
    try:
        subject.load().synthesize([subject.request(1, defect="never seen")])
    except RequestError as error:
        assert DEFECT in str(error), f"the error does not name what the weights know: {error}"  # noqa: PT017
    else:
        raise AssertionError("an unknown defect type was not refused")


def _one(synthesizer: Any, request: Request) -> Sample:
    samples = synthesizer.synthesize([request])
    assert len(samples) == 1, f"one request gave {len(samples)} samples"
    sample: Sample = samples[0]
    return sample


def _well_formed(sample: Sample) -> None:
    image, mask, labels = sample.image, sample.mask, sample.label_map
    assert image.dtype == np.uint8, f"the image is {image.dtype}, expected uint8"
    assert image.ndim == 3, f"the image has shape {image.shape}, expected H x W x 3"
    assert image.shape[2] == 3, f"the image has shape {image.shape}, expected H x W x 3"
    assert mask.dtype == np.bool_, f"the mask is {mask.dtype}, expected bool"
    assert mask.shape == image.shape[:2], f"the mask is {mask.shape}, its image {image.shape}"
    check_defect_name(sample.defect)
    if labels is not None:
        assert labels.dtype == np.float32, f"the label map is {labels.dtype}, expected float32"
        assert labels.shape == mask.shape, f"the label map is {labels.shape}, its mask {mask.shape}"
        assert np.isfinite(labels).all(), "the label map has values that are not finite"


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def random_state() -> tuple[Any, ...]:
    """The global random state of random, numpy, and torch where it is installed."""
    torch = _torch()
    return random.getstate(), np.random.get_state(), None if torch is None else torch.get_rng_state().numpy().tobytes()  # noqa: NPY002


def seed_globals(seed: int) -> None:
    """Seed all of them."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global state is what is under test
    if (torch := _torch()) is not None:
        torch.manual_seed(seed)


def restore(state: tuple[Any, ...]) -> None:
    """Put them back."""
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    if (torch := _torch()) is not None:
        torch.set_rng_state(torch.frombuffer(bytearray(state[2]), dtype=torch.uint8))
