"""Batches whose members do not notice each other, to the bit.

A matrix library picks its kernel, and with it the order of its sums, by the whole size of a product: torch's linear
layers and convolutions give other last bits for an image in a batch of eight than for the same image alone. Nearly all
other operations work on each number, or on each row, by itself. So :func:`rows_apart` hands the products to the library
a row at a time, by the very calls that a single image makes, and leaves everything else to the batch. On a small
network, where calling costs as much as computing, most of a batch's gain remains (``benchmarks/batches.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

_Result = TypeVar("_Result")
_Operations = frozenset[Callable[..., Any]]

# Products with weights: the first argument alone has rows.
_WEIGHTED: _Operations = frozenset({F.linear, F.conv1d, F.conv2d, F.conv_transpose2d})
# Products of two batches: both have rows.
_PAIRED: _Operations = frozenset(
    {torch.bmm, torch.Tensor.bmm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__}
)
# These take another path through memory, and round otherwise, by strides that a batch of one and a batch of two may
# have in different order. And they go in vectors of 32 numbers: a remainder goes another way, so it is each row's own.
_STRIDED: _Operations = frozenset(
    {
        F.group_norm,
        F.layer_norm,
        F.batch_norm,
        F.silu,
        F.gelu,
        F.mish,
        torch.exp,
        torch.sin,
        torch.cos,
        torch.sigmoid,
        torch.tanh,
    }
)
_VECTOR = 32


class _RowsApart(TorchFunctionMode):
    """Do the operations whose result could depend on the number of rows one row at a time."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given: Mapping[str, Any] = kwargs or {}
        if func in _WEIGHTED or func in _STRIDED:
            values, *others = args
            values = values.contiguous()
            count = len(values) if values.ndim > 1 else 1
            if count > 1 and (func in _WEIGHTED or values[0].numel() % _VECTOR):
                return torch.cat([func(row, *others, **given) for row in values.split(1)])
            return func(values, *others, **given)
        if func in _PAIRED:
            left, right = args[0], args[1]
            if left.ndim > 2 and right.ndim > 2 and len(left) == len(right) > 1:
                return torch.cat([func(*pair, **given) for pair in zip(left.split(1), right.split(1), strict=True)])
        return func(*args, **given)


def rows_apart(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Inside, a network gives each row of a batch (first dimension) the same bytes as the row alone.

    For networks in eval mode, without gradients, on a CPU; elsewhere nothing changes, because there no bytes are
    promised. It holds in the thread that enters it. Enter it for single images too: a step of theirs may still be two
    rows (classifier-free guidance).
    """
    return _RowsApart() if device.type == "cpu" else contextlib.nullcontext()


def share_out(work: Callable[[slice], list[_Result]], count: int, threads: int, device: torch.device) -> list[_Result]:
    """Sample a batch of ``count``: in threads that take neighbouring parts of it, each part with its rows apart.

    Python's own work cannot be shared, torch's can: two threads on a small network are about 1.3 times as fast as one.
    Whatever ``work`` hangs on the networks must be for its own thread, and it must not call ``undisturbed`` again.

    Parameters
    ----------
    work:
        Makes the results of a part of the batch, in order.
    threads:
        At most so many; what :func:`ias_zoo.diffusion.base.undisturbed` gives.
    """

    def apart(part: slice) -> list[_Result]:
        with torch.no_grad(), rows_apart(device):
            return work(part)

    size = -(-count // max(1, min(threads, count))) if count else 1
    parts = [slice(first, min(first + size, count)) for first in range(0, count, size)]
    if len(parts) < 2:
        return [result for part in parts for result in apart(part)]
    with ThreadPoolExecutor(len(parts)) as pool:
        return [result for results in pool.map(apart, parts) for result in results]
