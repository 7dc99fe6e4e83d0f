"""Crop&Paste, and how a method that learns nothing is given shots: chosen, recorded, replayed, refused when changed."""

from __future__ import annotations

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest

import ias_zoo
from ias_zoo import Request, open_data
from ias_zoo.data.images import read_image, read_mask
from ias_zoo.data.split import few_shot_split
from ias_zoo.errors import DataError, OptionError, RequestError, RunError
from ias_zoo.generation.plan import Plan, make_plan
from ias_zoo.generation.provenance import read_provenance
from ias_zoo.generation.requests import Normals, RequestMaker
from ias_zoo.generation.run import run
from ias_zoo.generation.shots import choose_shots, read_shots
from ias_zoo.generation.verify import replay, verify
from ias_zoo.imaging.affine import Affine, warp_patch
from ias_zoo.imaging.blending import alpha_paste, soft_edge
from ias_zoo.training.shots import Shot
from ias_zoo_handcrafted.crop_paste import cut_defect, ring_mean

QUIET = {"rotation": 0.0, "scale": (1.0, 1.0), "mirror": False, "jitter": 0.0, "hue": 0.0, "feather": 0.0}
"""Nothing changes but the place and what the test switches on."""


def flat(level, size=(80, 100)):
    return np.full((*size, 3), level, dtype=np.uint8)


def shot(defect="dot", level=100, at=(30, 40), size=(9, 13), value=180, name=None):
    image = flat(level)
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[at[0] : at[0] + size[0], at[1] : at[1] + size[1]] = True
    image[mask] = value
    return Shot(name or f"{defect}-{at}", image, mask, defect, "00")


def draw(normal, given, count=20, region=None, **options):
    synthesizer = ias_zoo.load("crop_paste", **({"foreground": "all"} | options))
    requests = [Request(seed=seed, normal=normal, shot=given, region=region) for seed in range(count)]
    return synthesizer.synthesize(requests)


def test_the_defect_itself_is_pasted_at_its_own_scale() -> None:
    given, normal = shot(), np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    places = set()
    for sample in draw(normal, given, match="none", **QUIET):
        top, left, height, width = sample.recipe["drawn"]["destination"]
        assert sample.mask.sum() == given.mask.sum() == 9 * 13
        assert (sample.image[sample.mask] == 180).all()
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        assert sample.mask[top : top + height, left : left + width].sum() == 9 * 13
        places.add((top, left))
    assert len(places) > 15


def test_surroundings_are_matched() -> None:
    given = shot(level=100, value=140)
    for sample in draw(flat(150), given, match="gain", **QUIET):
        assert sample.recipe["drawn"]["gain"] == pytest.approx(1.5)
        assert (sample.image[sample.mask] == 150 + 1.5 * 40).all()
    for sample in draw(flat(150), given, match="shift", **QUIET):
        assert (sample.image[sample.mask] == 150 + 40).all()
    for sample in draw(flat(250), shot(level=50, value=60), match="gain", **QUIET):
        assert sample.recipe["drawn"]["gain"] == 2.0, "very different exposures are matched in part"
        assert (sample.image[sample.mask] == 255).all()


def test_colours_of_the_surroundings_do_not_leave_a_halo() -> None:
    """With matching, the soft edge fades into what is there already."""
    given = shot(level=60, value=160)
    for sample in draw(flat(120), given, **(QUIET | {"feather": 4.0})):
        outside = sample.image[~sample.mask].astype(int)
        assert np.abs(outside - 120).max() <= 1
        assert sample.image[sample.mask].max() == 255


def test_the_ring_keeps_away_from_the_defect() -> None:
    image, mask = flat(10, (40, 40)), np.zeros((40, 40), np.bool_)
    mask[18:22] = True
    image[16:24] = 200  # the defect and two pixels that may still be defect
    assert ring_mean(image, mask) == pytest.approx([10, 10, 10])
    assert ring_mean(image, np.ones_like(mask)) is None


def test_soft_edge_is_half_on_the_edge_and_gives_the_mask_back() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[:, 10:20] = True
    row = soft_edge(mask, 2.0)[10]
    assert row[8:12] == pytest.approx([0, 0.25, 0.75, 1])
    rng = np.random.default_rng(1)
    for width in (0.0, 1.0, 2.0, 5.0):
        ragged = cv2.blur(rng.random((40, 50)).astype(np.float32), (5, 5)) > 0.5
        assert np.array_equal(soft_edge(ragged, width) >= 0.5, ragged)


