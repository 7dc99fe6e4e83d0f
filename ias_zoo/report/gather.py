"""What a report shows of generated folders: which samples, their normals, and how near the gate's limits they came."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ias_zoo.data.cache import PictureCache
from ias_zoo.data.images import read_image, read_mask, sha256
from ias_zoo.errors import DataError, IasZooError
from ias_zoo.generation.folder import written_normals
from ias_zoo.generation.gate import changed_share
from ias_zoo.generation.plan import Plan
from ias_zoo.generation.provenance import is_inside, read_provenance
from ias_zoo.generation.requests import CACHE_BYTES, Normals

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

Key = TypeVar("Key")

JUDGED = 1000
"""At most so many samples of a report are measured against the gate, evenly spread; each takes three pictures."""

SAME_SHAPE = 0.01
"""Two pictures have one shape when their ratios of height to width differ by less than this share."""


@dataclass
class Run:
    """A generated folder: its plan, and what its provenance says in numbers.

    Attributes
    ----------
    places:
        Defect type to the places of its samples in the provenance, as far as their files are there.
    missing:
        How many samples lack their picture or mask: people sort out what they do not want by deleting files.
    redrawn:
        Defect type to how many draws the gate refused before its samples passed.
    failures:
        Images that could not be made: the provenance's words.
    """

    folder: Path
    method: str
    seed: int
    plan: Plan
    places: dict[str, list[int]] = field(default_factory=dict)
    missing: int = 0
    redrawn: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def made(self) -> int:
        """How many samples are there."""
        return sum(map(len, self.places.values()))


@dataclass(frozen=True, eq=False)
class Judged:
    """One sample and how near it came to the gate's limits.

    Attributes
    ----------
    pixels, share:
        The mask's size in pixels, and as a share of the picture, 0 to 1.
    changed:
        The share of the mask's pixels that changed, as the gate measures it; None without a comparable normal.
    """

    run: Run
    line: dict[str, Any]
    pixels: int
    share: float
    changed: float | None

    @property
    def index(self) -> int:
        """The image's number in its run."""
        return int(self.line["recipe"]["run"]["index"])

    @property
    def defect(self) -> str:
        """Its defect type."""
        return str(self.line["defect"])


def open_run(folder: Path, *, method: str | None = None, seed: int | None = None) -> Run:
    """Read a run's plan and count what its provenance holds; no picture is read.

    Raises
    ------
    RunError
        If the folder is no run, or its provenance is damaged.
    """
    plan = Plan.read(folder)
    name = method or plan.method.rpartition(":")[2]
    run = Run(folder, name, plan.seed if seed is None else seed, plan)
    place = -1
    for line in read_provenance(folder):
        if "error" in line:
            run.failures.append(f"image {line['index']}: {line['error']}")
            continue
        place += 1
        if not all((folder / line[kind]).is_file() for kind in ("image", "mask")):
            run.missing += 1
            continue
        run.places.setdefault(line["defect"], []).append(place)
        run.redrawn[line["defect"]] = run.redrawn.get(line["defect"], 0) + attempts(line)
    return run


