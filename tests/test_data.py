"""Reading people's folders, whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ias_zoo import open_data
from ias_zoo.data.check import check_data
from ias_zoo.data.groups import Groups
from ias_zoo.data.images import as_rgb, encode_png, read_image, read_mask, resize_mask, to_grey
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError

Write = Callable[[Path, np.ndarray], Path]
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=2)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jpg"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"übung 1{suffix}"
    Image.fromarray(COLOUR).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    read = read_image(path)
    assert not read.grey
    tolerance = 60 if suffix == ".jpg" else 0
    assert np.abs(read.image.astype(int) - COLOUR).max() <= tolerance


def test_grey_is_remembered(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.grey
    assert np.array_equal(read.image, np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit(tmp_path: Path, write_picture: Write, suffix: str, channels: int) -> None:
    deep = (GREY if channels == 1 else COLOUR).astype(np.uint16) * 257
    path = write_picture(tmp_path / f"a{suffix}", deep)
    read = read_image(path)
    assert np.array_equal(read.image, np.repeat(GREY[:, :, None], 3, axis=2) if channels == 1 else COLOUR)
    assert read.grey is (channels == 1)
    assert not read.notes


def test_12_bits_in_16(tmp_path: Path, write_picture: Write) -> None:
    path = write_picture(tmp_path / "a.png", (GREY.astype(np.uint16) * 16).astype(np.uint16))
    dark = read_image(path)
    assert any("--white 4095" in note for note in dark.notes), dark.notes
    assert dark.image.max() < 16
    assert abs(int(read_image(path, white=4095).image.max()) - int(GREY.max())) <= 1


def test_transparency_is_dropped_and_said(tmp_path: Path) -> None:
    alpha = np.full((6, 8, 1), 128, np.uint8)
    Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert np.array_equal(read.image, COLOUR)
    assert read.notes == ("transparency is dropped",)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").image.shape == (8, 6, 3)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    Image.fromarray(COLOUR).resize((200, 200)).save(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:-500])
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "c.tif")
    for name, words in (
        ("a.png", "cannot be read"),
        ("b.jpg", "truncated"),
        ("c.tif", "float32"),
        ("d.png", "no such"),
    ):
        with pytest.raises(DataError, match=f"{name}.*{words}"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("top", [1, 255])
def test_masks_in_any_scale(tmp_path: Path, top: int) -> None:
    wanted = GREY > 100
    Image.fromarray(wanted.astype(np.uint8) * top).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png"), wanted)


def test_mask_survives_jpeg(tmp_path: Path) -> None:
    wanted = np.zeros((64, 64), bool)
    wanted[20:40, 24:48] = True
    Image.fromarray(wanted.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=90)
    assert (read_mask(tmp_path / "m.jpg") != wanted).mean() < 0.005


def test_arrays(tmp_path: Path) -> None:
    assert as_rgb(GREY).shape == (6, 8, 3)
    assert np.array_equal(as_rgb(COLOUR.astype(np.uint16) * 257), COLOUR)
    for wrong in (GREY.astype(np.float32), np.zeros((2, 3, 4, 5), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(DataError):
            as_rgb(wrong)


def test_grey_conversion_keeps_equal_channels_exactly() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_grey(np.repeat(every[:, :, None], 3, axis=2)), every)


def test_png_round_trip(tmp_path: Path) -> None:
    for array in (COLOUR, GREY, GREY > 100):
        path = tmp_path / "a.png"
        path.write_bytes(encode_png(array))
        back = read_mask(path) if array.dtype == bool else read_image(path).image
        wanted = np.repeat(array[:, :, None], 3, axis=2) if array.dtype != bool and array.ndim == 2 else array
        assert np.array_equal(back, wanted)


def test_resized_mask_keeps_its_share() -> None:
    mask = np.zeros((300, 200), bool)
    mask[50:150, 40:120] = True
    assert abs(resize_mask(mask, 100, 100).mean() - mask.mean()) < 0.01


def test_mvtec_layout(mvtec: Path) -> None:
    data = open_data(mvtec)
    assert data.layout == "mvtec"
    assert data.defects == ("crack", "dent")
    assert [item.id for item in data.normals] == [f"train/good/{n:03d}.png" for n in range(5)]
    assert len(data.shots) == 6
    shot = data.shots[0]
    mask = data.read_mask(shot, data.read(shot).image.shape)
    assert mask is not None
    assert mask.sum() == 10 * 20
    assert check_data(data).usable


def test_foreground_becomes_the_region(mvtec: Path, write_picture: Write) -> None:
    region = np.zeros((64, 80), np.uint8)
    region[5:60, 5:70] = 255
    write_picture(mvtec / "foreground/train/good/001.png", region)
    data = open_data(mvtec)
    assert [item.region is not None for item in data.normals] == [False, True, False, False, False]
    found = data.read_region(data.normals[1], (64, 80))
    assert found is not None
    assert np.array_equal(found, region > 0)


def test_plain_layout(tmp_path: Path, write_picture: Write) -> None:
    write_picture(tmp_path / "normal/a.png", GREY)
    write_picture(tmp_path / "defect/hole/b.png", GREY)
    write_picture(tmp_path / "masks/hole/b.png", GREY)
    data = open_data(tmp_path)
    assert (data.layout, len(data.normals), data.defects) == ("plain", 1, ("hole",))
    assert data.shots[0].mask == tmp_path / "masks/hole/b.png"


def test_loose_pictures_are_normals(tmp_path: Path, write_picture: Write) -> None:
    for name in ("b.png", "a.png"):
        write_picture(tmp_path / name, GREY)
    data = open_data(tmp_path)
    assert "loose" in data.layout
    assert [item.id for item in data.normals] == ["a.png", "b.png"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_manifest(tmp_path: Path, write_picture: Write, kind: str) -> None:
    for name in ("good.png", "bad.png", "m.png"):
        write_picture(tmp_path / "pictures" / name, GREY)
    rows = [
        {"image": "pictures/good.png", "defect": ""},
        {"image": "pictures/bad.png", "defect": "crack", "mask": "pictures/m.png"},
        {"image": "pictures/gone.png", "defect": "crack"},
    ]
    manifest = tmp_path / f"manifest.{kind}"
    if kind == "csv":
        lines = ["image,defect,mask", *(f"{r['image']},{r['defect']},{r.get('mask', '')}" for r in rows)]
        manifest.write_text("\n".join(lines))
    else:
        manifest.write_text("\n".join(map(json.dumps, rows)))
    for data in (open_data(manifest), open_data(tmp_path)):
        assert [item.id for item in data.normals] == ["pictures/good.png"]
        assert data.shots[0].mask == tmp_path / "pictures/m.png"
        assert ["no such picture: pictures/gone.png" in str(problem) for problem in data.problems] == [True]
        assert not check_data(data).usable


def test_unusable_folders_say_what_was_expected(tmp_path: Path, mvtec: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_data(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected train/good"):
        open_data(tmp_path / "empty")
    with pytest.raises(DataError, match="several products, give one of them: parts"):
        open_data(tmp_path)


def test_check_names_everything_odd(mvtec: Path, write_picture: Write) -> None:
    (mvtec / "train/good/002.png").write_bytes(b"broken")
    write_picture(mvtec / "ground_truth/crack/000_mask.png", np.zeros((10, 10), np.uint8) + 255)
    write_picture(mvtec / "ground_truth/crack/001_mask.png", np.zeros((64, 80), np.uint8))
    write_picture(mvtec / "ground_truth/crack/999_mask.png", np.zeros((64, 80), np.uint8) + 255)
    (mvtec / "ground_truth/dent/001_mask.png").unlink()
    report = check_data(open_data(mvtec))
    assert not report.usable
    said = "\n".join(f"{'error' if p.error else 'note'} {p}" for p in report.problems)
    for words in (
        "error train/good/002.png: cannot be read",
        "error test/crack/000.png (mask 000_mask.png): the mask is 10x10, its picture 80x64",
        "error test/crack/001.png (mask 001_mask.png): the mask is empty",
        "error ground_truth/crack/999_mask.png: a mask without a picture",
        "note test/dent/001.png: no mask",
    ):
        assert words in said, f"{words!r} is not in:\n{said}"
    assert len(report.problems) == 5


def test_few_shot_split(mvtec: Path) -> None:
    data = open_data(mvtec)
    split = few_shot_split(data)
    assert [item.id for item in split.train] == ["test/crack/000.png", "test/dent/000.png"]
    assert len(split.held) == 4
    assert not set(split.train) & set(split.held)
    two = few_shot_split(data, defects=["dent"], shots=2)
    assert [item.id for item in two.train] == ["test/dent/000.png", "test/dent/001.png"]
    for wrong in ({"defects": ["rust"]}, {"shots": 4}, {"shots": 0}):
        with pytest.raises(DataError):
            few_shot_split(data, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "normals", "shots", "regions"),
    [("mtd", 443, 315, 0), ("mvtec_screw", 160, 119, 160), ("hazelnut_toy", 28, 17, 0)],
)
def test_real_folders(shared: Path, name: str, normals: int, shots: int, regions: int) -> None:
    data = open_data(shared / "data" / name)
    report = check_data(data)
    assert report.usable, report.problems[:5]
    assert (report.normals, report.shots, report.regions) == (normals, shots, regions)
    split = few_shot_split(data)
    groups = Groups.of(data)
    for defect in data.defects:
        of_type = {groups[item.id] for item in data.shots if item.defect == defect and item.mask}
        assert sum(item.defect == defect for item in split.train) == len(of_type) // 3


def test_foregrounds_in_the_wrong_place_are_no_normals(tmp_path: Path, write_picture: Write) -> None:
    write_picture(tmp_path / "normal/a.png", GREY)
    write_picture(tmp_path / "normal/foreground/a.png", GREY)
    write_picture(tmp_path / "foreground/normal/b.png", GREY)
    data = open_data(tmp_path)
    assert [item.id for item in data.normals] == ["normal/a.png"]
    assert len(data.problems) == 2
    assert all("a foreground mask without a picture" in str(problem) for problem in data.problems)


@pytest.mark.parametrize(
    "text",
    ["Image;Defect\r\nb.png;\r\n", "image\tdefect\nb.png\tgood\n", "\ufeffimage,defect\n.\\b.png,\n", "image\nb.png\n"],
)
def test_manifests_as_spreadsheets_write_them(tmp_path: Path, write_picture: Write, text: str) -> None:
    write_picture(tmp_path / "b.png", GREY)
    (tmp_path / "m.csv").write_bytes(text.encode())
    data = open_data(tmp_path / "m.csv")
    assert len(data.normals) == 1
    assert not data.problems


def test_folder_names_in_any_case(tmp_path: Path, write_picture: Write) -> None:
    write_picture(tmp_path / "Normal/a.png", GREY)
    write_picture(tmp_path / "Defect/hole/b.png", GREY)
    write_picture(tmp_path / "Masks/hole/b_mask.png", GREY)
    data = open_data(tmp_path)
    assert (len(data.normals), data.defects, data.shots[0].mask is not None) == (1, ("hole",), True)


def test_more_wrong_input_in_words(tmp_path: Path, write_picture: Write) -> None:
    path = write_picture(tmp_path / "a.png", GREY)
    with pytest.raises(DataError, match="is one picture; give its folder"):
        open_data(path)
    (tmp_path / "m.csv").write_bytes("image\nüb.png\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        open_data(tmp_path / "m.csv")
    for white in (0, -5, 70000):
        with pytest.raises(OptionError, match="expected 1 to 65535"):
            open_data(tmp_path, white=white)
    (tmp_path / "sub/x").mkdir(parents=True)
    (tmp_path / "sub/a.gif").write_bytes(b"")
    with pytest.raises(DataError, match="holds 1 .gif and folders x"):
        open_data(tmp_path / "sub")


def test_drawn_shots_have_exact_masks(tmp_path: Path) -> None:
    from ias_zoo.data.sample import write_shots

    data = open_data(write_shots(tmp_path, count=3))
    assert check_data(data).usable
    assert data.defects == ("hole", "scratch")
    for item in data.shots:
        image = data.read(item).image
        mask = data.read_mask(item, image.shape)
        assert mask is not None
        assert 0.0005 < mask.mean() < 0.03
        assert abs(image[mask].mean() - np.median(image[~mask])) > 5