def test_alpha_paste_rounds_and_leaves_weight_zero_alone() -> None:
    image = flat(100, (4, 5))
    alpha = np.array([[0.0, 0.25], [0.5, 1.0]], np.float32)
    alpha_paste(image, np.full((2, 2, 3), 301.0), alpha, 1, 2)
    assert image[1:3, 2:4, 0].tolist() == [[100, 150], [200, 255]]
    image[1:3, 2:4] = 100
    assert (image == 100).all()


def test_exact_mask_touches_nothing_outside() -> None:
    normal = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    soft = [s for s in draw(normal, shot(), feather=3.0) if not np.array_equal(s.image[~s.mask], normal[~s.mask])]
    assert soft, "a soft edge reaches outside the mask"
    for sample in draw(normal, shot(), feather=3.0, exact_mask=True):
        assert np.array_equal(sample.image[~sample.mask], normal[~sample.mask])
        assert sample.mask.any()


def test_ranges_of_the_changes() -> None:
    drawn = [s.recipe["drawn"] for s in draw(flat(120), shot(), count=600)]
    degrees = np.array([d["affine"]["degrees"] for d in drawn])
    scale = np.log([d["affine"]["scale"] for d in drawn])
    assert np.abs(degrees).max() <= 15
    assert degrees.std() == pytest.approx(30 / math.sqrt(12), rel=0.1)
    assert (scale.min(), scale.max()) == pytest.approx((math.log(0.9), math.log(1.1)), abs=0.01)
    assert all(math.log(0.9) <= value <= math.log(1.1) for value in scale)
    for key in ("mirror", "flip"):
        assert np.mean([d["affine"][key] for d in drawn]) == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(600))


def test_affine_keeps_area_and_mirrors_the_right_way() -> None:
    mask = np.zeros((21, 31), np.bool_)
    mask[6:15, 8:23] = True
    patch = np.repeat(np.arange(31, dtype=np.uint8)[None, :, None].repeat(21, 0), 3, axis=2)
    same = warp_patch(patch, mask, Affine())
    assert np.array_equal(same[0], patch)
    assert np.array_equal(same[1], mask)
    assert np.array_equal(warp_patch(patch, mask, Affine(mirror=True))[0], patch[:, ::-1])
    assert np.array_equal(warp_patch(patch, mask, Affine(flip=True))[0], patch[::-1])
    assert np.array_equal(warp_patch(patch, mask, Affine(degrees=90))[1], np.rot90(mask))
    for degrees in (10, 33, 45, 80):
        assert warp_patch(patch, mask, Affine(degrees=degrees))[1].sum() == pytest.approx(mask.sum(), rel=0.05)
    assert warp_patch(patch, mask, Affine(scale=2))[1].sum() == pytest.approx(4 * mask.sum(), rel=0.12)
    assert warp_patch(patch, mask, Affine(shear=10))[1].sum() == pytest.approx(mask.sum(), rel=0.05)
    thin = np.zeros((21, 31), np.bool_)
    thin[10, 5] = True
    assert warp_patch(patch, thin, Affine(degrees=20, scale=0.7))[1].any(), "a single pixel must not vanish"


def test_a_defect_lies_in_the_region_and_a_tiny_one_still_gets_some() -> None:
    region = np.zeros((80, 100), np.bool_)
    region[20:60, 30:80] = True
    for sample in draw(flat(90), shot(), region=region):
        assert sample.recipe["drawn"]["inside"] >= 0.9
        assert not (sample.mask & ~region).any()
    tiny = np.zeros((80, 100), np.bool_)
    tiny[79, 99] = tiny[0, 0] = True
    for sample in draw(flat(90), shot(), region=tiny):
        assert sample.mask.any()
        assert not (sample.mask & ~tiny).any()
        assert np.array_equal(sample.image[~tiny], flat(90)[~tiny])


def test_the_product_is_found_where_no_region_is_given() -> None:
    normal = flat(240)
    cv2.circle(normal, (50, 40), 25, (90, 90, 90), cv2.FILLED)
    for sample in draw(normal, shot(level=90, value=20), foreground="otsu"):
        assert (normal[sample.mask] == 90).mean() > 0.9


