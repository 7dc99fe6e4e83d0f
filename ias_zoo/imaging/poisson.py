"""Poisson image editing on a box, solved directly by sine transforms.

Perez, Gangnet, Blake, "Poisson Image Editing", SIGGRAPH 2003. The result keeps the destination's pixels on the box's
outer ring and has, inside, the gradients of the patch where the mask says so and the destination's elsewhere. The
discretisation is the one of OpenCV's ``seamlessClone``, so that results agree with published ones:

* forward differences for the gradients, backward differences for the divergence, the 5-point Laplacian;
* the box is the bounding box of the mask, and the mask is eroded by 3 pixels before it selects gradients, which keeps
  the 3 outermost pixels of a full rectangle on the destination's gradients;
* in mixed mode a pixel and channel takes the patch's gradient (both components) where |gx - gy| of the patch is
  strictly larger than the destination's. (Perez et al. compare the gradients' norms; OpenCV compares this difference.)

Ours: what is solved for is the correction to the destination, which is zero on the ring, so that no boundary terms
arise and an unchanged gradient field gives back the very same pixels. The result is rounded, where OpenCV truncates
(which darkens by half a grey level on average); grey pictures are solved once, not three times; the place is exact
(OpenCV centres the mask's bounding box), and neither the mask nor the destination is written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ias_zoo.data.images import is_grey

if TYPE_CHECKING:
    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]
    Float = npt.NDArray[np.float32]

EROSION = 3  # pixels, as in OpenCV


def poisson_blend(
    destination: RGB,
    patch: RGB,
    top: int,
    left: int,
    mask: Mask | None = None,
    *,
    mixed: bool = False,
    strength: float = 1.0,
) -> RGB:
    """Blend a patch into a copy of the destination.

    Parameters
    ----------
    destination:
        H x W x 3 uint8.
    patch:
        h x w x 3 uint8; its top-left pixel comes to row ``top``, column ``left``.
    top, left:
        Where; the patch has to lie inside the destination.
    mask:
        h x w bool: where the patch's gradients count (after an erosion by 3 pixels). None: everywhere. Only the box
        around its True pixels is solved, and nothing outside that box changes.
    mixed:
        Take the patch's gradient only where it is the stronger one.
    strength:
        In [0, 1]: 1 takes the patch's gradients, less than 1 a weighted mean with the destination's.

    Returns
    -------
    H x W x 3 uint8, a new array.

    Raises
    ------
    ValueError
        If the patch does not lie inside the destination, or the mask is not of the patch's size.
    """
    height, width = patch.shape[:2]
    if not (0 <= top <= destination.shape[0] - height and 0 <= left <= destination.shape[1] - width):
        raise ValueError(f"a {height}x{width} patch at ({top}, {left}) leaves the {destination.shape[:2]} destination")
    if mask is None:
        mask = np.ones((height, width), np.bool_)
    elif mask.shape != (height, width):
        raise ValueError(f"the mask is {mask.shape}, the patch {(height, width)}")
    blended = destination.copy()
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    if w == 0:  # an empty mask
        return blended
    box = blended[top + y : top + y + h, left + x : left + x + w]
    inside = slice(y, y + h), slice(x, x + w)
    blend_box(box, patch[inside], mask[inside], mixed=mixed, strength=strength)
    return blended


def blend_box(box: RGB, patch: RGB, mask: Mask, *, mixed: bool = False, strength: float = 1.0) -> None:
    """Blend ``patch`` into ``box`` in place; all three have the same height and width.

    The work behind :func:`poisson_blend`, for callers that own the destination: ``box`` may be a view into it. The
    mask's bounding box should be the whole box, or more than OpenCV's part of it is solved.
    """
    inner = _eroded(mask)
    if not inner.any():  # also every box of less than 7 pixels in height or width: no gradient would be replaced
        return
    grey = is_grey(box) and is_grey(patch)
    old: Float = box[..., : 1 if grey else 3].astype(np.float32)
    new: Float = patch[..., : 1 if grey else 3].astype(np.float32)
    chosen = inner[..., None]
    if mixed:
        stronger = np.zeros(old.shape, np.bool_)  # the last row and column have no forward difference
        stronger[:-1, :-1] = np.abs(_skewed_gradient(new)) > np.abs(_skewed_gradient(old))
        chosen = stronger & chosen
    correction = solve_poisson(_divergence(np.subtract(new, old, out=new), chosen))
    interior = old[1:-1, 1:-1]
    interior += correction if strength == 1.0 else np.float32(strength) * correction
    np.rint(interior, out=interior)
    box[1:-1, 1:-1] = np.clip(interior, 0, 255, out=interior)  # one grey channel broadcasts to three


def solve_poisson(divergence: Float) -> Float:
    """Solve the 5-point Poisson equation with zeros on the ring around the given pixels.

    Parameters
    ----------
    divergence:
        m x n x C float32: the right-hand side at the interior pixels. May be overwritten.

    Returns
    -------
    m x n x C float32: u with u[i-1, j] + u[i+1, j] + u[i, j-1] + u[i, j+1] - 4 u[i, j] = divergence[i, j].
    """
    from scipy.fft import dstn  # here, not above: it takes a quarter of a second to import

    m, n = divergence.shape[:2]
    # The type-I sine transform diagonalises the Laplacian, and applied twice it scales by 4 (m + 1) (n + 1).
    rows = 2.0 * np.cos(np.pi * np.arange(1, m + 1) / (m + 1)) - 2.0
    columns = 2.0 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) - 2.0
    inverse = (1.0 / ((rows[:, None] + columns) * (4.0 * (m + 1) * (n + 1)))).astype(np.float32)
    spectrum = dstn(divergence, type=1, axes=(0, 1), overwrite_x=True, workers=1)
    spectrum *= inverse[..., None]
    solution: Float = dstn(spectrum, type=1, axes=(0, 1), overwrite_x=True, workers=1)
    return solution


def _divergence(difference: Float, chosen: Mask) -> Float:
    """Divergence, at the interior pixels, of the gradient of ``difference`` where it is chosen, 0 elsewhere."""
    across = (difference[1:-1, 1:] - difference[1:-1, :-1]) * chosen[1:-1, :-1]
    down = (difference[1:, 1:-1] - difference[:-1, 1:-1]) * chosen[:-1, 1:-1]
    result: Float = across[:, 1:] - across[:, :-1]
    result += down[1:]
    result -= down[:-1]
    return result


def _skewed_gradient(image: Float) -> Float:
    """Forward gx - gy, at all pixels but those of the last row and column."""
    return image[:-1, 1:] - image[1:, :-1]


def _eroded(mask: Mask) -> Mask:
    """Shrink the mask by 3 pixels in the maximum norm; what lies outside the array counts as False."""
    size = 2 * EROSION + 1
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.erode(framed, np.ones((size, size), np.uint8)))[1:-1, 1:-1].view(np.bool_)
