"""The checks for methods that perturb feature maps. Importing this module adds them to the kit's list."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from typing import TYPE_CHECKING, Any

from ias_zoo.errors import NotFitted, OptionError, RequestError
from ias_zoo.method import Method, Produces
from ias_zoo.registry import registry
from ias_zoo.testing.checks import check, random_state, restore, seed_globals

if TYPE_CHECKING:
    from torch import Tensor

    from ias_zoo.features import Features, FeatureSample, FeatureSynthesizer
    from ias_zoo.testing.subject import Subject

BATCH, CHANNELS, HEIGHT, WIDTH = 5, 12, 16, 24
"""Of the toy features: not square, and divisible by what methods cut maps into."""

_SEEDS = tuple(range(BATCH))


def _makes_features(method: Method) -> bool:
    return method.produces is Produces.FEATURES


def toy_features(seed: int, batch: int = BATCH, *, levels: int = 1) -> Features:
    """Feature maps made on the spot: coarse structure and noise; with ``levels`` 2, a pair at half and full size."""
    import numpy as np
    import torch

    rng = np.random.default_rng([41, seed])

    def maps(height: int, width: int) -> Tensor:
        coarse = rng.normal(size=(batch, CHANNELS, height // 4, width // 4)).repeat(4, axis=2).repeat(4, axis=3)
        return torch.from_numpy((coarse + 0.3 * rng.normal(size=coarse.shape)).astype(np.float32))

    return maps(HEIGHT, WIDTH) if levels == 1 else (maps(HEIGHT // 2, WIDTH // 2), maps(HEIGHT, WIDTH))


def fitted(subject: Subject) -> tuple[FeatureSynthesizer, Features]:
    """A loaded synthesizer that has seen toy normals, and features for it of the kind that it takes."""
    synthesizer = subject.load()
    levels = _levels(synthesizer)
    return synthesizer.fit([toy_features(seed, levels=levels) for seed in (1, 2)]), toy_features(3, levels=levels)


@check(applies=_makes_features)
def feature_protocol(subject: Subject) -> None:
    """It satisfies FeatureSynthesizer and says whose maps it perturbs, what for, and where."""
    from ias_zoo.features import FeatureSynthesizer, NativeMask, Space, Target

    synthesizer = subject.load()
    assert isinstance(synthesizer, FeatureSynthesizer), "it lacks a part of the FeatureSynthesizer protocol"
    for name, kind in (("space", Space), ("target", Target), ("native_mask", NativeMask)):
        assert isinstance(getattr(synthesizer, name), kind), f"{name} is {getattr(synthesizer, name)!r}"


@check(applies=_makes_features)
def feature_sample_fits(subject: Subject) -> None:
    """Features keep their shape; the mask is bool on their grid; labels say whether it is empty; all is finite."""
    synthesizer, features = fitted(subject)
    _well_formed(synthesizer.perturb(features, seeds=_SEEDS), features)


@check(applies=_makes_features)
def feature_seeds(subject: Subject) -> None:
    """The same seeds give the same bytes from two synthesizers, others give others; the largest seeds work."""
    import torch

    results = []
    for seeds in (_SEEDS, _SEEDS, tuple(2**63 - 1 - seed for seed in _SEEDS)):
        synthesizer, features = fitted(subject)
        results.append(synthesizer.perturb(features, seeds=seeds))
    assert _same(results[0], results[1]), "the same seeds gave two different samples"
    assert not _same(results[0], results[2]), "the seeds are not used"
    synthesizer, features = fitted(subject)
    again = tuple(torch.stack([level[0]] * BATCH) for level in _tuple(features))
    twins = synthesizer.perturb(again if isinstance(features, tuple) else again[0], seeds=_SEEDS)
    last = _tuple(twins.features)[-1]
    assert not torch.equal(last[0], last[1]), "one map with two seeds gave one result"


@check(applies=_makes_features)
def feature_batch_equals_singles(subject: Subject) -> None:
    """A map's result does not depend on its batch-mates, unless the method says so (``per_sample`` is False)."""
    import torch

    synthesizer, features = fitted(subject)
    if not synthesizer.per_sample:
        return
    batch = synthesizer.perturb(features, seeds=_SEEDS)
    for number, seed in enumerate(_SEEDS):
        one = tuple(level[number : number + 1] for level in _tuple(features))
        alone = synthesizer.perturb(one if isinstance(features, tuple) else one[0], seeds=[seed])
        rows = [number] if batch.source is None else (batch.source == number).nonzero()[:, 0].tolist()
        for mine, theirs in zip(_tuple(alone.features), _tuple(batch.features), strict=True):
            assert torch.allclose(mine, theirs[rows], atol=1e-6), f"map {number} differs in a batch"
        assert torch.equal(alone.mask, batch.mask[rows]), f"mask {number} differs in a batch"


