"""The pictures to be measured: of a generated folder and of a data set, read once and brought to one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ias_zoo.data import DataSet, Item
from ias_zoo.data.dataset import read_fitting_mask
from ias_zoo.data.images import read_image, resize_image
from ias_zoo.errors import DataError, RunError
from ias_zoo.evaluation.diversity import inside
from ias_zoo.evaluation.masks import Fit, difference_fit
from ias_zoo.generation.folder import written_normals
from ias_zoo.generation.plan import Plan
from ias_zoo.generation.provenance import read_provenance
from ias_zoo.generation.seeds import seed_for

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask


@dataclass
class Pictures:
    """Pictures of one kind, in one order.

    Attributes
    ----------
    names:
        Below their folder.
    images:
        side x side x 3 uint8 RGB; the whole picture, whatever its proportions.
    masks:
        side x side bool: True where any part of the mask is, so that small defects do not vanish.
    insides:
        The defects by themselves, cut out at the picture's own size.
    areas:
        The share of its picture that each mask marks, at its own size.
    normal_ids:
        The normal that each sample was made on, where its recipe names one.
    fits:
        How each sample's mask fits its difference to that normal.
    total:
        How many there are in the folder; more than ``names`` where a limit was given.
    """

    names: list[str] = field(default_factory=list)
    images: list[RGB] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    insides: list[RGB] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    normal_ids: list[str | None] = field(default_factory=list)
    fits: list[Fit | None] = field(default_factory=list)
    total: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, image: RGB, mask: Mask | None, side: int) -> None:
        """Add a picture of any size; without a mask it serves fidelity only."""
        self.names.append(name)
        self.images.append(resize_image(image, side, side))
        if mask is not None:
            self.masks.append(cover(mask, side))
            self.insides.append(inside(image, mask))
            self.areas.append(float(mask.mean()))

    def some(self, numbers: Sequence[int]) -> Pictures:
        """Those of the given numbers; all must have a mask."""
        taken = Pictures(total=self.total)
        for key in ("names", "images", "masks", "insides", "areas"):
            vars(taken)[key] = [vars(self)[key][number] for number in numbers]
        return taken

    @classmethod
    def joined(cls, parts: Sequence[Pictures]) -> Pictures:
        """All of them, in order."""
        whole = cls()
        for part in parts:
            for key, value in vars(part).items():
                vars(whole)[key] = vars(whole)[key] + value
        return whole


def cover(mask: Mask, side: int) -> Mask:
    """A mask at side x side: True where any part of it is."""
    import cv2

    shrinks = side <= min(mask.shape)
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask.astype(np.float32), (side, side), interpolation=method) > 0, dtype=np.bool_)


def read_generated(folder: Path, *, side: int, limit: int | None, seed: int) -> tuple[dict[str, Pictures], int]:
    """The samples of a run by defect type, at most ``limit`` of each, drawn at random.

    Returns
    -------
    tuple
        The samples, and how many are no longer there: people sort out what they do not want by deleting files.

    Raises
    ------
    RunError
        If the folder is no run, or holds no samples.
    DataError
        If a picture cannot be read.
    """
    Plan.read(folder)  # says what is wrong with another folder
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    missing = 0
    for line in read_provenance(folder):
        if "error" in line:
            continue
        if all((folder / line[kind]).is_file() for kind in ("image", "mask")):
            lines[line["defect"]].append(line)
        else:
            missing += 1
    if not lines:
        raise RunError(f"{folder} holds no samples; run its command again with --resume")
    normals = {
        row["id"]: folder / "train" / "good" / name for name, row in written_normals(folder).items() if "id" in row
    }
    found = {}
    for defect, rows in sorted(lines.items()):
        pictures = found[defect] = Pictures(total=len(rows))
        for number in chosen(len(rows), limit, seed):
            line = rows[number]
            image = read_image(folder / line["image"]).image
            mask = read_fitting_mask(folder / line["mask"], image.shape)
            normal_id = line["recipe"]["request"].get("normal_id")
            path = normals.get(normal_id)
            normal = read_image(path).image if path is not None and path.is_file() else None
            pictures.add(line["image"], image, mask, side)
            pictures.normal_ids.append(normal_id)
            pictures.fits.append(difference_fit(image, normal, mask))
    return found, missing


def read_real(data: DataSet, items: Sequence[Item], *, side: int, masks: bool = True) -> Pictures:
    """Real pictures of a data set; with ``masks``, only those that have one.

    Raises
    ------
    DataError
        If a picture or mask cannot be read, or a mask is empty.
    """
    found = Pictures()
    for item in items:
        if masks and item.mask is None:
            continue
        image = data.read(item).image
        mask = data.read_mask(item, image.shape) if masks else None
        if mask is not None and not mask.any():
            raise DataError(f"{item.id}: its mask is empty; `ias-zoo check-data` lists such files")
        found.add(item.id, image, mask, side)
        found.total += 1
    return found


def chosen(count: int, limit: int | None, seed: int) -> list[int]:
    """``limit`` of ``count`` numbers, drawn at random and in order; all of them where there is no limit."""
    if limit is None or count <= limit:
        return list(range(count))
    rng = np.random.default_rng(seed_for(seed, "chosen", count))
    return sorted(int(number) for number in rng.permutation(count)[:limit])