def test_a_defect_cut_off_by_the_border_stays_there() -> None:
    given = shot(at=(0, 40))  # at the top
    for sample in draw(flat(100), given):
        drawn = sample.recipe["drawn"]
        rows = np.flatnonzero(sample.mask.any(axis=1))
        assert drawn["affine"]["degrees"] == 0
        assert rows[-1 if drawn["affine"]["flip"] else 0] == (79 if drawn["affine"]["flip"] else 0)
    loose = [np.flatnonzero(s.mask.any(axis=1)) for s in draw(flat(100), given, border="ignore")]
    assert any(rows[0] > 5 and rows[-1] < 74 for rows in loose)
    cut = cut_defect(given.image, given.mask, keep_border=True)
    assert cut.mask[0].any(), "no edge is drawn where the picture ended"
    assert not cut.real[0].any()


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (12, 8), (200, 150)])
def test_any_size_of_normal(size) -> None:
    for given in (shot(), shot(at=(0, 0), size=(80, 100)), shot(at=(20, 0), size=(1, 100)), shot(size=(1, 1))):
        for sample in draw(flat(120, size), given, count=8, foreground="otsu"):
            assert sample.image.shape == (*size, 3)
            assert sample.mask.any()


def test_grey_stays_grey() -> None:
    for sample in draw(flat(77), shot(level=120, value=30)):
        assert (sample.image == sample.image[..., :1]).all()


def test_a_request_without_a_usable_shot_is_refused() -> None:
    synthesizer = ias_zoo.load("crop_paste")
    good = shot()
    wrong = [None, dataclasses.replace(good, image=good.image[..., 0]), dataclasses.replace(good, mask=good.mask[1:])]
    wrong += [dataclasses.replace(good, mask=np.zeros_like(good.mask))]
    for given in wrong:
        with pytest.raises(RequestError, match="shot"):
            synthesizer.synthesize([Request(seed=0, normal=flat(3), shot=given)])


# -- how the shots get there -----------------------------------------------------------------------------------------


def test_types_take_turns_and_shots_come_evenly() -> None:
    given = [shot("a", at=(10 + n, 10), name=f"a{n}") for n in range(3)] + [shot("b", name="b0")]
    maker = RequestMaker(ias_zoo.info("crop_paste"), Normals([flat(9)]), seed=4, shots=given)
    requests = [maker.make(index)[0] for index in range(12)]
    assert [request.defect for request in requests] == ["a", "b"] * 6
    assert [request.shot.defect for request in requests] == ["a", "b"] * 6
    used = [request.shot.id for request in requests[::2]]
    assert sorted(used[:3]) == sorted(used[3:]) == ["a0", "a1", "a2"]
    again = RequestMaker(ias_zoo.info("crop_paste"), Normals([flat(9)]), seed=4, shots=given).make(8, attempt=3)[0]
    assert again.shot.id == requests[8].shot.id
    assert again.seed != requests[8].seed
    only = RequestMaker(ias_zoo.info("crop_paste"), Normals([flat(9)]), seed=4, shots=given, defects=["b"])
    assert {only.make(index)[0].shot.id for index in range(4)} == {"b0"}
    with pytest.raises(DataError, match=r"'c'.*a, b"):
        RequestMaker(ias_zoo.info("crop_paste"), Normals([flat(9)]), seed=4, shots=given, defects=["c"])
    with pytest.raises(DataError, match="shots with masks"):
        RequestMaker(ias_zoo.info("crop_paste"), Normals([flat(9)]), seed=4)


def test_shots_in_python(mvtec) -> None:
    synthesizer = ias_zoo.load("crop_paste")
    split = few_shot_split(open_data(mvtec)).train
    by_default = synthesizer.generate(4, mvtec)
    assert [s.defect for s in by_default] == ["crack", "dent"] * 2
    assert {s.recipe["request"]["shot"]["id"] for s in by_default} == {item.id for item in split}
    two = synthesizer.generate(8, mvtec, shots=2, defect="dent")
    assert {s.recipe["request"]["shot"]["id"] for s in two} == {"test/dent/000.png", "test/dent/001.png"}
    other = [flat(60), flat(70)]
    assert len(synthesizer.generate(2, other, shots=mvtec)) == 2
    in_memory = synthesizer.generate(2, other, shots=[shot("mine")])
    assert {(s.defect, s.recipe["request"]["shot"]["sha256"]) for s in in_memory} == {("mine", "00")}
    with pytest.raises(DataError, match="shots with masks"):
        synthesizer.generate(2, other)
    with pytest.raises(DataError, match="from no data set"):
        synthesizer.generate(2, other, shots=3)
    with pytest.raises(DataError, match="cannot be taken"):
        synthesizer.generate(2, mvtec, shots=9)
    with pytest.raises(OptionError, match="Shot objects"):
        synthesizer.generate(2, other, shots=[flat(3)])
    for given in (mvtec, 2, [shot()], open_data(mvtec)):
        with pytest.raises(OptionError, match="cutpaste takes no shots"):
            ias_zoo.load("cutpaste").generate(1, other, shots=given)
    stream = synthesizer.stream(mvtec, shots=1)
    assert [next(stream).image.tobytes() for _ in range(4)] == [s.image.tobytes() for s in by_default]


