"""The contract between the zoo and a method's implementation: requests in, samples out.

A method's class is called with one :class:`Setup` and then satisfies :class:`Synthesizer`. Most of them derive from
:class:`ImageSynthesizer`, which leaves one thing to write: how one sample is drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from ias_zoo.errors import OptionError, RequestError
from ias_zoo.method import Input, Method, Trains
from ias_zoo.options import options_to_json

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt

    from ias_zoo.generation.requests import NormalsLike
    from ias_zoo.generation.shots import ShotsLike
    from ias_zoo.training.shots import Shot

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    LabelMap = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """What one output image is asked for.

    Attributes
    ----------
    seed:
        Non-negative integer; everything random about the sample comes from it.
    normal, normal_id:
        H x W x 3 uint8 RGB, or None; and a name for it that goes into the recipe.
    source, source_id, source_region:
        A second normal, for methods that borrow content from another image; any size.
    shot:
        A real defect with its mask, for methods that copy from shots without learning; any size.
    region:
        H x W bool: where a defect may be (the product's foreground, the user's region of interest). None: anywhere.
    mask:
        H x W bool: where the defect must be. None: the method decides.
    defect, prompt:
        The defect type's name, and words for methods that read them.
    """

    seed: int
    normal: RGB | None = None
    normal_id: str | None = None
    source: RGB | None = None
    source_id: str | None = None
    source_region: Mask | None = None
    shot: Shot | None = None
    region: Mask | None = None
    mask: Mask | None = None
    defect: str | None = None
    prompt: str | None = None

    def need_normal(self) -> RGB:
        """The normal.

        Raises
        ------
        RequestError
            If there is none.
        """
        if self.normal is None:
            raise RequestError("request.normal is missing: give H x W x 3 uint8 RGB")
        return self.normal

    def need_source(self) -> RGB:
        """The second normal.

        Raises
        ------
        RequestError
            If there is none.
        """
        if self.source is None:
            raise RequestError("request.source is missing: give a second normal, H x W x 3 uint8 RGB")
        return self.source

    def to_json(self) -> dict[str, Any]:
        """Everything but the pixels."""
        return {
            "seed": self.seed,
            "normal_id": self.normal_id,
            "source_id": self.source_id,
            "shot": None if self.shot is None else {"id": self.shot.id, "sha256": self.shot.digest},
            "region": self.region is not None,
            "mask": self.mask is not None,
            "defect": self.defect,
            "prompt": self.prompt,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """A synthetic defect image, its exact mask, and all that is needed to make it again.

    Attributes
    ----------
    image:
        H x W x 3 uint8 RGB.
    mask:
        H x W bool, True where the image is defective.
    defect:
        The defect type's name: the request's, or what the method calls its own.
    recipe:
        JSON-able: method, plugin and version, weights, options, request, drawn parameters.
    label_map:
        H x W float32 for methods with soft labels, else None.
    """

    image: RGB
    mask: Mask
    defect: str
    recipe: dict[str, Any]
    label_map: LabelMap | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """What :meth:`ImageSynthesizer.draw` gives back: a sample without its recipe.

    ``drawn`` holds the random choices by name, JSON-able (numpy scalars are fine). ``defect`` is for methods that
    make several kinds: it names the kind where the request does not name a defect.
    """

    image: RGB
    mask: Mask
    drawn: Mapping[str, Any] = field(default_factory=dict)
    label_map: LabelMap | None = None
    defect: str | None = None


@dataclass(frozen=True, kw_only=True)
class PluginId:
    """Where a method came from."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Setup:
    """All that an implementation is constructed from. Later zoos may add fields; none is ever removed."""

    method: Method
    plugin: PluginId
    options: Any
    weights: str | os.PathLike[str] | None = None
    revision: str | None = None
    base: str | os.PathLike[str] | None = None
    device: str = "auto"
    dtype: str | None = None
    given: frozenset[str] = frozenset()
    """Names of the options that the caller gave; the others are the defaults."""


