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
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

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