def test_a_run_records_its_shots_replays_and_resumes(mvtec, tmp_path) -> None:
    plan = make_plan("crop_paste", mvtec, 6, shots=2, shard_size=2)
    assert set(plan.shots) == {f"test/{defect}/00{n}.png" for defect in ("crack", "dent") for n in (0, 1)}
    assert plan.defects == ("crack", "dent")
    summary = run(plan, tmp_path / "out")
    assert (summary.made, summary.failures) == (6, [])
    assert Plan.read(tmp_path / "out") == plan
    assert verify(tmp_path / "out").problems == []
    for line in read_provenance(tmp_path / "out"):
        used = line["recipe"]["request"]["shot"]
        assert plan.shots[used["id"]][0] == used["sha256"]
        assert line["defect"] == used["id"].split("/")[1]
    assert replay(tmp_path / "out", "5").same
    before = (tmp_path / "out/test/dent/000005.png").read_bytes()
    (tmp_path / "out/provenance/shard-00002.jsonl").unlink()
    (tmp_path / "out/test/dent/000005.png").unlink()
    assert run(plan, tmp_path / "out", resume=True).made == 2
    assert (tmp_path / "out/test/dent/000005.png").read_bytes() == before
    assert [s.image.tobytes() for s in ias_zoo.load("crop_paste").generate(6, mvtec, shots=2)] == [
        read_image(tmp_path / "out" / line["image"]).image.tobytes() for line in read_provenance(tmp_path / "out")
    ]
    mask = mvtec / "ground_truth/crack/001_mask.png"
    done, data = cv2.imencode(".png", 255 - read_mask(mask).astype(np.uint8) * 255)
    assert done
    mask.write_bytes(data.tobytes())
    with pytest.raises(RunError, match=r"shots have changed.*test/crack/001\.png"):
        replay(tmp_path / "out", "5")


def test_a_list_of_shots_is_taken_as_it_is(mvtec) -> None:
    wanted = ["test/dent/002.png", "test/crack/001.png"]
    plan = make_plan("crop_paste", mvtec, 4, shots=wanted)
    assert sorted(plan.shots) == sorted(wanted)
    for bad, words in (("test/good/000.png", "no shot"), ("nowhere.png", "no picture")):
        with pytest.raises(DataError, match=words):
            make_plan("crop_paste", mvtec, 4, shots=[bad])
    with pytest.raises(OptionError, match="cutpaste takes no shots"):
        make_plan("cutpaste", mvtec, 4, shots=1)
    assert make_plan("cutpaste", mvtec, 4).shots == {}


def test_a_plan_of_an_older_zoo_without_shots_is_read(mvtec, tmp_path) -> None:
    text = json.loads(make_plan("cutpaste", mvtec, 4).to_json())
    del text["shots"]
    (tmp_path / "plan.json").write_text(json.dumps(text))
    assert Plan.read(tmp_path) == make_plan("cutpaste", mvtec, 4)


def test_shots_are_resized_as_the_normals_are(mvtec) -> None:
    plan = make_plan("crop_paste", mvtec, 2, size=(32, 40), shots=1)
    _, maker = plan.load()
    assert maker.make(0)[0].shot.image.shape == (32, 40, 3)
    data = open_data(mvtec)
    items = choose_shots(ias_zoo.info("crop_paste"), 1, data)
    with pytest.raises(DataError, match="empty after resizing to 1x1"):
        read_shots(data, items, size=(1, 1))


def test_on_the_shell(mvtec, tmp_path) -> None:
    from typer.testing import CliRunner

    from ias_zoo.cli.app import app

    call = ["generate", "crop_paste", "--data", str(mvtec), "--out", str(tmp_path / "out"), "-n", "3"]
    done = CliRunner().invoke(app, [*call, "--shots", "2", "--defect", "crack"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out/test/crack").iterdir())) == 3
    assert set(Plan.read(tmp_path / "out").shots) == {"test/crack/000.png", "test/crack/001.png"}
