"""Runs: equal bytes whoever runs them, nothing half-written, resumable after any death, verified and replayed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ias_zoo
from ias_zoo import open_data
from ias_zoo.data.check import check_data
from ias_zoo.data.images import encode_png, read_image, read_mask
from ias_zoo.errors import DataError, OptionError, RunError
from ias_zoo.generation.folder import only_run_in
from ias_zoo.generation.plan import Plan, make_plan
from ias_zoo.generation.provenance import read_provenance
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.generation.run import run
from ias_zoo.generation.seeds import seed_for
from ias_zoo.generation.verify import replay, verify
from ias_zoo.synthesizer import Drawn, Request


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def plan_for(data: Path, n: int = 23, **changes: Any) -> Plan:
    return make_plan("cutpaste", data, n, **({"seed": 7, "shard_size": 5} | changes))


def test_seeds_do_not_collide_and_never_change() -> None:
    seeds = {seed_for(run, index, attempt) for run in range(20) for index in range(50) for attempt in range(5)}
    assert len(seeds) == 5000
    assert max(seeds) < 2**63
    assert seed_for(0, 4711, 0) == 8563828522177380893, "the seed of an old run's image has changed"


def test_normals_come_evenly_and_sources_differ(mvtec: Path) -> None:
    maker = RequestMaker(ias_zoo.info("nsa"), Normals(mvtec), seed=3)
    requests = [maker.make(index)[0] for index in range(10)]
    assert sorted(r.normal_id for r in requests[:5]) == sorted(r.normal_id for r in requests[5:])
    assert len({r.normal_id for r in requests[:5]}) == 5
    assert all(r.source_id != r.normal_id for r in requests)
    again = RequestMaker(ias_zoo.info("nsa"), Normals(mvtec), seed=3)
    alone = again.make(7)[0]
    assert (alone.seed, alone.normal_id, alone.source_id) == (
        requests[7].seed,
        requests[7].normal_id,
        requests[7].source_id,
    )


def test_output_is_a_data_set_of_its_own(mvtec: Path, tmp_path: Path) -> None:
    summary = run(plan_for(mvtec, defects=["scratch"]), tmp_path / "out")
    assert (summary.made, summary.failures) == (23, [])
    data = open_data(tmp_path / "out")
    report = check_data(data)
    assert (report.layout, report.usable, report.problems) == ("mvtec", True, [])
    assert report.counts == {"test/scratch": 23, "train/good": 5}
    assert [item.path.read_bytes() for item in data.normals] == [
        item.path.read_bytes() for item in open_data(mvtec).normals
    ]
    assert verify(tmp_path / "out").problems == []


def test_python_and_files_agree(mvtec: Path, tmp_path: Path) -> None:
    run(plan_for(mvtec), tmp_path / "out")
    samples = ias_zoo.load("cutpaste").generate(23, mvtec, seed=7)
    stream = ias_zoo.load("cutpaste").stream(mvtec, seed=7)
    for line, sample, streamed in zip(read_provenance(tmp_path / "out"), samples, stream, strict=False):
        assert np.array_equal(read_image(tmp_path / "out" / line["image"]).image, sample.image)
        assert np.array_equal(read_mask(tmp_path / "out" / line["mask"]), sample.mask)
        assert np.array_equal(sample.image, streamed.image)
        assert line["recipe"] == sample.recipe


def test_workers_and_shards_change_no_byte(mvtec: Path, tmp_path: Path) -> None:
    run(plan_for(mvtec), tmp_path / "one")
    run(plan_for(mvtec), tmp_path / "two", workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    run(plan_for(mvtec, shard_size=11), tmp_path / "coarse")
    pictures = [
        {name: digest for name, digest in tree(tmp_path / run_name).items() if name.startswith(("test", "ground"))}
        for run_name in ("one", "coarse")
    ]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_gives_the_same_bytes(mvtec: Path, tmp_path: Path, workers: int) -> None:
    arguments = ["generate", "cutpaste", "--data", str(mvtec), "-n", "1500", "--seed", "7", "--workers", str(workers)]

    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ias_zoo", *arguments, "--out", str(out), "--resume"]
        return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    kills = 0
    for done in (1, 8):
        process = start(tmp_path / "killed")
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "killed/provenance").glob("*.jsonl"))) < done and time.monotonic() < deadline:
            time.sleep(0.001)
        if process.poll() is None:
            kills += 1
        process.kill()  # the parent alone: its workers have to notice
        process.wait()
    assert kills == 2, "the run ended before it could be killed: nothing was tested"
    assert len(list((tmp_path / "killed/provenance").glob("*.jsonl"))) < 30
    assert start(tmp_path / "killed").wait() == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole"), "a killed run left something else behind"


def test_a_request_to_end_is_an_interrupt_in_python(mvtec: Path, tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from ias_zoo.generation.plan import make_plan
from ias_zoo.generation.run import run
out = Path(sys.argv[2])
plan = make_plan("cutpaste", sys.argv[1], 60, seed=7, shard_size=5)
try:
    run(plan, out, step=lambda images: os.kill(os.getpid(), signal.SIGTERM) if images else None)
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    print(sorted(os.listdir(out)))
print(run(plan, out, resume=True).skipped)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(mvtec), str(tmp_path / "out")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["['ground_truth', 'plan.json', 'provenance', 'test', 'train']", "5"]


def test_two_runs_cannot_share_a_folder(mvtec: Path, tmp_path: Path) -> None:
    with only_run_in(tmp_path / "out"), pytest.raises(RunError, match="another process is writing here"):
        run(plan_for(mvtec), tmp_path / "out")
    assert run(plan_for(mvtec), tmp_path / "out").made == 23


def test_existing_folders_are_respected(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec), out)
    before = tree(out)
    with pytest.raises(RunError, match="--resume continues it, --force starts it over"):
        run(plan_for(mvtec), out)
    with pytest.raises(RunError, match="another run, it differs in: n, seed"):
        run(plan_for(mvtec, n=4, seed=8), out, resume=True)
    assert tree(out) == before
    assert run(plan_for(mvtec), out, resume=True).skipped == 23
    assert run(plan_for(mvtec, n=4), out, force=True).made == 4
    assert len(list((out / "test/cutpaste").iterdir())) == 4
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(RunError, match="not made by this command"):
            run(plan_for(mvtec), mine, force=force)
    assert tree(mine).keys() == {"precious.txt"}
    with pytest.raises(RunError, match="is a file"):
        run(plan_for(mvtec), mine / "precious.txt")


def test_force_keeps_what_no_run_made(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec, n=2), out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds what no run made: notes.txt"):
        run(plan_for(mvtec, n=3), out, force=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_one_bad_normal_costs_its_images_only(mvtec: Path, tmp_path: Path) -> None:
    whole = (mvtec / "train/good/003.png").read_bytes()
    (mvtec / "train/good/003.png").write_bytes(whole[:-60])
    summary = run(plan_for(mvtec), tmp_path / "out")
    assert 4 <= len(summary.failures) <= 5
    assert summary.made + len(summary.failures) == 23
    assert all("train/good/003.png" in failure.error for failure in summary.failures)
    assert verify(tmp_path / "out").problems, "verify passes an unfinished run"
    assert check_data(open_data(tmp_path / "out")).usable, "the broken normal was copied"
    (mvtec / "train/good/003.png").write_bytes(whole)
    assert run(plan_for(mvtec), tmp_path / "out", resume=True).failures == []
    run(plan_for(mvtec), tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_grey_in_grey_out(tmp_path: Path, write_picture: Any) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        write_picture(tmp_path / f"in/normal/{number}.png", rng.integers(60, 190, (64, 64), dtype=np.uint8))
    run(make_plan("draem", tmp_path / "in", 4), tmp_path / "out")
    for line in read_provenance(tmp_path / "out"):
        made = read_image(tmp_path / "out" / line["image"])
        assert made.grey
        normal = read_image(tmp_path / "in" / line["recipe"]["request"]["normal_id"])
        outside = ~read_mask(tmp_path / "out" / line["mask"])
        assert np.array_equal(made.image[outside], normal.image[outside])


def test_resized_runs(mvtec: Path, tmp_path: Path) -> None:
    run(plan_for(mvtec, size=(48, 40)), tmp_path / "out")
    for part in ("test/cutpaste", "ground_truth/cutpaste", "train/good"):
        assert {read_image(path).image.shape[:2] for path in (tmp_path / "out" / part).iterdir()} == {(48, 40)}
    assert replay(tmp_path / "out", "3").same


def test_soft_labels(mvtec: Path, tmp_path: Path) -> None:
    import cv2

    run(make_plan("nsa", mvtec, 3, soft_labels=True), tmp_path / "out")
    samples = ias_zoo.load("nsa").generate(3, mvtec)
    for line, sample in zip(read_provenance(tmp_path / "out"), samples, strict=True):
        stored = cv2.imread(str(tmp_path / "out" / line["label_map"]), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.float32
        assert np.array_equal(stored, sample.label_map)
    assert verify(tmp_path / "out").problems == []


def test_verify_notices(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec), out)
    (out / "test/cutpaste/000001.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    (out / "ground_truth/cutpaste/000002_mask.png").unlink()
    (out / "test/cutpaste/extra.png").write_bytes(b"")
    (out / "provenance/shard-00004.jsonl").unlink()
    said = "\n".join(verify(out).problems)
    for words in (
        "test/cutpaste/000001.png: changed",
        "000001.png: image and mask differ in size",
        "000002_mask.png: No such file",
        "extra.png: not in the provenance",
        "shard-00004.jsonl: not finished",
    ):
        assert words in said, f"{words!r} is not in:\n{said}"
    with pytest.raises(RunError, match="not a generated folder"):
        verify(mvtec)


def test_replay(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec), out)
    for image in ("17", "000017.png", "test/cutpaste/000017.png", str(out / "test/cutpaste/000017.png")):
        again = replay(out, image)
        assert again.same
        assert again.image == (out / "test/cutpaste/000017.png").read_bytes()
    with pytest.raises(RunError, match="no image '99'"):
        replay(out, "99")
    normal = again.line["recipe"]["request"]["normal_id"]
    (mvtec / normal).write_bytes(encode_png(np.zeros((64, 80, 3), np.uint8)))
    with pytest.raises(RunError, match=f"{normal} .*has changed"):
        replay(out, "17")


def test_pictures_may_move_but_not_change(mvtec: Path, tmp_path: Path) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"
    run(plan_for(mvtec), out)
    whole = tree(out)
    (out / "provenance/shard-00001.jsonl").unlink()
    mvtec.rename(moved)
    with pytest.raises(DataError):
        replay(out, "17")
    assert replay(out, "17", data=moved).same
    summary = run(plan_for(moved), out, resume=True)
    assert (summary.made, summary.skipped) == (5, 18)
    assert replay(out, "17").same, "the plan knows the new place"
    assert {name: digest for name, digest in tree(out).items() if name != "plan.json"} == {
        name: digest for name, digest in whole.items() if name != "plan.json"
    }

    (out / "provenance/shard-00002.jsonl").unlink()
    elsewhere = tmp_path / "elsewhere"
    moved.rename(elsewhere)
    path = elsewhere / "train/good/001.png"
    path.write_bytes(encode_png(255 - read_image(path).image))
    with pytest.raises(RunError, match="train/good/001.png has changed"):
        run(plan_for(elsewhere), out, resume=True)
    assert Plan.read(out).data == str(moved), "nothing was written down"
    with pytest.raises(RunError, match="differs in: data, n"):
        run(plan_for(elsewhere, n=24), out, resume=True)


def test_replay_notices_a_changed_second_normal(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(make_plan("nsa", mvtec, 3, seed=7), out)
    line = next(iter(read_provenance(out)))
    source = line["recipe"]["request"]["source_id"]
    assert source != line["recipe"]["request"]["normal_id"]
    (mvtec / source).write_bytes(encode_png(255 - read_image(mvtec / source).image))
    with pytest.raises(RunError, match=f"{source} .*has changed"):
        replay(out, "0")


def test_wrong_arguments(mvtec: Path, tmp_path: Path) -> None:
    for wrong in ({"n": 0}, {"n": -3}, {"n": True}, {"seed": -1}, {"size": (0, 5)}, {"shard_size": 0}):
        with pytest.raises(OptionError, match=str(next(iter(wrong)))):
            plan_for(mvtec, **wrong)
    for name in ("", "..", "a/b", "good", "a\\b", " x"):
        with pytest.raises(OptionError, match="defect name"):
            plan_for(mvtec, defects=[name])
    with pytest.raises(OptionError, match="workers=0"):
        run(plan_for(mvtec), tmp_path / "out", workers=0)
    synthesizer = ias_zoo.load("cutpaste")
    for n in (0, -1, 1.5, True):
        with pytest.raises(OptionError, match="expected an integer >= 1"):
            synthesizer.generate(n, mvtec)
    with pytest.raises(DataError, match="needs normals"):
        synthesizer.generate(1)
    with pytest.raises(DataError, match="no normals"):
        synthesizer.generate(1, [])
    with pytest.raises(DataError, match="at least 2 normals"):
        ias_zoo.load("nsa").generate(1, [np.zeros((32, 32, 3), np.uint8)])
    with pytest.raises(OptionError, match="seed=-1"):
        synthesizer.generate(1, mvtec, seed=-1)


def test_a_defects_name_cannot_leave_the_folder(mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ias_zoo_handcrafted.cutpaste import CutPaste

    def draw(self: Any, request: Request, rng: np.random.Generator) -> Drawn:
        assert request.normal is not None
        mask = np.ones(request.normal.shape[:2], bool)
        return Drawn(image=255 - request.normal, mask=mask, defect="../../escaped")

    monkeypatch.setattr(CutPaste, "draw", draw)
    with pytest.raises(OptionError, match="escaped"):
        run(plan_for(mvtec, n=1), tmp_path / "out")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "out/test").exists()


def test_changed_normals_are_noticed_before_resuming(mvtec: Path, tmp_path: Path) -> None:
    plan = plan_for(mvtec)
    (mvtec / "train/good/000.png").rename(mvtec / "train/good/900.png")
    with pytest.raises(RunError, match="other normals"):
        run(plan, tmp_path / "out")


def test_plan_round_trip(mvtec: Path, tmp_path: Path) -> None:
    plan = plan_for(mvtec, defects=["a", "b"], size=(32, 40))
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert Plan.read(tmp_path) == plan
    assert sorted(index for shard in range(plan.shards) for index in plan.indices(shard)) == list(range(23))
    values = json.loads(plan.to_json())
    assert set(values) == {field.name for field in dataclasses.fields(Plan)}
    for broken in ("{", "[]", '{"n": 3}'):
        (tmp_path / "plan.json").write_text(broken)
        with pytest.raises(RunError, match="not a plan"):
            Plan.read(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: mounting a small tmpfs needs root; run the suite as root once")
@pytest.mark.parametrize("workers", [1, 2])
def test_full_disk_keeps_what_is_whole(mvtec: Path, tmp_path: Path, workers: int) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        with pytest.raises(RunError, match="No space left on device.*--resume"):
            run(plan_for(mvtec, n=400), disk / "out", workers=workers)
        assert not [path for path in (disk / "out").rglob("*") if "partial" in path.name and path.is_file()]
        for line in read_provenance(disk / "out"):
            for kind, digest in line["sha256"].items():
                assert hashlib.sha256((disk / "out" / line[kind]).read_bytes()).hexdigest() == digest
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        run(plan_for(mvtec, n=400), disk / "out", resume=True)
        run(plan_for(mvtec, n=400), tmp_path / "clean")
        assert tree(disk / "out") == tree(tmp_path / "clean")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(RunError, match="Read-only file system"):
            run(plan_for(mvtec), disk / "new")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_force_never_takes_a_strangers_folder(mvtec: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "train/good").mkdir(parents=True)
    (mine / "plan.json").write_text('{"my": "project plan"}')
    (mine / "train/good/a.png").write_bytes(b"precious")
    before = tree(mine)
    for force in (False, True):
        with pytest.raises(RunError, match="not made by this command"):
            run(plan_for(mvtec), mine, force=force)
    assert tree(mine) == before


def test_force_looks_before_it_deletes(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec, n=2), out)
    (out / "test/real").mkdir()
    (out / "test/real/mine.png").write_bytes(b"precious")
    before = tree(out)
    with pytest.raises(RunError, match="test/real/mine.png"):
        run(plan_for(mvtec, n=3), out, force=True)
    assert tree(out) == before
    (out / "test/real/mine.png").unlink()
    (out / "label_map").symlink_to(mvtec)
    with pytest.raises(RunError, match="is a link"):
        run(plan_for(mvtec, n=3), out, force=True)


@pytest.mark.parametrize("place", ["", "train/good/out", "test", "test/new"])
def test_output_keeps_away_from_the_pictures(mvtec: Path, place: str) -> None:
    before = tree(mvtec)
    with pytest.raises(RunError, match="give another folder"):
        run(plan_for(mvtec), mvtec / place, force=True)
    assert tree(mvtec) == before


def test_a_run_is_not_fed_to_itself(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec, n=3), out)
    before = tree(out)
    with pytest.raises(RunError, match="give another folder"):
        run(plan_for(out, n=3), out, force=True)
    assert tree(out) == before
    assert run(plan_for(out, n=3), tmp_path / "next").made == 3


def test_train_and_test_pictures_agree_in_format(tmp_path: Path, write_picture: Any) -> None:
    """16-bit, turned and transparent normals are written as they are seen; plain ones stay the same bytes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    base = rng.integers(500, 3500, (48, 64), dtype=np.uint16)
    write_picture(tmp_path / "in/normal/deep.png", base)
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = rng.integers(0, 255, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(np.rot90(colour)).save(tmp_path / "in/normal/turned.jpg", exif=exif)
    Image.fromarray(np.dstack([colour, colour[:, :, :1]])).save(tmp_path / "in/normal/clear.png")
    Image.fromarray(colour).save(tmp_path / "in/normal/plain.png")
    run(make_plan("cutpaste", tmp_path / "in", 4, white=4095), tmp_path / "out")
    good = tmp_path / "out/train/good"
    assert {path.name for path in good.iterdir()} == {"deep.png", "turned.png", "clear.png", "plain.png"}
    assert (good / "plain.png").read_bytes() == (tmp_path / "in/normal/plain.png").read_bytes()
    for line in read_provenance(tmp_path / "out"):
        test = read_image(tmp_path / "out" / line["image"])
        train = read_image(good / f"{Path(line['recipe']['request']['normal_id']).stem}.png")
        outside = ~read_mask(tmp_path / "out" / line["mask"])
        assert train.plain
        assert train.grey == test.grey
        assert np.array_equal(train.image[outside], test.image[outside])


def test_resume_notices_changed_normals(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec), out)
    (out / "provenance/shard-00001.jsonl").unlink()
    path = mvtec / "train/good/001.png"
    path.write_bytes(encode_png(255 - read_image(path).image))
    with pytest.raises(RunError, match="train/good/001.png has changed since this run began"):
        run(plan_for(mvtec), out, resume=True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda out: (out / "train/good/000.png").unlink(), "train/good/000.png: No such file"),
        (lambda out: (out / "train/good/000.png").write_bytes(b"x"), "train/good/000.png: changed"),
        (lambda out: _edit(out, lambda lines: lines + lines[:1]), "image 0 does not belong there"),
        (lambda out: _edit(out, lambda lines: lines[1:]), "image 0 is missing"),
        (lambda out: _copy(out, "shard-00099.jsonl"), "does not belong there"),
        (lambda out: _copy(out, "shard-00000 copy.jsonl"), "shard-00000 copy.jsonl: not in the provenance"),
    ],
)
def test_verify_notices_tampering(mvtec: Path, tmp_path: Path, damage: Any, words: str) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec), out)
    assert verify(out).problems == []
    damage(out)
    assert words in "\n".join(verify(out).problems)


