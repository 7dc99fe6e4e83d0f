"""The quality gate: samples that would teach a detector something false are not let through.

Two faults are refused: an empty mask, and a mask under which nothing changed (a patch pasted onto its like). Both
happen to hand-crafted methods by chance. A refused sample is drawn again with the next seed of its request, and every
refusal is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask, Sample

TRIES = 20
"""How often one request is drawn before it is given up."""

CHANGED_LEVELS = 2
"""A pixel has changed when some channel differs by more than this many of 255 levels: more than rounding can do."""

CHANGED_SHARE = 0.05
"""The least share of the mask's pixels that must have changed."""

EMPTY = "empty mask"
UNCHANGED = "unchanged inside the mask"


def refuse(sample: Sample, normal: RGB | None) -> str | None:
    """Say why a sample is refused, or None when it may pass.

    ``normal`` is the H x W x 3 uint8 picture it was made from; where there is none, or it has another size, only
    the mask is judged.
    """
    rows = np.flatnonzero(sample.mask.any(axis=1))
    if rows.size == 0:
        return EMPTY
    if normal is None or normal.shape != sample.image.shape:
        return None
    box = slice(rows[0], rows[-1] + 1)  # the rows the mask touches: most masks are small
    share = changed_share(sample.image[box], normal[box], sample.mask[box])
    return UNCHANGED if share < CHANGED_SHARE else None


def changed_share(image: RGB, normal: RGB, mask: Mask) -> float:
    """The share of the mask's pixels in which some channel differs by more than ``CHANGED_LEVELS``; 0 if it is empty.

    ``image`` and ``normal`` are H x W x 3 uint8, ``mask`` H x W bool.
    """
    import cv2

    inside = np.asarray(mask).view(np.uint8)
    same = cv2.inRange(cv2.absdiff(image, normal), (0.0,) * 3, (float(CHANGED_LEVELS),) * 3)
    count = cv2.countNonZero(inside)
    unchanged = cv2.countNonZero(cv2.bitwise_and(same, inside))
    return (count - unchanged) / count if count else 0.0