@runtime_checkable
class Synthesizer(Protocol):
    """A loaded method that makes images.

    ``synthesize`` gives one sample a request, in order. A sample depends on its request and the weights alone: not on
    its batch-mates, the batch size, the worker or any global random state. On a CPU the same request gives the same
    bytes.
    """

    method: Method
    options: Any

    def synthesize(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample for each request, in order."""
        ...

    def generate(
        self,
        n: int,
        normals: NormalsLike | None = None,
        *,
        defect: str | None = None,
        shots: ShotsLike | None = None,
        seed: int = 0,
    ) -> list[Sample]:
        """Make ``n`` samples from normals."""
        ...

    def stream(
        self,
        normals: NormalsLike | None = None,
        *,
        defect: str | None = None,
        shots: ShotsLike | None = None,
        seed: int = 0,
    ) -> Iterator[Sample]:
        """Make samples without end, one at a time."""
        ...

    def to(self, device: str) -> Self:
        """Move to a device; returns itself."""
        ...


class ImageSynthesizer(ABC):
    """Base class for methods that make images.

    A subclass writes :meth:`draw`; validation, recipes, ``generate`` and ``stream`` come from here. A method that is
    faster on several requests at once writes :meth:`draw_many` and says in :attr:`batch_size` how many it takes.
    """

    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.method = setup.method
        self.options = setup.options
        self._identity = {
            "method": setup.method.name,
            "plugin": {"distribution": setup.plugin.distribution, "version": setup.plugin.version},
            "options": options_to_json(setup.options),
            "weights": None,
            "base": None,
        }
        self.to(setup.device)

    @abstractmethod
    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Make one sample. ``rng`` is seeded by the request; use no other randomness and change no input."""

    @property
    def batch_size(self) -> int:
        """How many requests :meth:`draw_many` takes at once, at least 1."""
        return 1

    def draw_many(self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]) -> list[Drawn]:
        """Make 1 to ``batch_size`` samples, in order, each as :meth:`draw` makes it: on a CPU to the byte."""
        return [self.draw(request, rng) for request, rng in zip(requests, rngs, strict=True)]

    def synthesize(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample for each request, in order.

        Raises
        ------
        RequestError
            When a request lacks what the method needs or its arrays do not fit together.
        """
        import numpy as np

        samples: list[Sample] = []
        for first in range(0, len(requests), self.batch_size):
            chunk = requests[first : first + self.batch_size]
            for request in chunk:
                check_request(self.method, request)
            drawn = self.draw_many(chunk, [np.random.default_rng(request.seed) for request in chunk])
            samples += [self._sample_of(request, made) for request, made in zip(chunk, drawn, strict=True)]
        return samples

    def generate(
        self,
        n: int,
        normals: NormalsLike | None = None,
        *,
        defect: str | None = None,
        shots: ShotsLike | None = None,
        seed: int = 0,
    ) -> list[Sample]:
        """Make ``n`` samples.

        Parameters
        ----------
        n:
            How many; at least 1.
        normals:
            A folder, a data set from ``ias_zoo.open_data``, or a sequence of paths or arrays (H x W, H x W x 3 or
            H x W x 4; uint8 or uint16).
        defect:
            The defect type's name.
        shots:
            For methods that copy from shots without learning: a folder or data set (its few-shot split is taken), a
            number or one for each type (so many groups of the data set of the normals, a picture of each), or a
            sequence of :class:`~ias_zoo.training.shots.Shot`. By default the few-shot split of the data set of the
            normals.
        seed:
            The run's seed. Sample ``i`` equals image ``i`` of ``ias-zoo generate`` with the same arguments.

        Raises
        ------
        OptionError
            If ``n`` is below 1, or shots are given to a method that takes none.
        DataError
            If there are no normals or shots where they are needed, or one cannot be read.
        RunError
            If the quality gate refuses every try at one sample.
        """
        from ias_zoo.generation.engine import generate

        return generate(self, n, normals, defect=defect, shots=shots, seed=seed)

    def stream(
        self,
        normals: NormalsLike | None = None,
        *,
        defect: str | None = None,
        shots: ShotsLike | None = None,
        seed: int = 0,
    ) -> Iterator[Sample]:
        """Make the samples of :meth:`generate` one after the other, without end."""
        from ias_zoo.generation.engine import stream

        return stream(self, normals, defect=defect, shots=shots, seed=seed)

    def to(self, device: str) -> Self:
        """Accept a device this method runs on; ``auto`` is its first one."""
        if device not in ("auto", *self.devices):
            raise OptionError(
                f"{self.method.name} runs on {' or '.join(self.devices)}; device={device!r} was asked for"
            )
        return self

    def _sample_of(self, request: Request, drawn: Drawn) -> Sample:
        recipe = {**self._identity, "request": request.to_json(), "drawn": jsonable(drawn.drawn)}
        return Sample(
            image=drawn.image,
            mask=drawn.mask,
            defect=request.defect or drawn.defect or self.method.name,
            recipe=recipe,
            label_map=drawn.label_map,
        )


def copies_shots(method: Method) -> bool:
    """Whether a method is handed a shot with each request: it works from shots, and nothing is learned from them."""
    return method.uses(Input.SHOTS) and method.trains is Trains.NONE


def check_request(method: Method, request: Request) -> None:
    """Refuse a request that the method cannot serve.

    Raises
    ------
    RequestError
        Naming the field, what it is and what was expected.
    """
    import numpy as np

    if isinstance(request.seed, bool) or not isinstance(request.seed, int | np.integer) or request.seed < 0:
        raise RequestError(f"request.seed is {request.seed!r}: expected an integer >= 0")
    for what, given in (
        (Input.NORMALS, request.normal),
        (Input.SOURCE, request.source),
        (Input.MASK, request.mask),
        (Input.DEFECT, request.defect),
        (Input.PROMPT, request.prompt),
    ):
        if what in method.needs and given is None:
            raise RequestError(f"{method.name} needs {what.value!r}, and the request has none")
    if Input.SHOTS in method.needs and copies_shots(method) and request.shot is None:
        raise RequestError(f"{method.name} needs a shot, and the request has none")
    shot = request.shot
    for field_name, image in (
        ("normal", request.normal),
        ("source", request.source),
        ("shot.image", None if shot is None else shot.image),
    ):
        if image is not None and not (
            isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        ):
            raise RequestError(f"request.{field_name} is {_array_text(image)}: expected H x W x 3 uint8 RGB")
        if image is not None and 0 in image.shape:
            raise RequestError(f"request.{field_name} is empty: {_array_text(image)}")
    for field_name, mask, image in (
        ("region", request.region, request.normal),
        ("mask", request.mask, request.normal),
        ("source_region", request.source_region, request.source),
        ("shot.mask", None if shot is None else shot.mask, None if shot is None else shot.image),
    ):
        if mask is None:
            continue
        if not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.ndim == 2):
            raise RequestError(f"request.{field_name} is {_array_text(mask)}: expected H x W bool")
        if image is not None and mask.shape != image.shape[:2]:
            raise RequestError(
                f"request.{field_name} is {mask.shape[0]}x{mask.shape[1]}, its image {image.shape[0]}x{image.shape[1]}"
            )
        if field_name != "source_region" and not mask.any():
            raise RequestError(f"request.{field_name} is empty: no pixel is left for a defect")
    if request.mask is not None and not method.uses(Input.MASK):
        raise RequestError(f"{method.name} does not take a mask; `ias-zoo list` shows which methods accept one")


def jsonable(value: Any) -> Any:
    """Turn numpy scalars and arrays, tuples and mappings into what JSON holds."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    return value


def _array_text(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ if shape is None else f"{'x'.join(map(str, shape))} {dtype}"
