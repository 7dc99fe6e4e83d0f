"""A manifest's columns: a misspelt one must not turn defective pictures into normals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ias_zoo import open_data
from ias_zoo.data.check import check_data
from ias_zoo.data.images import encode_png
from ias_zoo.errors import DataError


def write_manifest(folder: Path, kind: str, columns: list[str], *rows: list[str]) -> Path:
    """A manifest of a.png and b.png, which are written too."""
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encode_png(np.full((8, 8, 3), 99, np.uint8)))
    path = folder / f"manifest.{kind}"
    if kind == "csv":
        path.write_text("\n".join(map(",".join, [columns, *rows])))
    else:
        path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("column", ["defects", "defekt", "Lable", "type", "class_id", "category", "defect_type"])
def test_a_column_that_may_hide_defects_is_refused(tmp_path: Path, kind: str, column: str) -> None:
    manifest = write_manifest(tmp_path, kind, ["image", column], ["a.png", "good"], ["b.png", "crack"])
    with pytest.raises(DataError) as caught:
        open_data(manifest)
    for words in (repr(column.lower()), "image, defect, label, mask, region, split", "Rename it to"):
        assert words in str(caught.value)


def test_one_misspelt_line_of_json_is_found(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "jsonl", ["image", "defect"], ["a.png", "crack"])
    manifest.write_text(manifest.read_text() + '\n{"image": "b.png", "defct": "crack"}')
    with pytest.raises(DataError, match=r"line 2: .* 'defct'.* Rename it to 'defect'"):
        open_data(manifest)


def test_names_in_capitals_are_known_in_json_too(tmp_path: Path) -> None:
    data = open_data(write_manifest(tmp_path, "jsonl", ["Image", "Defect"], ["a.png", "good"], ["b.png", "crack"]))
    assert (len(data.normals), data.defects, data.problems) == (1, ("crack",), ())


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("column", "misspelt"), [("camera", False), ("time", False), ("file_type", False), ("masks", True)]
)
def test_other_unknown_columns_are_said(tmp_path: Path, kind: str, column: str, misspelt: bool) -> None:
    columns = ["image", "defect", column]
    report = check_data(open_data(write_manifest(tmp_path, kind, columns, ["a.png", "", "x"], ["b.png", "", "y"])))
    (problem,) = report.problems
    assert f"unknown column '{column}' is ignored" in problem.what
    assert problem.error is misspelt
    assert ("did you mean 'mask'?" in problem.what) is misspelt


def test_normals_alone_need_no_defect_column(tmp_path: Path) -> None:
    data = open_data(write_manifest(tmp_path, "csv", ["image", "time"], ["a.png", "9:00"], ["b.png", "9:05"]))
    assert len(data.normals) == 2


def test_nameless_columns_of_a_spreadsheet_are_no_problem(tmp_path: Path) -> None:
    data = open_data(write_manifest(tmp_path, "csv", ["image", "defect", ""], ["a.png", "", "", ""]))
    assert (len(data.normals), data.problems) == (1, ())
