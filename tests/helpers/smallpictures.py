"""Small pictures for tests of methods that look for a product: a surface without one, and a disc on a background."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ias_zoo.synthesizer import Request


def texture(seed: int, height: int = 256, width: int = 256) -> Any:
    """Strong colour grain without a background."""
    rng = np.random.default_rng(seed)
    raw = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 1.0)
    return np.clip(128 + 35 * raw / raw.std(), 0, 255).astype(np.uint8)


def product(seed: int, height: int = 256, width: int = 256) -> Any:
    """A dark grained disc on a bright background."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    centre_y, centre_x = rng.uniform(0.46, 0.54, 2) * (height, width)
    inside = ((y - centre_y) / height) ** 2 + ((x - centre_x) / width) ** 2 < 0.33**2
    return np.where(inside[..., None], texture(seed, height, width) // 2 + 20, np.uint8(225)).astype(np.uint8)


def pairs(kind: Any, count: int, **fields: Any) -> list[Request]:
    """Requests with seeds 0, 1, ..., each with a normal and another picture as its source, from a pool of six."""
    pool = [kind(seed) for seed in range(6)]
    return [Request(seed=i, normal=pool[i % 6], source=pool[(i + 1 + i // 6 % 5) % 6], **fields) for i in range(count)]
