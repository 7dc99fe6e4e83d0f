"""Anomalies among feature maps: the contract of the methods that perturb what a backbone sees, not pictures.

Such a method is loaded like any other and satisfies :class:`FeatureSynthesizer`. Most of them derive from
:class:`FeatureMapSynthesizer`, which leaves one thing to write: what is done to a checked batch of maps.

What a method works on and what for differs more than among pictures, so it says so: its ``space`` (whose maps), its
``target`` (whether a detector learns to tell the anomalous tokens, or to restore the clean ones) and its
``native_mask`` (where it perturbs when nobody says where). torch is imported when something is computed, not before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

from ias_zoo.errors import NotDecodable, NotFitted, OptionError, RequestError
from ias_zoo.options import options_to_json
from ias_zoo.synthesizer import jsonable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ias_zoo.method import Method
    from ias_zoo.synthesizer import Setup

Features: TypeAlias = "Tensor | tuple[Tensor, ...]"
"""A batch of maps B x C x H x W, floating; a method of two levels takes and gives a tuple of them, coarse first."""


class Space(StrEnum):
    """Whose maps a method perturbs."""

    PATCH_EMBED = "patch_embed"  # neighbourhoods of a backbone's cells, pooled to one width
    RAW_MAP = "raw_map"  # a backbone's maps as they are
    PIXEL = "pixel"  # pictures as float maps
    VQ_PAIR = "vq_pair"  # the two code maps of a vector-quantised autoencoder
    LATENT = "latent"  # an autoencoder's latent


class Target(StrEnum):
    """What a detector learns from a sample."""

    CLASSIFY = "classify"  # which tokens are anomalous: ``mask`` and ``labels``
    RESTORE = "restore"  # the clean features: ``clean``


class NativeMask(StrEnum):
    """Where a method perturbs when no mask is given."""

    ALL = "all"  # everywhere
    FEATURE = "feature"  # cells of the map, of its own choice
    IMAGE = "image"  # pixels of the image, brought to the map by maximum


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureContext:
    """What only some methods need for a call. Later zoos may add fields; none is ever removed.

    Attributes
    ----------
    discriminator:
        The detector in training: N x C rows to N scores, for methods that follow its gradient.
    anomalous, anomalous_masks:
        Features of anomalous pictures of the same batch, and where those are anomalous (B x 1 x h x w).
    masks, labels:
        Real defects in the batch: B x 1 x h x w bool and B bool, for methods that mix real and synthetic ones.
    """

    discriminator: Callable[[Tensor], Tensor] | None = None
    anomalous: Features | None = None
    anomalous_masks: Tensor | None = None
    masks: Tensor | None = None
    labels: Tensor | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureSample:
    """Perturbed features, where they are, and what they were.

    Attributes
    ----------
    features:
        B' x C x H x W, or a tuple of such; B' is the batch given, or twice that for methods that double it.
    mask:
        B' x 1 x H x W bool, True where anomalous; of a tuple, at the size of its finest map.
    labels:
        B' int64: 1 where the mask holds anything (or the given label says so), else 0.
    clean:
        Like ``features``: what a restoring detector is to give back.
    source:
        B' int64: which map of the batch each one was made from.
    kinds:
        One word a sample, for methods that make several kinds.
    strength:
        B' float: how far from normal, in the method's own unit; larger is easier to find.
    aux:
        Anything else a method tells: radii, code numbers, token masks.
    recipe:
        JSON-able: method, plugin and version, options, seeds, drawn parameters.
    """

    features: Features
    mask: Tensor
    labels: Tensor
    clean: Features | None = None
    source: Tensor | None = None
    kinds: tuple[str, ...] | None = None
    strength: Tensor | None = None
    aux: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class FeatureSynthesizer(Protocol):
    """A loaded method that perturbs feature maps.

    Everything random comes from the seeds, one a map. With ``per_sample`` a map's result depends on that map, its seed
    and the fitted state alone, not on its batch-mates.
    """

    method: Method
    options: Any
    space: Space
    target: Target
    native_mask: NativeMask
    per_sample: bool

    def fit(self, features: Features | Iterable[Features]) -> Self:
        """Learn what is normal from one batch of normal features or from several; nothing where nothing is learnt."""
        ...

    def perturb(
        self,
        features: Features,
        *,
        seeds: Sequence[int],
        masks: Tensor | None = None,
        context: FeatureContext | None = None,
    ) -> FeatureSample:
        """Perturb one feature map a seed."""
        ...

    def decode(self, sample: FeatureSample) -> Tensor:
        """Turn a sample into pictures, B' x 3 x h x w in 0..1, or raise :class:`NotDecodable`."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What was learnt, by name: ready for a safetensors file."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what another one learnt."""
        ...