@check(applies=_makes_features)
def feature_no_global_random_state(subject: Subject) -> None:
    """Neither reads nor touches the global random state of random, numpy and torch, fitting included."""
    kept = random_state()
    try:
        results = []
        for seed in (1, 2):
            seed_globals(seed)
            before = pickle.dumps(random_state())
            synthesizer, features = fitted(subject)
            results.append(synthesizer.perturb(features, seeds=_SEEDS))
            assert pickle.dumps(random_state()) == before, "a global random state was advanced or reseeded"
        assert _same(*results), "the sample depends on a global random state"
    finally:
        restore(kept)


@check(applies=_makes_features)
def feature_inputs_unmodified(subject: Subject) -> None:
    """Leaves the given features alone."""
    import torch

    synthesizer, features = fitted(subject)
    before = [level.clone() for level in _tuple(features)]
    synthesizer.perturb(features, seeds=_SEEDS)
    for level, kept in zip(_tuple(features), before, strict=True):
        assert torch.equal(level, kept), "the given features were modified"


@check(applies=_makes_features)
def feature_gradients_flow(subject: Subject) -> None:
    """An adapter in front of it can learn: the perturbed features have a gradient in the given ones."""
    synthesizer, features = fitted(subject)
    leaves = [level.requires_grad_() for level in _tuple(features)]
    sample = synthesizer.perturb(tuple(leaves) if isinstance(features, tuple) else leaves[0], seeds=_SEEDS)
    total = sum(level.sum() for level in _tuple(sample.features))
    assert getattr(total, "requires_grad", False), "the perturbed features are cut off from the given ones"


@check(applies=_makes_features)
def feature_masks_respected(subject: Subject) -> None:
    """With given masks, of any size, the sample's mask lies within them, pooled to the map."""
    import torch

    from ias_zoo.features import pool_masks

    synthesizer, features = fitted(subject)
    masks = torch.zeros(BATCH, 1, 64, 96, dtype=torch.bool)
    masks[:, :, :32, 32:64] = True
    sample = synthesizer.perturb(features, seeds=_SEEDS, masks=masks)
    _well_formed(sample, features)
    assert sample.mask.any(), "the masks were given and the sample's mask is empty"
    last = _tuple(features)[-1]
    pooled = pool_masks(masks, BATCH, last.shape[2], last.shape[3])
    rows = torch.arange(BATCH) if sample.source is None else sample.source
    assert not (sample.mask & ~pooled[rows]).any(), "the sample's mask leaves the given ones"


@check(applies=_makes_features)
def feature_state_moves(subject: Subject) -> None:
    """What was learnt can be saved by name and loaded into a fresh synthesizer, which then gives the same samples."""
    synthesizer, features = fitted(subject)
    other = subject.load()
    other.load_state_dict(synthesizer.state_dict())
    assert _same(synthesizer.perturb(features, seeds=_SEEDS), other.perturb(features, seeds=_SEEDS))
    try:
        other.load_state_dict({"no such tensor": _tuple(features)[0]})
    except RequestError:
        return
    raise AssertionError("a foreign state was not refused")


@check(applies=_makes_features)
def feature_decoding(subject: Subject) -> None:
    """Decoding gives pictures, or is refused with the error that is meant for it."""
    from ias_zoo.errors import NotDecodable

    synthesizer, features = fitted(subject)
    sample = synthesizer.perturb(features, seeds=_SEEDS)
    try:
        pictures = synthesizer.decode(sample)
    except NotDecodable as error:
        assert str(error), "refused without a word"  # noqa: PT017 - the words are the point
        return
    assert pictures.ndim == 4, f"decoded to {tuple(pictures.shape)}: expected B x 3 x h x w"
    assert pictures.shape[:2] == (len(sample.labels), 3), f"decoded to {tuple(pictures.shape)}"


@check(applies=_makes_features)
def feature_wrong_calls_refused(subject: Subject) -> None:
    """Too few seeds, a negative one, integer features, a wrong shape, an unknown option: refused in words."""
    import torch

    synthesizer, features = fitted(subject)
    first = _tuple(features)[0]
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (features, {"seeds": _SEEDS[1:]}),
        (features, {"seeds": (-1, *_SEEDS[1:])}),
        (features, {"seeds": _SEEDS, "masks": torch.ones(BATCH + 1, 1, 4, 4)}),
        (first.long(), {"seeds": _SEEDS}),
        (first[0], {"seeds": _SEEDS}),
        (first.numpy(), {"seeds": _SEEDS}),
    ]
    for number, (given, arguments) in enumerate(wrong):
        try:
            synthesizer.perturb(given, **arguments)
        except RequestError as error:
            assert str(error), "refused without a word"  # noqa: PT017 - the words are the point
        else:
            raise AssertionError(f"wrong call {number} was not refused")
    try:
        registry().load(subject.name, no_such_option=1)
    except OptionError:
        return
    raise AssertionError("an unknown option was not refused")


