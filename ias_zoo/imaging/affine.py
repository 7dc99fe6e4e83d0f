"""Turning, scaling, shearing and mirroring a patch with its mask, or turning a whole picture with its region."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ias_zoo.imaging.noise import rotate
from ias_zoo.imaging.photometric import turn

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

__all__ = ["Affine", "turn_normal", "warp_patch"]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A change of shape: first mirrored, then sheared, scaled, and turned counter-clockwise.

    ``shear`` (degrees) slants the columns; ``mirror`` is left to right, ``flip`` upside down.
    """

    degrees: float = 0.0
    scale: float = 1.0
    shear: float = 0.0
    mirror: bool = False
    flip: bool = False

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """2 x 2, for column vectors (x, y) with y down."""
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        turn = np.array([[cos, sin], [-sin, cos]])
        slant = np.array([[1.0, math.tan(math.radians(self.shear))], [0.0, 1.0]])
        mirror = np.diag([-1.0 if self.mirror else 1.0, -1.0 if self.flip else 1.0])
        return np.asarray(self.scale * turn @ slant @ mirror)

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the smallest canvas that holds a warped rectangle."""
        matrix = np.abs(self.matrix)
        # The tolerance keeps a turn by 0 or 90 degrees from growing by a pixel through rounding.
        rows, columns = matrix[1] @ [width, height] - 1e-6, matrix[0] @ [width, height] - 1e-6
        return max(1, math.ceil(rows)), max(1, math.ceil(columns))

    def to_json(self) -> dict[str, Any]:
        """The five numbers by name."""
        return asdict(self)


def warp_patch(patch: RGB, mask: Mask, affine: Affine) -> tuple[RGB, Mask]:
    """Warp a patch and its mask.

    Parameters
    ----------
    patch:
        h x w x 3 uint8 RGB.
    mask:
        h x w bool.

    Returns
    -------
    Both on the smallest canvas that holds the warped rectangle. The patch is interpolated bilinearly and repeats its
    border outside itself; the mask is True where at least half of its interpolated value is, or, where a thin mask
    would vanish by that, at least half of its largest value.
    """
    height, width = mask.shape
    matrix = affine.matrix
    rows, columns = affine.canvas(height, width)
    centre, target = np.array([(width - 1) / 2, (height - 1) / 2]), np.array([(columns - 1) / 2, (rows - 1) / 2])
    full = np.hstack([matrix, (target - matrix @ centre)[:, None]])
    # Shrinking by interpolation alone would skip pixels; here scales stay near 1.
    warped = cv2.warpAffine(patch, full, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    soft = cv2.warpAffine(mask.astype(np.float32), full, (columns, rows), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8), np.asarray(soft >= min(0.5, 0.5 * float(soft.max()) or 1.0))


def turn_normal(normal: RGB, region: Mask | None, degrees: float, *, fill: int = 0) -> tuple[RGB, Mask | None] | None:
    """Turn a whole picture and its region counter-clockwise about the centre, keeping the size.

    Parameters
    ----------
    normal, region:
        H x W x 3 uint8 RGB, and H x W bool or None.
    fill:
        The grey level that comes into the corners.

    Returns
    -------
    Both turned; None if the region would leave the picture.
    """
    turned = None if region is None else rotate(region.astype(np.float32), degrees) > 0.5
    if turned is not None and not turned.any():
        return None
    image = turn(normal, degrees)
    if fill:
        gone = 1.0 - rotate(np.ones(normal.shape[:2], dtype=np.float32), degrees)
        image = np.asarray(np.clip(image + np.rint(fill * gone)[..., None], 0, 255), dtype=np.uint8)
    return image, turned
