"""No leaks: the split of a data set by group into training and test, and the refusal of what training has seen.

With one picture of a part among the training shots and another in the test, a detector is tested on what it has seen.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ias_zoo.data import DataSet, Item
from ias_zoo.data.groups import Groups, some_of
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError

if TYPE_CHECKING:
    from ias_zoo.training.shots import TrainingSet


@dataclass(frozen=True)
class GroupSplit:
    """A few-shot split in which no group is on both sides.

    Attributes
    ----------
    shots:
        The training shots, in order of defect and name.
    normals:
        The training normals.
    test:
        Real pictures held out, defective (with masks) and good, in order of their ids.
    left_out:
        Pictures that are in neither part: of the shots' groups, defective ones without a mask, more of a group than
        are tested on, and training normals that are in a group of, or the same file as, a test picture.
    groups:
        How the groups were found.
    seed:
        What the choice of groups and pictures came from; None is the first groups and the median picture.
    """

    data: DataSet
    shots: tuple[Item, ...]
    normals: tuple[Item, ...]
    test: tuple[Item, ...]
    left_out: tuple[Item, ...]
    groups: Groups
    seed: int | None

    @property
    def files(self) -> dict[str, str]:
        """The training shots' ids and the hashes of their files."""
        return {item.id: file_digest(item.path) for item in self.shots}

    def training_data(self) -> DataSet:
        """The training part as a data set: what a method may be fitted on and make its samples from."""
        kept = {item.id for item in (*self.shots, *self.normals)}
        return replace(self.data, items=tuple(item for item in self.data.items if item.id in kept))

    def training_set(self) -> TrainingSet:
        """What ``fit`` takes, with exactly these shots and normals.

        Raises
        ------
        DataError
            If a picture or mask cannot be used, or a mask is empty.
        """
        from ias_zoo.evaluation.pictures import read_shots
        from ias_zoo.generation.requests import Normals
        from ias_zoo.training.shots import TrainingSet

        data = self.training_data()
        shots = tuple(read_shots(data, self.shots))
        defects = tuple(sorted({shot.defect for shot in shots}))
        return TrainingSet(shots, Normals(data), defects, self.groups.how)

    def to_json(self) -> dict[str, object]:
        """The record of the split: which files are where, and a hash of what is in all that are used."""
        used = (*self.shots, *self.normals, *self.test)
        contents = [[item.id, file_digest(item.path), item.mask and file_digest(item.mask)] for item in used]
        return {
            "groups": self.groups.how,
            "seed": self.seed,
            "shots": {
                item.id: {"group": self.groups[item.id], "sha256": file_digest(item.path)} for item in self.shots
            },
            "normals": len(self.normals),
            "contents": hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
            "test": [item.id for item in self.test],
            "left_out": [item.id for item in self.left_out],
        }