@check(applies=_makes_features)
def feature_unfitted_use(subject: Subject) -> None:
    """Before it has seen normals it works, or says which call is missing."""
    synthesizer = subject.load()
    try:
        synthesizer.perturb(toy_features(3, levels=_levels(synthesizer)), seeds=_SEEDS)
    except NotFitted as error:
        assert "fit" in str(error), f"the error names no call: {error}"  # noqa: PT017


@check(applies=_makes_features)
def feature_survives_pickling(subject: Subject) -> None:
    """A fitted synthesizer sent to a spawned worker gives there what it gives here."""
    synthesizer, features = fitted(subject)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        there = pool.apply(_plain, (synthesizer, tuple(level.numpy() for level in _tuple(features))))
    here = _plain(synthesizer, tuple(level.numpy() for level in _tuple(features)))
    assert all((one == other).all() for one, other in zip(there, here, strict=True)), "the worker's sample differs"


@check(applies=_makes_features)
def feature_recipe_is_json(subject: Subject) -> None:
    """The recipe is JSON and holds method, plugin and version, options and seeds."""
    synthesizer, features = fitted(subject)
    recipe = json.loads(json.dumps(synthesizer.perturb(features, seeds=_SEEDS).recipe, allow_nan=False))
    for key in ("method", "plugin", "options", "seeds", "drawn"):
        assert key in recipe, f"the recipe lacks {key!r}"
    assert recipe["seeds"] == list(_SEEDS), "the recipe lacks the seeds"


def _levels(synthesizer: Any) -> int:
    from ias_zoo.features import Space

    return 2 if synthesizer.space is Space.VQ_PAIR else 1


def _tuple(features: Any) -> tuple[Tensor, ...]:
    return features if isinstance(features, tuple) else (features,)


def _plain(synthesizer: Any, levels: tuple[Any, ...]) -> list[Any]:
    """Perturb arrays and give arrays: plain enough for any pipe between processes."""
    import torch

    torch.set_num_threads(1)
    given = tuple(torch.from_numpy(level) for level in levels)
    sample = synthesizer.perturb(given if len(given) > 1 else given[0], seeds=_SEEDS)
    return [level.numpy() for level in _tuple(sample.features)] + [sample.mask.numpy()]


def _same(one: FeatureSample, other: FeatureSample) -> bool:
    import torch

    pairs = [*zip(_tuple(one.features), _tuple(other.features), strict=True), (one.mask, other.mask)]
    return all(torch.equal(mine, theirs) for mine, theirs in pairs) and torch.equal(one.labels, other.labels)


def _well_formed(sample: FeatureSample, features: Features) -> None:
    import torch

    made, given = _tuple(sample.features), _tuple(features)
    assert len(made) == len(given), f"{len(given)} levels gave {len(made)}"
    count = made[-1].shape[0]
    assert count in (BATCH, 2 * BATCH), f"{BATCH} maps gave {count}"
    for mine, theirs in zip(made, given, strict=True):
        assert mine.shape == (count, *theirs.shape[1:]), f"{tuple(theirs.shape)} became {tuple(mine.shape)}"
        assert mine.dtype == theirs.dtype, f"{theirs.dtype} became {mine.dtype}"
        assert torch.isfinite(mine).all(), "the features have values that are not finite"
    grid = (count, 1, *given[-1].shape[2:])
    assert sample.mask.dtype == torch.bool, f"the mask is {sample.mask.dtype}, expected bool"
    assert sample.mask.shape == grid, f"the mask is {tuple(sample.mask.shape)}, expected {grid}"
    assert sample.labels.shape == (count,), f"the labels are {tuple(sample.labels.shape)}, expected {(count,)}"
    assert torch.equal(sample.labels.bool(), sample.mask.flatten(1).any(1)), "labels and masks disagree"
    if sample.source is not None:
        assert sample.source.shape == (count,), f"source is {tuple(sample.source.shape)}, expected {(count,)}"
    if sample.clean is not None:
        assert [x.shape for x in _tuple(sample.clean)] == [x.shape for x in made], "clean and perturbed differ in shape"
