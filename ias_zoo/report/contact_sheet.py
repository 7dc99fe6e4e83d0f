"""A contact sheet: normal, synthetic, mask and overlay side by side, a row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ias_zoo.data.images import encode_png, read_image, read_mask, write_whole
from ias_zoo.errors import DataError, RunError
from ias_zoo.generation.folder import SHEET, disk_errors
from ias_zoo.generation.plan import Plan
from ias_zoo.generation.provenance import read_provenance
from ias_zoo.generation.requests import Normals

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

CELL = 224
"""Largest side of a picture on the sheet, in pixels."""

_GAP, _TEXT = 6, 18
_RED = np.array([235, 30, 30], dtype=np.float32)
_PAPER, _INK = (250, 250, 250), (40, 40, 40)


@dataclass(frozen=True, eq=False)
class Row:
    """One sample on the sheet. ``normal`` is None for methods that make images from nothing."""

    title: str
    normal: RGB | None
    image: RGB
    mask: Mask


def draw_sheet(rows: Sequence[Row], heading: str, *, columns: int = 2) -> RGB:
    """Draw the rows, ``columns`` of them side by side; gives H x W x 3 uint8 RGB.

    Small pictures are enlarged by whole factors (their pixels stay visible), large ones reduced.
    """
    names = ("normal", "synthetic", "mask", "overlay")
    width = len(names) * (CELL + _GAP) + _GAP
    lines = -(-len(rows) // columns)
    cells = [[_fit(picture) for picture in _pictures(row)] for row in rows]
    heights = [max(cell.shape[0] for cell in row) + _TEXT + _GAP for row in cells]
    tops = [2 * _TEXT + 2 * _GAP]
    for line in range(lines):
        tops.append(tops[-1] + max(heights[line * columns : (line + 1) * columns]))
    sheet = Image.new("RGB", (columns * width, tops[-1] + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((_GAP, _GAP), heading, fill=_INK, font=font)
    for column in range(min(columns, len(rows))):
        for place, name in enumerate(names):
            x = column * width + _GAP + place * (CELL + _GAP)
            pen.text((x, _TEXT + _GAP), name, fill=_INK, font=font)
    for number, (row, pictures) in enumerate(zip(rows, cells, strict=True)):
        line, column = divmod(number, columns)
        for place, picture in enumerate(pictures):
            x = column * width + _GAP + place * (CELL + _GAP)
            sheet.paste(Image.fromarray(picture), (x, tops[line]))
        pen.text((column * width + _GAP, tops[line + 1] - _TEXT - _GAP + 1), row.title, fill=_INK, font=font)
    return np.asarray(sheet, dtype=np.uint8)


def overlay(image: RGB, mask: Mask) -> RGB:
    """The picture with the mask tinted and outlined in red; the outline lies outside the mask and hides none of it."""
    mixed = image.astype(np.float32)
    mixed[mask] = 0.7 * mixed[mask] + 0.3 * _RED
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~mask
    mixed[ring] = _RED
    return np.asarray(mixed, dtype=np.uint8)


def sheet_of_run(folder: Path, *, count: int = 12) -> Path | None:
    """Draw ``count`` samples of a finished run, evenly spread, into ``contact_sheet.png``; None when it has none.

    Raises
    ------
    RunError
        If the folder is no run, or the disk refuses.
    """
    plan = Plan.read(folder)
    rows = rows_of_run(folder, count)
    if not rows:
        return None
    heading = f"{plan.method}   {len(rows)} of {plan.n}   seed {plan.seed}   {plan.data}"
    target = folder / SHEET
    with disk_errors(folder):
        write_whole(target, encode_png(draw_sheet(rows, heading)))
    return target


def rows_of_run(folder: Path, count: int, *, prefix: str = "") -> list[Row]:
    """``count`` samples of a run, evenly spread, read back from its files."""
    plan = Plan.read(folder)
    normals = Normals(plan.open_data(), size=plan.size)
    return [_row(folder, line, normals, prefix) for line in _evenly(folder, count)]


def _evenly(folder: Path, count: int) -> list[dict[str, Any]]:
    """``count`` provenance lines spread over the run; two passes, so that a long run is never held in memory."""
    total = sum("error" not in line for line in read_provenance(folder))
    wanted = {round(place) for place in np.linspace(0, total - 1, min(count, total))}
    made = (line for line in read_provenance(folder) if "error" not in line)
    return [line for number, line in enumerate(made) if number in wanted]


def _row(folder: Path, line: dict[str, Any], normals: Normals, prefix: str) -> Row:
    try:
        image, mask = read_image(folder / line["image"]).image, read_mask(folder / line["mask"])
    except DataError as error:
        raise RunError(f"contact sheet: {error}") from error
    normal_id = line["recipe"]["request"]["normal_id"]
    normal = None if normal_id is None else normals.read(normals.index(normal_id)).image
    title = f"{prefix}{Path(line['image']).name}  {line['defect']}  {100 * mask.mean():.2f} % of the picture"
    return Row(title, normal, image, mask)


def _pictures(row: Row) -> list[RGB]:
    blank = np.full((8, 8, 3), 230, dtype=np.uint8)
    shown = np.repeat(row.mask[:, :, None].astype(np.uint8) * 255, 3, axis=2)
    return [blank if row.normal is None else row.normal, row.image, shown, overlay(row.image, row.mask)]


def _fit(picture: RGB) -> RGB:
    height, width = picture.shape[:2]
    if max(height, width) > CELL:
        scale = CELL / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    factor = max(1, CELL // max(height, width))
    return np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)