@pytest.mark.parametrize(
    "change",
    [
        {"image": None},
        {"image": "../../etc/passwd"},
        {"image": 5},
        {"sha256": "x"},
        {"sha256": {}},
        {"recipe": None},
        {"recipe": {"run": {}}},
        {"defect": None},
    ],
)
def test_damaged_provenance_is_refused_in_words(mvtec: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run(plan_for(mvtec, n=2), out)
    _edit(out, lambda lines: [json.dumps(json.loads(lines[0]) | change), *lines[1:]])
    for command in (lambda: verify(out), lambda: replay(out, "0")):
        with pytest.raises(RunError, match="shard-00000.jsonl, line 1: "):
            command()


@pytest.mark.parametrize(
    "change",
    [
        {"n": "x"},
        {"n": 0},
        {"shard_size": 0},
        {"size": [128]},
        {"size": "ab"},
        {"method": 5},
        {"options": [1]},
        {"data": 4},
    ],
)
def test_damaged_plan_is_refused_in_words(mvtec: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    values = json.loads(plan_for(mvtec).to_json()) | change
    (tmp_path / "plan.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=f"not a plan this version can read: {next(iter(change))}"):
        Plan.read(tmp_path)


def _edit(out: Path, change: Any) -> None:
    path = out / "provenance/shard-00000.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def _copy(out: Path, name: str) -> None:
    (out / "provenance" / name).write_bytes((out / "provenance/shard-00000.jsonl").read_bytes())
