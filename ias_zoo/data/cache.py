"""Keep decoded pictures, up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PictureCache(Generic[T]):
    """The values used last, the oldest dropped beyond ``limit`` bytes. Threads may share one; a pickled one is empty.

    Parameters
    ----------
    limit:
        Bytes. A value that is larger by itself is not kept.
    weigh:
        The bytes of a value.
    """

    def __init__(self, limit: int, weigh: Callable[[T], int]) -> None:
        self.limit = limit
        self.bytes = 0
        self._weigh = weigh
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of ``key``, made now if it is not kept. Two threads may make one value twice; both are good."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values and self._weigh(value) <= self.limit:
                self._values[key] = value
                self.bytes += self._weigh(value)
                while self.bytes > self.limit:
                    _, dropped = self._values.popitem(last=False)
                    self.bytes -= self._weigh(dropped)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.limit, self._weigh)