def split_by_group(
    data: DataSet,
    shots: int | Mapping[str, int] | None = None,
    *,
    defects: Sequence[str] | None = None,
    groups: Groups | None = None,
    per_group: int | None = None,
    seed: int | None = None,
    chosen: Sequence[str] | None = None,
) -> GroupSplit:
    """Take one picture of each of the first groups of each defect type for training; test on the other groups.

    Parameters
    ----------
    data:
        Its normals of the training part are for training, those of the test part for testing. Where the folder has
        none of the latter, the last fifth of the groups of normals is held out.
    shots:
        How many groups of each type, or a number for each type; by default the first third, floor(N / 3), of the
        type's groups, the field's rule.
    defects:
        Which types; all by default, or those that ``shots`` names.
    per_group:
        How many pictures of a group are tested on at most, spread evenly over those there are; pictures of one group
        say much the same. None: all.
    seed:
        What groups and pictures are drawn from; see :func:`ias_zoo.data.split.few_shot_split`, which chooses the shots.
    chosen:
        The shots' ids, where they are chosen already; ``shots``, ``defects`` and ``seed`` say nothing then.

    Raises
    ------
    DataError
        For an unknown type or id, a type with too few groups, when nothing is left to train or to test on, or when a
        shot's file is on both sides under two names.
    OptionError
        For a number of shots of a type that is not among ``defects``, or ``per_group`` below 1.
    """
    groups = groups or Groups.of(data)
    if chosen is None:
        train = few_shot_split(data, defects=defects, shots=shots, groups=groups, seed=seed).train
    else:
        train = tuple(data.item(name) for name in chosen)
        if bare := [item.id for item in train if item.defect is None or item.mask is None]:
            raise DataError(f"{data.root}: no defective pictures with a mask: {some_of(bare)}")
    names = {item.defect for item in train}
    taken = {groups[item.id] for item in train}
    used = {item.id for item in train}
    normals = _training_normals(data, groups)
    used |= {item.id for item in normals}
    test: list[Item] = []
    left_out: list[Item] = []
    for item in data.items:
        if item.id in used:
            continue
        if item.defect is not None and item.defect not in names:
            continue
        usable = item.defect is None or item.mask is not None
        (test if usable and groups[item.id] not in taken else left_out).append(item)
    if per_group is not None:
        thinned = _thinned(test, groups, per_group)
        left_out += [item for item in test if item not in thinned]
        test = thinned
    if not any(item.defect is not None for item in test):
        there = any(item.defect is not None and item.mask is not None for item in data.items)
        raise DataError(
            f"{data.root}: no defective picture is left to test on; "
            + ("give a smaller number of shots" if there else "expected defective pictures with masks (test/<defect>/)")
        )
    apart = _apart(normals, test, groups)
    if normals and not apart:
        raise DataError(
            f"{data.root}: every good picture for training shares a group ({groups.how}) with a test picture"
        )
    kept = {item.id for item in apart}
    left_out += [item for item in normals if item.id not in kept]
    split = GroupSplit(data, tuple(train), apart, tuple(test), tuple(left_out), groups, seed)
    refuse_leaks(split.files, split.test, groups)
    return split


def refuse_leaks(training: Mapping[str, str], test: Iterable[Item], groups: Groups | None = None) -> None:
    """Refuse a test on pictures that training has seen.

    Parameters
    ----------
    training:
        The training shots' ids and the SHA-256 of their files, as a weights folder or a split records them.
    groups:
        Where given, a test picture in the group of a training shot is refused as well. Ids that it does not know
        (shots of another folder) are compared by their files alone.

    Raises
    ------
    DataError
        Naming the files.
    """
    seen = {digest: shot for shot, digest in training.items()}
    by_group = {groups.names[shot]: shot for shot in training if shot in groups.names} if groups else {}
    same, related = [], []
    for item in test:
        digest = file_digest(item.path)
        if digest in seen:
            same.append(f"{item.id} is {seen[digest]}" if item.id != seen[digest] else item.id)
        elif groups is not None and groups[item.id] in by_group:
            related.append(f"{item.id} with {by_group[groups[item.id]]}")
    if same:
        raise DataError(f"test pictures that are among the training shots: {some_of(same)}; leave them out of the test")
    if related:
        how = groups.how if groups else ""
        raise DataError(
            f"test pictures that share a group ({how}) with a training shot: {some_of(related)}; "
            "leave them out of the test"
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as hex; a file is read again only after it has changed."""
    found = path.stat()
    return _digest_of(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _digest_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _apart(normals: Sequence[Item], test: Sequence[Item], groups: Groups) -> tuple[Item, ...]:
    """The normals that are in no group of a test picture, nor the same file as one under another name."""
    tested = {groups[item.id] for item in test}
    files = {file_digest(item.path) for item in test}
    return tuple(item for item in normals if groups[item.id] not in tested and file_digest(item.path) not in files)


def _thinned(items: Sequence[Item], groups: Groups, most: int) -> list[Item]:
    """At most so many pictures of each group and type, spread evenly, in the order of the items."""
    if most < 1:
        raise OptionError(f"pictures a group to test on: {most}; expected 1 or more")
    members: dict[tuple[str | None, str], list[Item]] = defaultdict(list)
    for item in items:
        members[item.defect, groups[item.id]].append(item)
    kept = set()
    for several in members.values():
        count = min(most, len(several))
        kept |= {several[(2 * place + 1) * len(several) // (2 * count)].id for place in range(count)}
    return [item for item in items if item.id in kept]


def _training_normals(data: DataSet, groups: Groups) -> tuple[Item, ...]:
    if any(item.defect is None and item.split != "train" for item in data.items):
        return data.normals
    order = list(dict.fromkeys(groups[item.id] for item in data.normals))
    held = set(order[len(order) - len(order) // 5 :])
    return tuple(item for item in data.normals if groups[item.id] not in held)
