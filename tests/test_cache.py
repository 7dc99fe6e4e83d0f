"""The cache of decoded pictures: bounded, shared by threads, empty after pickling."""

from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

from ias_zoo.data.cache import PictureCache


def test_keeps_within_its_bytes_and_drops_the_least_recent() -> None:
    cache = PictureCache(20, len)
    made: list[str] = []

    def make(name: str) -> bytes:
        return cache.get(name, lambda: made.append(name) or bytes(10))

    first = make("a")
    make("b")
    assert make("a") is first
    make("c")  # drops b
    assert cache.bytes == 20
    assert make("a") is first
    make("b")
    assert made == ["a", "b", "c", "b"]


def test_what_is_too_large_is_not_kept() -> None:
    cache = PictureCache(5, len)
    assert cache.get("a", lambda: bytes(6)) is not cache.get("a", lambda: bytearray(6))
    assert cache.bytes == 0


def test_pickled_empty() -> None:
    cache = PictureCache(20, len)
    cache.get("a", lambda: b"123")
    again = pickle.loads(pickle.dumps(cache))
    assert (again.limit, again.bytes) == (20, 0)
    assert again.get("a", lambda: b"45") == b"45"


def test_threads_share_one() -> None:
    cache = PictureCache(30, len)

    def work(seed: int) -> bool:
        draw = random.Random(seed)
        return all(cache.get(n, lambda n=n: bytes([n]) * 10) == bytes([n]) * 10 for n in draw.choices(range(6), k=4000))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert cache.bytes == sum(len(value) for value in cache._values.values()) <= 30