class FeatureMapSynthesizer(ABC):
    """Base class: checks what comes in, hands out random generators, writes the recipe.

    A subclass sets the four class attributes and writes :meth:`draw`; one that learns also :meth:`learn`, keeps tensors
    in ``self.state`` and lists their names in ``learns``.
    """

    space: ClassVar[Space]
    target: ClassVar[Target]
    native_mask: ClassVar[NativeMask]
    per_sample: ClassVar[bool] = True
    learns: ClassVar[tuple[str, ...]] = ()
    needs_fit: ClassVar[bool] = False

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.method = setup.method
        self.options = setup.options
        self.state: dict[str, Tensor] = {}

    @abstractmethod
    def draw(
        self,
        features: Features,
        rngs: Sequence[np.random.Generator],
        masks: Tensor | None,
        context: FeatureContext,
    ) -> FeatureSample:
        """Perturb a checked batch.

        Parameters
        ----------
        features:
            B x C x H x W, or a tuple. Not to be changed in place; gradients flow through it.
        rngs:
            One generator a map; no other randomness.
        masks:
            B x 1 x H x W bool at the size of the (finest) map, or None: the method's own.
        context:
            Of this call; empty where none was given.
        """

    def learn(self, batches: Iterable[Features]) -> dict[str, Tensor]:
        """Give the state learnt from normal features. The default learns nothing."""
        return {}

    def fit(self, features: Features | Iterable[Features]) -> Self:
        """Learn what is normal.

        Parameters
        ----------
        features:
            B x C x H x W of normal images (or a tuple of levels), or an iterable of such batches.

        Raises
        ------
        RequestError
            If a batch is no floating B x C x H x W tensor, or there is none.
        """
        import torch

        single = isinstance(features, torch.Tensor) or (
            isinstance(features, tuple) and features and isinstance(features[0], torch.Tensor)
        )
        batches: Iterable[Features] = [features] if single else features  # type: ignore[list-item]
        with torch.no_grad():
            self.state = self.learn(_checked(batches))
        return self

    def perturb(
        self,
        features: Features,
        *,
        seeds: Sequence[int],
        masks: Tensor | None = None,
        context: FeatureContext | None = None,
    ) -> FeatureSample:
        """Perturb one feature map a seed.

        Parameters
        ----------
        features:
            B x C x H x W, floating, on any device; or a tuple of levels. It is not changed; gradients flow through.
        seeds:
            B non-negative integers.
        masks:
            Where to perturb: B x 1 x h x w or B x h x w, bool or 0 and 1, of any size; a cell of the map counts as
            soon as one of its pixels does. None: the method decides.
        context:
            What only some methods need.

        Raises
        ------
        RequestError
            Naming what is wrong with an argument.
        NotFitted
            If the method has to learn what is normal first.
        """
        import numpy as np

        if self.needs_fit and not self.state:
            raise NotFitted(f"{self.method.name} has not seen normal features: call fit(features) first")
        check_features(features)
        finest = features[-1] if isinstance(features, tuple) else features
        count = finest.shape[0]
        if len(seeds) != count:
            raise RequestError(f"{len(seeds)} seeds for {count} feature maps: expected one each")
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
                raise RequestError(f"seed {seed!r}: expected an integer >= 0")
        pooled = None if masks is None else pool_masks(masks, count, finest.shape[2], finest.shape[3]).to(finest.device)
        sample = self.draw(
            features, [np.random.default_rng(int(seed)) for seed in seeds], pooled, context or FeatureContext()
        )
        recipe = {
            "method": self.method.name,
            "plugin": {"distribution": self.setup.plugin.distribution, "version": self.setup.plugin.version},
            "options": options_to_json(self.options),
            "seeds": [int(seed) for seed in seeds],
            "masks": masks is not None,
            "drawn": jsonable(sample.recipe),
        }
        return _with_recipe(sample, recipe)

    def decode(self, sample: FeatureSample) -> Tensor:
        """Turn a sample into pictures.

        Raises
        ------
        NotDecodable
            Always here; methods that can override it.
        """
        raise NotDecodable(f"{self.method.name} perturbs features that no decoder turns back into pictures")

    def state_dict(self) -> dict[str, Tensor]:
        """What was learnt, by name; empty before :meth:`fit`."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what another one learnt.

        Raises
        ------
        RequestError
            If the names are not those this method learns.
        """
        if set(state) - set(self.learns) or (state and set(self.learns) - set(state)):
            raise RequestError(
                f"{self.method.name}: a state with {', '.join(sorted(state)) or 'nothing'}; "
                f"expected {', '.join(self.learns) or 'nothing'}"
            )
        self.state = dict(state)

    def to(self, device: str) -> Self:
        """Move what was learnt; features stay where their owner keeps them. ``auto`` changes nothing."""
        if device != "auto":
            try:
                self.state = {name: tensor.to(device) for name, tensor in self.state.items()}
            except RuntimeError as error:
                raise OptionError(f"device={device!r}: {' '.join(str(error).split())}") from error
        return self


