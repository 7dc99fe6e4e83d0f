"""Groups, and the choice of shots: one picture of each group, the same for fit, generate and compare."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import ias_zoo
from ias_zoo import open_data
from ias_zoo.cli import main
from ias_zoo.cli.shots import shot_counts
from ias_zoo.data.groups import Groups
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError
from ias_zoo.evaluation.leaks import split_by_group
from ias_zoo.generation.plan import Plan, make_plan
from ias_zoo.generation.shots import choose_shots
from ias_zoo.hub import read_weights
from ias_zoo.training.shots import load_shots

BY_EXPOSURE = r"/(e\d)_|good/."
"""A pattern that makes a group of each exposure, against what meta.csv says."""

SMALL = {"steps": 1, "mask_steps": 1, "rank": 2, "mask_channels": (16, 16), "sampling_steps": 3}


def named(ids: Iterable[str]) -> list[str]:
    """Ids without what all shots' ids share."""
    return [name.removeprefix("test/").removesuffix(".png") for name in ids]


def test_groups_by_pattern_by_file_and_what_is_wrong_with_them(tiles: Path) -> None:
    data = open_data(tiles)
    with pytest.raises(DataError, match=r"finds no group in test/good/a.png, test/good/b.png, train/good/c.png"):
        Groups.of(data, r"_t(\d+)")
    groups = Groups.of(data, r"_(t\d+)|good/(?:[a-z])")
    assert groups["test/crack/e2_t4.png"] == "t4"
    with pytest.raises(OptionError, match="no regular expression"):
        Groups.of(data, "(")
    lines = (tiles / "meta.csv").read_text().splitlines()
    (tiles / "meta.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"meta.csv: no tile_group for train/good/c.png"):
        Groups.of(data)
    (tiles / "meta.csv").write_text("\n".join(line.split(",")[0] for line in lines))  # a meta.csv about other things
    assert Groups.of(data).how == "file"
    assert Groups.of(data)["train/good/c.png"] == "train/good/c.png"


@pytest.mark.parametrize("shots", [None, 2, {"crack": 2, "dent": 1}, {"dent": 2}], ids=str)
@pytest.mark.parametrize("pattern", [None, BY_EXPOSURE])
def test_fit_generate_and_compare_take_the_same_shots(tiles: Path, shots: Any, pattern: str | None) -> None:
    data = open_data(tiles)
    compared = split_by_group(data, shots, groups=Groups.of(data, pattern)).training_set()
    fitted = load_shots(data, shots=shots, group_by=pattern)
    assert [shot.id for shot in fitted.shots] == [shot.id for shot in compared.shots]
    assert (fitted.files, fitted.defects, fitted.groups) == (compared.files, compared.defects, compared.groups)
    copied = choose_shots(ias_zoo.info("crop_paste"), shots, data, group_by=pattern)
    assert [item.id for item in copied] == list(fitted.files)


def test_shots_are_of_different_tiles_or_of_what_a_pattern_groups(tiles: Path) -> None:
    data = open_data(tiles)
    tiles_taken = load_shots(data, shots=2)
    assert named(tiles_taken.files) == ["crack/e1_t0", "crack/e1_t1", "dent/e1_t6", "dent/e1_t7"]
    assert tiles_taken.groups == "meta.csv: tile_group"
    # of exposure e0 the median of six cracks and of three dents, and of e1
    exposures = load_shots(data, shots=2, group_by=BY_EXPOSURE)
    assert named(exposures.files) == ["crack/e0_t2", "crack/e1_t2", "dent/e0_t7", "dent/e1_t7"]
    assert exposures.groups == f"pattern: {BY_EXPOSURE}"


def test_without_groups_the_first_files_are_taken(tiles: Path) -> None:
    (tiles / "meta.csv").unlink()
    split = few_shot_split(open_data(tiles), shots=2)
    assert named(item.id for item in split.train) == ["crack/e0_t0", "crack/e0_t1", "dent/e0_t6", "dent/e0_t7"]
    assert len(split.held) == 27 - 4


def test_no_group_is_on_both_sides(tiles: Path) -> None:
    data = open_data(tiles)
    groups = Groups.of(data)
    for seed in (None, 1, 2):
        split = few_shot_split(data, seed=seed)
        assert [item.defect for item in split.train] == ["crack", "crack", "dent"]
        assert len(split.held) == 3 * (9 - 3)
        assert not {groups[item.id] for item in split.train} & {groups[item.id] for item in split.held}


def test_shots_that_cannot_be(tiles: Path) -> None:
    data = open_data(tiles)
    with pytest.raises(
        DataError, match=r"'dent' has 3 groups \(by meta.csv: tile_group\) with a mask; 4 cannot be taken"
    ):
        load_shots(data, shots={"dent": 4})
    with pytest.raises(DataError, match="no defect type 'rust'; found: crack, dent"):
        load_shots(data, shots={"rust": 1}, defects=["dent"])
    with pytest.raises(OptionError, match="shots of 'crack', which is not among the defect types asked for: dent"):
        load_shots(data, shots={"crack": 1}, defects=["dent"])
    with pytest.raises(OptionError, match="no regular expression"):
        load_shots(data, group_by="(")
    chosen = load_shots(data, shots=1)
    with pytest.raises(OptionError, match="chosen already"):
        ias_zoo.load("seas", base="tiny", device="cpu").fit(chosen, group_by="t")
    with pytest.raises(OptionError, match="normals alone: leave defects, the number of shots and groups out"):
        ias_zoo.load("defect_gan", device="cpu").fit(data, stage="base", group_by="t")
    with pytest.raises(OptionError, match="by their ids: leave group_by out"):
        make_plan("crop_paste", tiles, 1, shots=["test/dent/e0_t6.png"], group_by="t")
    with pytest.raises(OptionError, match="cutpaste takes no shots"):
        make_plan("cutpaste", tiles, 1, group_by="t")


def test_magnetic_tiles_are_fitted_on_distinct_tiles(shared: Path) -> None:
    data = open_data(shared / "data/mtd")
    counts = {"crack": 4, "blowhole": 8, "break": 8}
    fitted = load_shots(data, shots=counts)
    assert fitted.files == split_by_group(data, counts).training_set().files
    groups = Groups.of(data)
    assert len({groups[name] for name in fitted.files}) == len(fitted.shots) == 20


@pytest.mark.parametrize(
    ("text", "counts"),
    [(None, None), ("8", 8), ("crack=4", {"crack": 4}), ("a=b=1, c=2", {"a=b": 1, "c": 2})],
)
def test_shots_as_typed(text: str | None, counts: Any) -> None:
    assert shot_counts(text) == counts


@pytest.mark.parametrize(
    "text", ["", "few", "-1", "\u00b2", "crack", "crack=", "=4", "crack=x", "crack=4,", "crack=4,crack=5"]
)
def test_shots_that_nobody_can_read(text: str) -> None:
    with pytest.raises(OptionError, match="expected a number, or crack=4,blowhole=8"):
        shot_counts(text)


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    seen = capsys.readouterr()
    return int(stopped.value.code or 0), seen.out + seen.err


def test_fit_on_the_shell(tiles: Path, random_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", "seas", "--data", tiles, "--base", random_base, "--device", "cpu"]
    for name, value in SMALL.items():
        fit += ["--set", f"{name}={json.dumps(value)}"]
    code, said = typed(capsys, *fit, "--shots", "crack=2,dent=1", "--out", tmp_path / "weights")
    assert code == 0, said
    assert "3 shots of crack, dent (one picture of each group, by meta.csv: tile_group)" in said
    weights = read_weights(tmp_path / "weights")
    assert weights.training_files == split_by_group(open_data(tiles), {"crack": 2, "dent": 1}).files
    card = (tmp_path / "weights/README.md").read_text()
    assert "| shots | one picture of each group, by meta.csv: tile_group |" in card
    code, said = typed(capsys, *fit, "--shots", 1, "--group-by", BY_EXPOSURE, "--out", tmp_path / "exposures")
    assert code == 0, said
    assert list(read_weights(tmp_path / "exposures").training_files) == ["test/crack/e0_t2.png", "test/dent/e0_t7.png"]
    code, said = typed(capsys, *fit, "--shots", "dent=4", "--out", tmp_path / "no")
    assert code != 0
    assert "'dent' has 3 groups (by meta.csv: tile_group) with a mask; 4 cannot be taken" in said
    code, said = typed(capsys, *fit, "--shots", "many", "--out", tmp_path / "no")
    assert code != 0
    assert "expected a number, or crack=4,blowhole=8" in said
    assert not (tmp_path / "no").exists()


def test_other_shots_are_not_resumed(tiles: Path, random_base: Path, tmp_path: Path) -> None:
    def fit(**more: Any) -> Any:
        method = ias_zoo.load("seas", base=random_base, device="cpu", checkpoint_every=1, **{**SMALL, "steps": 2})
        return method.fit(tiles, out=tmp_path / "weights", **more)

    class Stop(Exception):
        pass

    seen: list[Any] = []

    def stop(*step: Any) -> None:
        seen.append(step)
        if len(seen) > 1:  # a checkpoint was written after the first step
            raise Stop

    with pytest.raises(Stop):
        fit(count=1, step=stop)
    for other in ({"count": 2}, {"count": {"crack": 1}}, {"count": 1, "group_by": BY_EXPOSURE}):
        with pytest.raises(
            OptionError, match=r"holds another training \(options, shots, seed or base differ\); delete it"
        ):
            fit(resume=True, **other)
    report = fit(count={"crack": 1, "dent": 1}, resume=True)  # the same shots in other words
    assert list(report.training_files) == ["test/crack/e1_t0.png", "test/dent/e1_t6.png"]


def test_generate_on_the_shell(tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["generate", "crop_paste", "--data", tiles, "-n", 2, "--shots", "crack=2"]
    code, said = typed(capsys, *call, "--out", tmp_path / "of_tiles")
    assert code == 0, said
    assert list(Plan.read(tmp_path / "of_tiles").shots) == ["test/crack/e1_t0.png", "test/crack/e1_t1.png"]
    code, said = typed(capsys, *call, "--group-by", BY_EXPOSURE, "--out", tmp_path / "exposures")
    assert code == 0, said
    assert list(Plan.read(tmp_path / "exposures").shots) == ["test/crack/e0_t2.png", "test/crack/e1_t2.png"]