def spread(sizes: Mapping[Key, int], limit: int) -> dict[Key, list[int]]:
    """Choose ``limit`` places out of groups: as many of each as can be, evenly spaced in each.

    Spacing over a whole run would not do: defects alternate in it, and an even step may meet one defect only. Groups
    smaller than their share leave room to the others.
    """
    chosen: dict[Key, list[int]] = {}
    left = limit
    for number, (key, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        take = min(size, left // (len(sizes) - number))
        left -= take
        chosen[key] = [(2 * place + 1) * size // (2 * take) for place in range(take)]
    return {key: chosen[key] for key in sizes}


def judge(runs: Sequence[Run], limit: int = JUDGED, step: Callable[[int], None] = lambda count: None) -> list[Judged]:
    """Measure up to ``limit`` samples, spread evenly over runs and defects, in the order of runs and images.

    Raises
    ------
    DataError
        If a sample's picture cannot be read.
    """
    sizes = {(number, defect): len(places) for number, run in enumerate(runs) for defect, places in run.places.items()}
    chosen = spread(sizes, limit)
    judged = []
    for number, run in enumerate(runs):
        wanted = {run.places[defect][k] for (of, defect), places in chosen.items() if of == number for k in places}
        normals = NormalPictures(run)
        for line in _lines(run, wanted):
            image, mask = read_sample(run, line)
            normal = normals.find(line).image
            comparable = normal is not None and normal.shape == image.shape
            changed = changed_share(image, normal, mask) if comparable and normal is not None else None
            judged.append(Judged(run, line, int(mask.sum()), float(mask.mean()), changed))
            step(1)
    return judged


def count_to_judge(runs: Sequence[Run], limit: int = JUDGED) -> int:
    """How many samples :func:`judge` will read."""
    return min(limit, sum(run.made for run in runs))


def choose(judged: Sequence[Judged], limit: int) -> list[Judged]:
    """The gallery: up to ``limit`` samples, spread evenly over runs and defects."""
    groups: dict[tuple[int, str], list[Judged]] = {}
    for sample in judged:
        groups.setdefault((id(sample.run), sample.line["defect"]), []).append(sample)
    places = spread({key: len(group) for key, group in groups.items()}, limit)
    wanted = {id(groups[key][place]) for key, chosen in places.items() for place in chosen}
    return [sample for sample in judged if id(sample) in wanted]


def worst(judged: Sequence[Judged]) -> list[tuple[Judged, str]]:
    """The samples of each method that came nearest to the gate's limits, nearest first, and in what.

    The gate refuses an empty mask and a mask under which nothing changed, so half are those whose mask changed least
    and half those with the smallest masks. How many: 12 for one method, 6 each for two or three, 4 each for more.
    """
    methods = list(dict.fromkeys(sample.run.method for sample in judged))
    each = 12 if len(methods) == 1 else 6 if len(methods) <= 3 else 4
    found: list[tuple[Judged, str]] = []
    for method in methods:
        own = [sample for sample in judged if sample.run.method == method]
        least = sorted((sample for sample in own if sample.changed is not None), key=lambda s: s.changed or 0.0)
        least = least[: each // 2]
        rest = [sample for sample in own if not any(sample is one for one in least)]
        small = sorted(rest, key=lambda sample: sample.pixels)[: each - len(least)]
        found += [(sample, f"{percent(sample.changed or 0.0)} of the mask changed") for sample in least]
        found += [(sample, f"a mask of {sample.pixels:,} pixels") for sample in small]
    return found


def read_sample(run: Run, line: Mapping[str, Any]) -> tuple[RGB, Mask]:
    """A sample's picture, H x W x 3 uint8, and mask, H x W bool.

    Raises
    ------
    DataError
        If either cannot be read, or they differ in size.
    """
    image, mask = read_image(run.folder / line["image"]).image, read_mask(run.folder / line["mask"])
    if image.shape[:2] != mask.shape:
        raise DataError(f"{run.folder / line['image']}: image and mask differ in size; `ias-zoo verify` tells more")
    return image, mask


@dataclass(frozen=True, eq=False)
class Found:
    """A sample's normal, or why there is none to show."""

    image: RGB | None
    why: str = ""


class NormalPictures:
    """The normals of a run: the copies in its ``train/good``, else the data set it was made from.

    Only pixels that are still those the sample was made from are given: others would show a change nobody made.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        written = written_normals(run.folder)
        self._copies = {row.get("id", ""): (name, row["written"]) for name, row in written.items() if is_inside(name)}
        self._normals: Normals | IasZooError | None = None
        self._cache: PictureCache[Found] = PictureCache(CACHE_BYTES, lambda found: _bytes(found.image))

    def find(self, line: Mapping[str, Any]) -> Found:
        """The normal of a provenance line."""
        normal_id = line["recipe"]["request"].get("normal_id")
        if not isinstance(normal_id, str):
            return Found(None, "This method makes its pictures without a normal.")
        return self._cache.get(normal_id, lambda: self._copy(normal_id) or self._original(normal_id, line))

    def _copy(self, normal_id: str) -> Found | None:
        if normal_id not in self._copies:
            return None
        name, digest = self._copies[normal_id]
        path = self._run.folder / "train" / "good" / name
        try:
            same = sha256(path.read_bytes()) == digest
            return Found(read_image(path).image) if same else None
        except (OSError, DataError):
            return None

    def _original(self, normal_id: str, line: Mapping[str, Any]) -> Found:
        plan = self._run.plan
        if self._normals is None:
            try:
                self._normals = Normals(plan.open_data(), size=plan.size)
            except IasZooError as error:
                self._normals = error
        gone = f"Its normal, {normal_id}, is no longer in the run's folder, nor as it was in {plan.data}."
        if isinstance(self._normals, IasZooError):
            return Found(None, gone)
        try:
            normal = self._normals.read(self._normals.index(normal_id))
        except DataError:
            return Found(None, gone)
        return Found(normal.image) if normal.digest == line["recipe"]["run"].get("normal_pixels") else Found(None, gone)


def same_shape(one: RGB, other: RGB) -> bool:
    """Whether two pictures show the same when drawn at one size."""
    ratios = [picture.shape[0] / picture.shape[1] for picture in (one, other)]
    return math.isclose(*ratios, rel_tol=SAME_SHAPE)


def attempts(line: Mapping[str, Any]) -> int:
    """How many draws of a sample the gate refused before it passed."""
    attempt = line["recipe"]["run"].get("attempt", 0)
    return attempt if isinstance(attempt, int) else 0


def percent(share: float) -> str:
    """A share as people write it, with two digits."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"


def _lines(run: Run, wanted: set[int]) -> Iterator[dict[str, Any]]:
    made = (line for line in read_provenance(run.folder) if "error" not in line)
    return (line for place, line in enumerate(made) if place in wanted)


def _bytes(image: RGB | None) -> int:
    return 0 if image is None else image.nbytes
