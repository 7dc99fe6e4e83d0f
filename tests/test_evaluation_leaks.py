"""The split by group into training and test, and the refusal of leaks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ias_zoo import open_data
from ias_zoo.data.groups import Groups
from ias_zoo.errors import DataError, OptionError
from ias_zoo.evaluation.leaks import refuse_leaks, split_by_group
from ias_zoo.testing.subject import toy_set


def group_of(name: str) -> str:
    return re.search(r"_t(\d+)", name).group(1)


def test_one_median_picture_of_each_of_the_first_groups_and_no_group_on_both_sides(tiles: Path) -> None:
    split = split_by_group(open_data(tiles), {"crack": 2, "dent": 1})
    # ids sort by exposure first: groups come in order of e0_t*, and of e0, e1, e2 the median is e1
    assert [item.id for item in split.shots] == ["test/crack/e1_t0.png", "test/crack/e1_t1.png", "test/dent/e1_t6.png"]
    defective = [item.id for item in split.test if item.defect]
    assert len(defective) == 3 * (9 - 3)
    assert not {group_of(name) for name in defective} & {"0", "1", "6"}
    # a good picture of a shot's tile is in neither part
    assert [item.id for item in split.test if not item.defect] == ["test/good/a.png"]
    assert "test/good/b.png" in [item.id for item in split.left_out]
    assert len(split.test) + len(split.shots) + len(split.left_out) + len(split.normals) == len(open_data(tiles).items)
    assert split.groups.how == "meta.csv: tile_group"


def test_the_default_is_a_third_of_the_groups_and_a_seed_draws_others(tiles: Path) -> None:
    data = open_data(tiles)
    assert [item.defect for item in split_by_group(data).shots] == ["crack", "crack", "dent"]
    draws = {tuple(item.id for item in split_by_group(data, seed=seed).shots) for seed in range(6)}
    assert len(draws) > 2
    assert split_by_group(data, seed=3) == split_by_group(data, seed=3)
    for seed in range(6):
        shots = [item.id for item in split_by_group(data, {"crack": 6, "dent": 2}, seed=seed).shots]
        assert len({group_of(name) for name in shots}) == 8


def test_the_training_part_goes_to_fit_as_it_is(tiles: Path) -> None:
    split = split_by_group(open_data(tiles), {"crack": 2, "dent": 1})
    training = split.training_data()
    assert {item.id for item in training.items} == {"train/good/c.png", *(item.id for item in split.shots)}
    fit = split.training_set()
    assert fit.files == split.files
    assert (fit.defects, fit.normals.ids) == (("crack", "dent"), ["train/good/c.png"])


def test_leaks_are_refused_by_name(tiles: Path) -> None:
    data = open_data(tiles)
    split = split_by_group(data, {"crack": 2, "dent": 1})
    refuse_leaks(split.files, split.test, split.groups)
    with pytest.raises(
        DataError, match=r"share a group \(meta.csv: tile_group\).*test/crack/e0_t0.png with test/crack/e1_t0"
    ):
        refuse_leaks(split.files, [data.item("test/crack/e0_t0.png")], split.groups)
    refuse_leaks(split.files, [data.item("test/crack/e0_t0.png")], None)
    with pytest.raises(DataError, match=r"among the training shots: test/dent/e1_t6.png"):
        refuse_leaks(split.files, [data.item("test/dent/e1_t6.png")], None)
    # the same file under another name, in a folder without groups
    shutil.copy(tiles / "test/crack/e1_t0.png", tiles / "test/crack/e1_t5.png")
    with pytest.raises(DataError, match=r"test/crack/e1_t5.png is test/crack/e1_t0.png"):
        split_by_group(open_data(tiles), {"crack": 2, "dent": 1})


def test_without_test_normals_a_fifth_of_the_normals_is_held_out(tmp_path: Path, write_picture) -> None:
    rng = np.random.default_rng(1)
    for number in range(10):
        write_picture(tmp_path / f"normal/{number}.png", rng.integers(0, 255, (20, 24), dtype=np.uint8))
        mask = np.zeros((20, 24), np.uint8)
        mask[2:5, 2:5] = 255
        write_picture(tmp_path / f"defect/dent/{number}.png", rng.integers(0, 255, (20, 24), dtype=np.uint8))
        write_picture(tmp_path / f"masks/dent/{number}.png", mask)
    split = split_by_group(open_data(tmp_path), 4)
    assert [item.id for item in split.normals] == [f"normal/{number}.png" for number in range(8)]
    assert [item.id for item in split.test if item.defect is None] == ["normal/8.png", "normal/9.png"]
    assert len(split.test) == 8


@pytest.mark.parametrize(
    ("shots", "message"),
    [
        ({"scratch": 1}, "no defect type 'scratch'; found: crack, dent"),
        ({"dent": 4}, "'dent' has 3 groups \\(by meta.csv: tile_group\\) with a mask; 4 cannot be taken"),
        ({"dent": 0}, "0 cannot be taken; give 1 to 3 shots"),
        ({"dent": 3}, "no defective picture is left"),
    ],
)
def test_splits_that_cannot_be(tiles: Path, shots: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_by_group(open_data(tiles), shots)


def test_magnetic_tiles(shared: Path) -> None:
    data = open_data(shared / "data/mtd")
    split = split_by_group(data, {"crack": 4, "blowhole": 8, "break": 8})
    groups = {split.groups[item.id] for item in split.shots}
    assert len(split.shots) == 20
    assert not groups & {split.groups[item.id] for item in split.test}
    assert {item.defect for item in split.test} == {"crack", "blowhole", "break", None}


def test_at_most_so_many_pictures_of_a_group_are_tested_on(tiles: Path) -> None:
    data = open_data(tiles)
    whole = split_by_group(data, {"crack": 2, "dent": 1})
    one = split_by_group(data, {"crack": 2, "dent": 1}, per_group=1)
    # of e0, e1, e2 the middle one; what is left out is said
    assert [item.id for item in one.test if item.defect == "crack"] == [f"test/crack/e1_t{n}.png" for n in (2, 3, 4, 5)]
    assert {item.id for item in one.test} | {item.id for item in one.left_out} == {
        item.id for item in (*whole.test, *whole.left_out)
    }
    assert one.shots == whole.shots
    two = split_by_group(data, {"crack": 2, "dent": 1}, per_group=2)
    assert sum(item.defect == "crack" for item in two.test) == 8
    assert split_by_group(data, {"crack": 2, "dent": 1}, per_group=9).test == whole.test
    with pytest.raises(OptionError, match="expected 1 or more"):
        split_by_group(data, {"crack": 2, "dent": 1}, per_group=0)


def test_training_normals_keep_apart_from_the_test(tmp_path: Path) -> None:
    root = tmp_path / "data"
    toys = toy_set(tmp_path / "toys").root
    for part, names in {"train/good": "0 1", "test/good": "2"}.items():
        (root / part).mkdir(parents=True)
        for name in names.split():
            shutil.copyfile(toys / f"normal/{name}.png", root / part / f"{name}.png")
    shutil.copyfile(toys / "normal/1.png", root / "test/good/again.png")  # the same file on both sides
    shutil.copytree(toys / "defect", root / "test", dirs_exist_ok=True)
    for mask in sorted(toys.glob("masks/*/*.png")):
        place = root / "ground_truth" / mask.parent.name / f"{mask.stem}_mask.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mask, place)
    split = split_by_group(open_data(root), 2)
    assert [item.id for item in split.normals] == ["train/good/0.png"]
    assert "train/good/1.png" in {item.id for item in split.left_out}
    (root / "test/good/again.png").unlink()
    groups = Groups.of(open_data(root), r"(?:good|scratch)/(\d)")  # part 1 is a normal, and a defect to test on
    split = split_by_group(open_data(root), 1, groups=groups)
    assert "test/scratch/1.png" in {item.id for item in split.test}
    assert [item.id for item in split.normals] == ["train/good/0.png"]
