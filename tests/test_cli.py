"""The command line as people type it: what it prints, its exit codes, and one line for every mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ias_zoo.cli import main
from ias_zoo.data.images import read_image, read_mask


def zoo(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ias_zoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with one line; gives the line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code not in (0, None)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_list_and_its_filters() -> None:
    out = zoo("list").stdout
    assert all(name in out for name in ("cutpaste", "cutpaste_scar", "cutpaste_3way", "draem", "nsa", "ready"))
    listed = json.loads(zoo("list", "--json", "--paradigm", "hand-crafted", "--licence", "permissive").stdout)
    assert {"cutpaste", "draem", "nsa"} <= {entry["name"] for entry in listed}
    generative = json.loads(zoo("list", "--json", "--paradigm", "generative-model").stdout)
    assert {row["name"] for row in generative} == {"defect_gan", "dfmgan"}
    assert zoo("list", "--paradigm", "handcrafted").stderr.count("\n") == 1


def test_info_tells_everything() -> None:
    out = zoo("info", "draem").stdout
    for words in ("ICCV 2021", "2108.07610", "VitjanZ/DRAEM (MIT)", "faithful", "exact mask", "variant", "code"):
        assert words in out, words
    record = json.loads(zoo("info", "nsa", "--json").stdout)
    assert record["needs"] == ["normals", "source"]
    assert {option["name"] for option in record["option_list"]} >= {"label", "legacy_clip", "preset"}


def test_generate_verify_replay(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = zoo("generate", "draem", "--data", mvtec, "-n", 5, "--seed", 3, "--set", "variant=paper", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "5 images" in done.stdout
    assert f"look at {out / 'contact_sheet.png'}" in done.stdout
    assert read_image(out / "contact_sheet.png").image.std() > 20
    assert zoo("verify", out).stdout == "5 images, 0 problems\n"
    assert "the same bytes" in zoo("replay", out, 4, "--out", tmp_path / "again.png").stdout
    assert (tmp_path / "again.png").read_bytes() == (out / "test/draem/000004.png").read_bytes()
    checked = json.loads(zoo("check-data", out, "--json").stdout)
    assert checked["usable"] is True
    assert {"cutpaste", "cutpaste_3way", "cutpaste_scar", "draem", "nsa"} <= set(checked["can_run"])


def test_demo_needs_nothing(tmp_path: Path) -> None:
    from ias_zoo.generation.verify import verify
    from ias_zoo.method import Produces, Trains
    from ias_zoo.registry import registry

    done = zoo("demo", "--out", tmp_path / "demo", IAS_ZOO_PLUGINS="handcrafted")  # fitting has a test of its own
    assert done.returncode == 0, done.stderr
    sheet = tmp_path / "demo/contact_sheet.png"
    assert str(sheet) in done.stdout
    assert read_image(sheet).image.shape[0] > 500
    inputs = {"normals", "shots"}
    made = {path.name: path for path in (tmp_path / "demo").iterdir() if path.is_dir() and path.name not in inputs}
    records = [entry.method for entry in registry().entries()]
    assert set(made) == {m.name for m in records if m.trains is Trains.NONE and m.produces is Produces.IMAGE}
    for path in made.values():
        for product in path.iterdir():
            assert not verify(product).problems
    again = zoo("demo", "--out", tmp_path / "demo", IAS_ZOO_PLUGINS="handcrafted")
    assert again.returncode == 0, "a second demo stumbles over the first"


def test_check_data_says_what_is_odd(mvtec: Path) -> None:
    assert zoo("check-data", mvtec).returncode == 0
    (mvtec / "train/good/001.png").write_bytes(b"")
    done = zoo("check-data", mvtec)
    assert done.returncode == 1
    assert "error: train/good/001.png: cannot be read" in done.stdout


def test_mistakes_cost_one_line(mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    generate = ("generate", "cutpaste", "--data", mvtec, "--out", out)
    cases = {
        ("generate", "cutpast", "--data", mvtec, "--out", out): "unknown method 'cutpast'; did you mean 'cutpaste'",
        ("generate", "cutpaste", "--data", tmp_path / "no", "--out", out): "no: no such folder",
        (*generate, "-n", 0): "n=0: expected an integer >= 1",
        (*generate, "-n", -5): "n=-5",
        (*generate, "--set", "jiter=0"): "no option 'jiter'; did you mean 'jitter'",
        (*generate, "--set", "jitter=much"): "jitter='much': expected float",
        (*generate, "--set", "jitter"): "expected name=value",
        (*generate, "--size", "big"): "--size 'big': expected a number, or HEIGHTxWIDTH",
        (*generate, "--workers", 0): "workers=0",
        (*generate, "--defect", "../x"): "defect name '../x'",
        ("info", "darem"): "did you mean 'draem'",
        ("list", "--licence", "free"): "expected 'permissive'",
        ("check-data", tmp_path / "no"): "no such folder",
        ("verify", mvtec): "not a generated folder",
        ("replay", mvtec, 1): "not a generated folder",
    }
    for arguments, words in cases.items():
        line = fails(capsys, *arguments)
        assert words in line, f"{arguments}: {words!r} is not in {line!r}"
        assert not out.exists(), f"{arguments} left {out} behind"


def test_zero_normals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parts/train/good").mkdir(parents=True)
    line = fails(capsys, "generate", "cutpaste", "--data", tmp_path / "parts", "--out", tmp_path / "out")
    assert "no normals" in line
    assert not (tmp_path / "out").exists()


def test_read_only_folder(mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # /proc takes no new folders, from root either.
    line = fails(capsys, "generate", "cutpaste", "--data", mvtec, "--out", "/proc/out")
    assert "/proc/out" in line


def test_existing_folder(mvtec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main_ok("generate", "cutpaste", "--data", mvtec, "-n", 2, "--out", out)
    line = fails(capsys_cleared(capsys), "generate", "cutpaste", "--data", mvtec, "-n", 2, "--out", out)
    assert "--resume continues it, --force starts it over" in line
    main_ok("generate", "cutpaste", "--data", mvtec, "-n", 2, "--out", out, "--resume")
    main_ok("generate", "cutpaste", "--data", mvtec, "-n", 3, "--out", out, "--force")


def test_a_bad_picture_is_named_and_the_exit_code_tells(mvtec: Path, tmp_path: Path) -> None:
    (mvtec / "train/good/001.png").write_bytes(b"broken")
    done = zoo("generate", "cutpaste", "--data", mvtec, "-n", 10, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "8 images" in done.stdout
    (said, advice) = done.stderr.splitlines()  # one line for the file, though it costs two images
    assert re.match(r"error: images \d, \d: \S*train/good/001.png: cannot be read as a picture", said)
    assert "DataError" not in said
    assert "2 images not made" in advice
    assert "replace the files named above under the same names and add --resume" in advice
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in zoo("--debug", "info", "nothing").stderr
    assert "Traceback" not in zoo("info", "nothing").stderr


def test_version_and_usage() -> None:
    assert zoo("--version").stdout.startswith("ias-zoo ")
    done = zoo("generate", "--no-such-option")
    assert done.returncode == 2
    assert "No such option" in done.stderr


@pytest.mark.parametrize(
    ("name", "method"), [(n, m) for n in ("mtd", "mvtec_screw") for m in ("cutpaste", "draem", "nsa")]
)
def test_real_products(shared: Path, tmp_path: Path, name: str, method: str) -> None:
    """Twelve images on real parts: masks lie on the product, nothing is grey-turned-colour, everything verifies."""
    out = tmp_path / "out"
    main_ok("generate", method, "--data", shared / "data" / name, "-n", 12, "--out", out)
    main_ok("verify", out)
    for line in (out / "provenance/shard-00000.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert read_image(out / record["image"]).grey
        normal_id = record["recipe"]["request"]["normal_id"]
        foreground = shared / "data" / name / "foreground" / normal_id
        if foreground.exists():
            region, mask = read_mask(foreground), read_mask(out / record["mask"])
            assert not (mask & ~region).any(), f"{record['mask']} leaves the product"


def main_ok(*arguments: object) -> None:
    main_arguments = [str(argument) for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(main_arguments)
    assert stopped.value.code in (0, None)


def capsys_cleared(capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    capsys.readouterr()
    return capsys


def test_demo_respects_a_folder_of_yours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "contact_sheet.png").write_bytes(b"mine")
    assert "not made by this command" in fails(capsys, "demo", "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["contact_sheet.png"]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupt_says_how_to_go_on(mvtec: Path, tmp_path: Path, workers: int, stop: signal.Signals) -> None:
    arguments = ["generate", "cutpaste", "--data", mvtec, "-n", 20000, "--out", tmp_path / "out", "--workers", workers]
    command = [sys.executable, "-m", "ias_zoo", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out/provenance").glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, stop)  # as terminals and schedulers do
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert err.strip() == "stopped; what was finished is kept: type the same again, with --resume where there is one"
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"plan.json", "train", "test", "ground_truth", "provenance"}, "no lock, nothing half-written"
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_demo_fits_what_learns_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's path for methods that learn, on the embedded base, with one step a stage."""
    from dataclasses import replace

    from ias_zoo import registry

    real = registry.Registry.discover()
    quick = {"steps": 1, "mask_steps": 1, "mask_threshold": 0.01}
    plugins = [
        replace(plugin, methods=tuple(replace(m, quick=quick if m.trains != "none" else {}) for m in plugin.methods))
        for plugin in real.plugins
        if plugin.name == "seas"
    ]
    kept = [plugin for plugin in real.plugins if plugin.name == "handcrafted"]
    kept = [replace(plugin, methods=plugin.methods[:1]) for plugin in kept]
    zoo = registry.Registry([*kept, *plugins])
    for module in ("ias_zoo.registry", "ias_zoo.generation.plan"):
        monkeypatch.setattr(f"{module}.registry", lambda: zoo)
    main_ok("demo", "--no-learn", "--out", tmp_path / "demo")
    assert not (tmp_path / "demo/seas").exists()
    main_ok("demo", "--out", tmp_path / "demo")
    assert (tmp_path / "demo/seas/weights/ias_zoo.json").is_file()
    assert len(list((tmp_path / "demo/seas/pairs/test").glob("*/*.png"))) == 12
    main_ok("verify", tmp_path / "demo/seas/pairs")