def check_features(features: Any) -> None:
    """Refuse what is no floating B x C x H x W tensor, or tuple of such over one batch.

    Raises
    ------
    RequestError
        Saying what it is.
    """
    import torch

    levels = features if isinstance(features, tuple) and features else (features,)
    for level in levels:
        if not isinstance(level, torch.Tensor):
            raise RequestError(f"features are {type(level).__name__}: expected a tensor B x C x H x W")
        if level.ndim != 4 or not level.is_floating_point() or 0 in level.shape:
            shape = " x ".join(map(str, level.shape))
            raise RequestError(f"features are {shape} {level.dtype}: expected floating B x C x H x W, none of them 0")
    if len({level.shape[0] for level in levels}) > 1:
        raise RequestError(f"the levels hold {[level.shape[0] for level in levels]} maps: expected one batch")


def pool_masks(masks: Any, count: int, height: int, width: int) -> Tensor:
    """Bring masks to a map's size by maximum: a cell counts as soon as one of its pixels does.

    Parameters
    ----------
    masks:
        ``count`` x 1 x h x w or ``count`` x h x w, bool or 0 and 1; a smaller one is enlarged.

    Returns
    -------
    ``count`` x 1 x ``height`` x ``width`` bool.

    Raises
    ------
    RequestError
        For another shape.
    """
    import torch
    from torch.nn import functional

    if not isinstance(masks, torch.Tensor) or masks.ndim not in (3, 4):
        raise RequestError(f"masks are {getattr(masks, 'shape', type(masks).__name__)}: expected B x 1 x h x w")
    given = masks[:, None] if masks.ndim == 3 else masks
    if given.shape[0] != count or given.shape[1] != 1 or 0 in given.shape:
        raise RequestError(f"masks are {tuple(masks.shape)}: expected {count} x 1 x h x w, one a feature map")
    values = (given != 0).float()
    if values.shape[2] < height or values.shape[3] < width:
        values = functional.interpolate(values, (max(height, values.shape[2]), max(width, values.shape[3])))
    return functional.adaptive_max_pool2d(values, (height, width)) > 0


def mix(clean: Tensor, synthetic: Tensor, mask: Tensor) -> Tensor:
    """``synthetic`` where the mask (B x 1 x H x W bool) is True, elsewhere ``clean`` bit for bit."""
    import torch

    return torch.where(mask, synthetic, clean)


def to_tokens(maps: Tensor, side: int = 1) -> Tensor:
    """Cut maps into tokens of side x side cells: B x C x H x W to B x N x (C side side), row by row.

    H and W are multiples of ``side``.
    """
    from torch.nn import functional

    return functional.unfold(maps, side, stride=side).transpose(1, 2)


def to_maps(tokens: Tensor, height: int, width: int, side: int = 1) -> Tensor:
    """Put tokens together again: the inverse of :func:`to_tokens`."""
    from torch.nn import functional

    return functional.fold(tokens.transpose(1, 2), (height, width), side, stride=side)


def normal_noise(like: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Standard normal noise of a batch's shape, dtype and device, each member from its own generator.

    Drawn on the CPU, so that a seed gives the same noise on every device.
    """
    import numpy as np
    import torch

    drawn = [rng.standard_normal(tuple(like.shape[1:]), dtype=np.float32) for rng in rngs]
    return torch.from_numpy(np.stack(drawn)).to(device=like.device, dtype=like.dtype)


def _checked(batches: Iterable[Features]) -> Iterable[Features]:
    number = -1
    for number, batch in enumerate(batches):  # noqa: B007 - the count is used below
        check_features(batch)
        yield batch
    if number < 0:
        raise RequestError("no normal features were given: expected at least one batch B x C x H x W")


def _with_recipe(sample: FeatureSample, recipe: Mapping[str, Any]) -> FeatureSample:
    from dataclasses import replace

    return replace(sample, recipe=recipe)
