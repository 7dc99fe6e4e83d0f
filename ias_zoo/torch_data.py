"""Synthetic defects on the fly, as an ordinary torch data set: for training loops that keep nothing on disk.

The module is imported by ``ias_zoo.torch_dataset``, on first use; it needs torch.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ias_zoo.errors import OptionError, RunError
from ias_zoo.generation.engine import produce
from ias_zoo.generation.plan import LARGEST, check_defect_name
from ias_zoo.generation.requests import Normals, NormalsLike, RequestMaker
from ias_zoo.generation.seeds import seed_for
from ias_zoo.generation.shots import ShotsLike, gather_shots
from ias_zoo.method import Produces
from ias_zoo.registry import load

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB

Example: TypeAlias = tuple[Tensor, Tensor, Tensor]
Transform: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

__all__ = ["AnomalyDataset", "AnomalyStream", "torch_dataset"]

COUNTING = -1


def torch_dataset(
    normals: NormalsLike,
    method: Any,
    *,
    p: float = 0.5,
    length: int | None = None,
    size: tuple[int, int] | None = None,
    seed: int = 0,
    defect: str | None = None,
    shots: ShotsLike | None = None,
    dtype: Literal["float32", "uint8"] = "float32",
    soft_labels: bool = False,
    transform: Transform | None = None,
    iterable: bool = False,
    **options: Any,
) -> AnomalyDataset | AnomalyStream:
    """Make a data set that yields normals and fresh synthetic defects.

    ::

        dataset = ias_zoo.torch_dataset("good_parts/", "METHOD", p=0.5, size=(256, 256))
        loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True, num_workers=4)
        for epoch in range(100):
            for image, mask, label in loader: ...

    Parameters
    ----------
    normals:
        A folder, a data set from ``ias_zoo.open_data``, or a sequence of paths or arrays.
    method:
        A method's name, or a loaded synthesizer (for weights, a device, or options named as arguments here).
    p:
        Chance that an example is defective; the others are the normal as it is.
    length:
        Examples an epoch. Default: the number of normals. Example ``i`` is made from normal ``i`` modulo that number,
        so that a ``Subset`` splits the normals too.
    size:
        Height and width to resize normals to; without it all of them should be of one size, or batches cannot be made.
    seed:
        With it everything repeats: example ``i`` of an epoch depends on the seed, the epoch and ``i`` alone, not on
        the worker, the number of workers or any global random state.
    defect, shots:
        As for ``generate``: the defect type's name, and shots for methods that copy from them.
    dtype:
        ``float32``: image in 0..1, mask 0 and 1. ``uint8``: image in 0..255, mask 0 and 1.
    soft_labels:
        Give the method's label map as mask where it makes one; ``float32`` only.
    transform:
        ``f(image, mask) -> (image, mask)``, last. Randomness of its own is its own business.
    iterable:
        Give the iterable form: each worker goes through its own share of the indices in random order. Do not let the
        loader shuffle it.
    **options:
        The method's options.

    Returns
    -------
    A map-style ``Dataset`` (or an ``IterableDataset``) of ``(image, mask, label)``: 3 x H x W, 1 x H x W, both of
    ``dtype``, and an int64 scalar, 1 where a defect is.

    Raises
    ------
    OptionError, UnknownMethod, DataError
        When the arguments cannot be used.
    NotFitted
        When the method has to be fitted, or given weights, first.
    """
    _check_size(size)
    synthesizer = load(method, device="cpu", **options) if isinstance(method, str) else method
    if not isinstance(method, str) and options:
        raise OptionError(
            f"options {', '.join(options)} were given with a loaded synthesizer: give them to ias_zoo.load"
        )
    dataset = AnomalyDataset(
        synthesizer,
        normals if isinstance(normals, Normals) and size is None else Normals(normals, size=size),
        p=p,
        length=length,
        seed=seed,
        defect=defect,
        shots=shots,
        dtype=dtype,
        soft_labels=soft_labels,
        transform=transform,
    )
    return AnomalyStream(dataset) if iterable else dataset


def _check_size(size: Any) -> None:
    if size is None:
        return
    pair = isinstance(size, tuple | list) and len(size) == 2
    if not (pair and all(isinstance(side, int | np.integer) and 1 <= side <= LARGEST for side in size)):
        raise OptionError(f"size={size!r}: expected (height, width) of 1 to {LARGEST} pixels, such as size=(256, 256)")


class AnomalyDataset(Dataset[Example]):
    """The map-style form; see :func:`torch_dataset`.

    How it knows the epoch: each index counts how often it was asked for, in memory shared by all workers, so a second
    pass over the indices gives new examples whatever the loader does (none, forked, spawned or persistent workers).
    For exact control (several ranks, resuming, an epoch broken off, sampling with replacement) call :meth:`set_epoch`
    before each epoch: from then on an example is a function of that epoch and its index, however often it is asked for.
    """

    def __init__(
        self,
        synthesizer: Any,
        normals: Normals,
        *,
        p: float,
        length: int | None,
        seed: int,
        defect: str | None,
        shots: ShotsLike | None,
        dtype: str,
        soft_labels: bool,
        transform: Transform | None,
    ) -> None:
        method = synthesizer.method
        if method.produces is not Produces.IMAGE:
            raise OptionError(
                f"{method.name} perturbs feature maps; a data set of images needs a method that makes images"
            )
        if isinstance(p, bool) or not 0 <= p <= 1:
            raise OptionError(f"p={p!r}: expected a chance between 0 and 1")
        if dtype not in ("float32", "uint8"):
            raise OptionError(f"dtype={dtype!r}: expected 'float32' or 'uint8'")
        if soft_labels and dtype == "uint8":
            raise OptionError("soft_labels needs dtype='float32': label maps are fractions")
        if length is not None and (isinstance(length, bool) or length < 1):
            raise OptionError(f"length={length!r}: expected an integer >= 1, or None for one example a normal")
        # Of a method that is fitted; raises where it is not, here and not in the first worker.
        known: tuple[str, ...] = getattr(synthesizer, "defects", ())
        if defect is not None:
            check_defect_name(defect)
            if known and defect not in known:
                raise OptionError(f"defect={defect!r}: these weights know {', '.join(known)}")
        defects = [defect] if defect else []
        self.synthesizer = synthesizer
        self.normals = normals
        self.seed = seed
        self.p = p
        self.dtype = dtype
        self.soft_labels = soft_labels
        self.transform = transform
        self._length = length or len(normals)
        self._maker = _InOrder(
            method,
            normals,
            seed=seed,
            defects=defects,
            shots=gather_shots(method, shots, normals.source, defects=defects),
            length=self._length,
        )
        # Shared memory: what one worker or the main process writes, all see, forked or spawned.
        self._visits = torch.zeros(self._length, dtype=torch.int64)
        self._epoch = torch.full((1,), COUNTING, dtype=torch.int64)
        for counter in (self._visits, self._epoch):
            counter.share_memory_()  # type: ignore[no-untyped-call]
        self._process = os.getpid()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        index = operator.index(index)
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} of {self._length} examples")
        index %= self._length
        epoch = int(self._epoch)
        if epoch == COUNTING:
            epoch = int(self._visits[index])
            self._visits[index] += 1
        return self.example(index, epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is; workers that already run see it too. Call it between epochs.

        Raises
        ------
        OptionError
            If it is negative.
        """
        if isinstance(epoch, bool) or epoch < 0:
            raise OptionError(f"epoch={epoch!r}: expected an integer >= 0")
        self._epoch[0] = epoch

    def next_epoch(self, index: int) -> int:
        """The epoch in which ``index`` will be asked for next."""
        return int(self._visits[index]) if int(self._epoch) == COUNTING else int(self._epoch)

    def example(self, index: int, epoch: int) -> Example:
        """Example ``index`` of an epoch: always the same.

        Raises
        ------
        RunError
            If the method cannot make it.
        """
        self._enter_process()
        number = epoch * self._length + index
        if seed_for(self.seed, number, "defective") >= self.p * 2**63:
            normal = self.normals.read(index % len(self.normals)).image
            return self._tensors(normal, np.zeros(normal.shape[:2], np.bool_), 0)
        (outcome,) = produce(self.synthesizer, self._maker, [number])
        sample, made_from = outcome.sample, outcome.normal
        if sample is None:
            raise RunError(f"example {index} of epoch {epoch} could not be made: {outcome.error}")
        if self.p < 1 and made_from is not None and made_from.image.shape != sample.image.shape:
            given, got = ("x".join(map(str, x.shape[:2])) for x in (made_from.image, sample.image))
            raise RunError(
                f"{self.synthesizer.method.name} makes {got} pictures of {given} normals, and those do not go in one "
                f"batch with the normals themselves: use p=1, or size= that of its pictures"
            )
        mask = sample.label_map if self.soft_labels and sample.label_map is not None else sample.mask
        return self._tensors(sample.image, mask, 1)

    def _tensors(self, image: RGB, mask: Any, label: int) -> Example:
        planes = np.empty((3, *image.shape[:2]), np.float32 if self.dtype == "float32" else np.uint8)
        for channel, plane in zip(planes, cv2.split(image), strict=True):  # several times faster than a transposed copy
            np.multiply(plane, np.float32(1 / 255) if self.dtype == "float32" else np.uint8(1), out=channel)
        pixels = torch.from_numpy(planes)
        where = torch.from_numpy(mask.astype(np.float32 if self.dtype == "float32" else np.uint8)[None])
        if self.transform is not None:
            pixels, where = self.transform(pixels, where)
        return pixels, where, torch.tensor(label)

    def _enter_process(self) -> None:
        """In a worker, once: a core is all it has, and OpenCV's threads did not survive the fork."""
        if os.getpid() != self._process:
            cv2.setNumThreads(0)  # 1 would wait for the parent's threads
            self._process = os.getpid()


class AnomalyStream(IterableDataset[Example]):
    """The iterable form; see :func:`torch_dataset`. One pass is one epoch of ``dataset``, each index once."""

    def __init__(self, dataset: AnomalyDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Example]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        share = range(first, len(self.dataset), step)
        if share:
            epoch = self.dataset.next_epoch(share[0])
            order = np.random.default_rng(seed_for(self.dataset.seed, "order", epoch, first)).permutation(len(share))
            for place in order:
                yield self.dataset[share[int(place)]]

    def set_epoch(self, epoch: int) -> None:
        """As :meth:`AnomalyDataset.set_epoch`."""
        self.dataset.set_epoch(epoch)


class _InOrder(RequestMaker):
    """Requests whose normal follows from the index: request ``epoch * length + i`` takes normal ``i``."""

    def __init__(self, *arguments: Any, length: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._length = length

    def _normal_number(self, index: int) -> int:
        assert self.normals is not None  # noqa: S101 - for the type checker
        return (index % self._length) % len(self.normals)
