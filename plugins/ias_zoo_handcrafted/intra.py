"""InTra: one tile of a window of tiles is hidden, and a transformer is to tell what was there.

Pirnay, Chai: *Inpainting Transformer for Anomaly Detection*, ICIAP 2022, arXiv 2104.13897. There is no official code;
an unofficial one exists (github.com/jhy12/inpainting-transformer). This makes its training pairs and the windows of
its inference; the transformer is left out, and anything that fills a hole can take its place.

A picture is a grid of tiles of K x K pixels (what is left over at the right and bottom belongs to no tile). A window
of L x L tiles is drawn uniformly, then one of its tiles, uniformly, is hidden. The target is the normal itself.

Our design, where the publication says nothing because its network never reads the hidden tile:

- What stands in the hidden tile: black, or another ``fill``. No hidden pixel has an influence on it.
- The sample is the whole image with that tile hidden, so that it fits the normal; ``output="window"`` cuts the window
  out, as the network sees it. The recipe tells both boxes.
- With a region the tile is drawn first, among those that lie in it by at least half (or touch it, if none does), then
  a window around it; only the tile's pixels in the region are hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ias_zoo import Drawn, ImageSynthesizer, Request
from ias_zoo.errors import RequestError
from ias_zoo.imaging.grids import window_start
from ias_zoo.imaging.inpaint import hide
from ias_zoo.imaging.patches import Box

if TYPE_CHECKING:
    import numpy.typing as npt

    from ias_zoo.imaging.inpaint import Inpainter
    from ias_zoo_handcrafted.options.masking import IntraOptions

    RGB = npt.NDArray[np.uint8]
    Mask = npt.NDArray[np.bool_]

TILE, WINDOW = 16, 7


class View(NamedTuple):
    """A window and the tile to hide in it: boxes in pixels of the image, and the tile's place in the grid."""

    window: Box
    tile: Box
    row: int
    column: int


class Intra(ImageSynthesizer):
    """InTra's masked windows."""

    options: IntraOptions

    def draw(self, request: Request, rng: np.random.Generator) -> Drawn:
        """Hide one tile (paper, section 3).

        Raises
        ------
        RequestError
            If the normal holds no whole tile, or the region touches none.
        """
        options, normal, region = self.options, request.need_normal(), request.region
        side, (rows, columns) = options.tile, _grid(normal, options.tile)
        lengths = min(options.window, rows), min(options.window, columns)
        if region is None:
            top, left = (int(rng.integers(n - length + 1)) for n, length in zip((rows, columns), lengths, strict=True))
            row, column = top + int(rng.integers(lengths[0])), left + int(rng.integers(lengths[1]))
        else:
            row, column = _tile_in(region, side, rows, columns, rng)
            top, left = (
                int(rng.integers(max(0, place - length + 1), min(place, n - length) + 1))
                for place, length, n in zip((row, column), lengths, (rows, columns), strict=True)
            )
        tile = Box(row * side, column * side, side, side)
        window = Box(top * side, left * side, lengths[0] * side, lengths[1] * side)
        mask = np.zeros(normal.shape[:2], np.bool_)
        mask[tile.slices] = True if region is None else region[tile.slices]
        drawn: dict[str, Any] = {"window": window, "tile": tile, "target": "normal", "fill": options.fill}
        if options.output == "window":
            seen = np.ascontiguousarray(normal[window.slices])
            mask = np.ascontiguousarray(mask[window.slices])
            return Drawn(image=hide(seen, mask, options.fill), mask=mask, drawn={**drawn, "target": "window of normal"})
        return Drawn(image=hide(normal, mask, options.fill), mask=mask, drawn=drawn)


def views(height: int, width: int, tile: int = TILE, window: int = WINDOW) -> Iterator[View]:
    """The windows of inference: each tile of the grid once, in the middle of its window where the image allows it.

    Parameters
    ----------
    height, width:
        Of the image; at least one tile.
    tile, window:
        K pixels and L tiles; fewer tiles where the grid has fewer.
    """
    rows, columns = height // tile, width // tile
    down, across = min(window, rows), min(window, columns)
    for row in range(rows):
        for column in range(columns):
            top, left = window_start(row, down, rows), window_start(column, across, columns)
            yield View(
                Box(top * tile, left * tile, down * tile, across * tile),
                Box(row * tile, column * tile, tile, tile),
                row,
                column,
            )


def reconstruct(image: RGB, inpaint: Inpainter, tile: int = TILE, window: int = WINDOW) -> RGB:
    """Hide each tile in turn, have it filled from its window, and put the filled tiles together.

    Parameters
    ----------
    image:
        H x W x 3 uint8 RGB of at least one tile.
    inpaint:
        Gets a window with a black tile, and the tile's mask.
    tile, window:
        As in :func:`views`.

    Returns
    -------
    (H // K) K x (W // K) K x 3 uint8 RGB.

    Raises
    ------
    RequestError
        If the image holds no whole tile.
    """
    rows, columns = _grid(image, tile)
    result = np.empty((rows * tile, columns * tile, 3), np.uint8)
    for view in views(image.shape[0], image.shape[1], tile, window):
        y, x = view.tile.top - view.window.top, view.tile.left - view.window.left
        inside = (slice(y, y + tile), slice(x, x + tile))
        mask = np.zeros((view.window.height, view.window.width), np.bool_)
        mask[inside] = True
        seen = hide(np.ascontiguousarray(image[view.window.slices]), mask, "black")
        result[view.tile.slices] = inpaint(seen, mask)[inside]
    return result


def _grid(image: RGB, side: int) -> tuple[int, int]:
    rows, columns = image.shape[0] // side, image.shape[1] // side
    if not rows or not columns:
        raise RequestError(
            f"the normal is {image.shape[0]}x{image.shape[1]} and holds no tile of {side}x{side} pixels; "
            "use larger pictures or the option tile"
        )
    return rows, columns


def _tile_in(region: Mask, side: int, rows: int, columns: int, rng: np.random.Generator) -> tuple[int, int]:
    whole = region[: rows * side, : columns * side]
    inside = whole.reshape(rows, side, columns, side).sum(axis=(1, 3)).ravel()
    candidates = np.flatnonzero(2 * inside >= side * side)
    if not candidates.size:
        candidates = np.flatnonzero(inside)
    if not candidates.size:
        raise RequestError("the region lies outside the grid of whole tiles; use the option tile or larger pictures")
    row, column = divmod(int(candidates[rng.integers(candidates.size)]), columns)
    return row, column
