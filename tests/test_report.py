"""The HTML report: what it says, and that it says it safely."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.util
import json
import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ias_zoo.data.images import encode_png
from ias_zoo.errors import OptionError, RunError
from ias_zoo.generation.gate import UNCHANGED, changed_share, refuse
from ias_zoo.generation.plan import Plan, make_plan
from ias_zoo.generation.run import run
from ias_zoo.generation.verify import verify
from ias_zoo.report import pictures
from ias_zoo.report.gather import choose, judge, open_run, spread, worst
from ias_zoo.report.page import write_report
from ias_zoo.report.plots import linear_ticks, loss_plot, recall_plot, time_ticks
from ias_zoo.report.results import Comparison, Experiment, Row, read_comparison
from ias_zoo.synthesizer import Sample

_SPEC = importlib.util.spec_from_file_location("reporttools", Path(__file__).with_name("reporttools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
HOSTILE, Page = tools.HOSTILE, tools.Page
compared, page = tools.compared, tools.page


@pytest.fixture
def made(mvtec: Path, tmp_path: Path) -> Path:
    """Twelve samples of two defects."""
    folder = tmp_path / "made"
    run(make_plan("cutpaste", mvtec, 12, seed=3, defects=["crack", "dent & scratch"]), folder)
    return folder


def test_a_run_is_shown_whole_and_stands_alone(made: Path) -> None:
    target = write_report(made)
    assert target == made / "report.html"
    page = Page(target)
    gallery = page.source.partition('id="cards"')[2].partition('id="worst"')[0]
    assert gallery.count('class="card"') == 12
    assert "6 dent & scratch" in page.text
    seeds = [json.loads(line)["recipe"]["request"]["seed"] for line in _lines(made)]
    assert all(seed > 2**53 for seed in seeds[:1]), "seeds a script would round"
    shown = [json.loads(sample["recipe"])["request"]["seed"] for sample in page.data["samples"].values()]
    assert shown[:12] == seeds
    assert set(page.data["normals"]) == {sample["whole"]["normal"] for sample in page.data["samples"].values()}
    assert len(page.data["normals"]) == 5, "a normal is in the page once, however many samples share it"
    assert Page(write_report(made, limit=4)).source.count('class="card"') < page.source.count('class="card"')


def test_verify_and_force_know_the_report(made: Path) -> None:
    target = write_report(made)
    assert verify(made).problems == []
    run(Plan.read(made), made, force=True)
    assert not target.exists(), "it shows pictures that are gone"


def test_nothing_is_fetched_and_nothing_else_may_run(page: Any) -> None:
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert re.match(r"data:|#", attributes.get(name, "#")), (tag, attributes[name][:80])
        assert tag not in ("iframe", "object", "embed", "form", "base"), tag
    assert "http://" not in page.source
    assert "https://" not in page.source
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    style, _, script = page.raw
    for text in (style, script):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_what_people_wrote_stays_text(page: Any) -> None:
    assert len(page.all("script")) == 2
    assert not any(image.get("src") == "x" for image in page.all("img"))
    assert f"/data/{HOSTILE}" in page.text  # a fact
    assert page.text.count(f"protocol {HOSTILE}") >= 1  # how a figure was measured
    assert HOSTILE in page.text.partition("Training losses")[2]  # a loss term's name
    recipe = json.loads(page.data["samples"]["s0"]["recipe"])
    assert recipe["drawn"] == {"hostile": HOSTILE, "big": 2**62 + 1}


def test_gains_are_paired_and_ordered(compared: Path, page: Any) -> None:
    comparison = read_comparison(compared)
    assert [row.method for row in comparison.rows] == ["better", "odd", "worse"]
    assert [row.verdict for row in comparison.rows] == ["unclear"] * 3  # two seeds or one say nothing for sure
    gains = {row.method: {seed: round(gain, 9) for seed, gain in row.gain.items()} for row in comparison.rows}
    assert gains == {"better": {0: 0.1, 1: 0.14}, "odd": {0: 0.05}, "worse": {0: -0.2, 1: -0.1}}
    table = page.source.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]
    assert [row[0] for row in rows] == ["better", "odd", "real-only", "worse"]
    assert rows[0][1:4] == ["+0.120", "±", "0.028"]  # mean of 0.10 and 0.14; their deviation is 0.02 * sqrt 2
    assert rows[1][-3:] == ["1", "of", "2"]
    assert "better gains most: +0.120 pixel AP (± 0.028 over 2 seeds)" in page.text
    assert "The shots alone reach 0.550." in page.text
    assert "odd: no result yet for seed 1." in page.text
    assert "nan" not in table.lower()


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.10, 0.11, 0.12), "helps"),
        ((-0.10, -0.11, -0.12), "hurts"),
        ((0.01, 0.05, 0.12), "unclear"),  # all of one sign: so it is by chance in a quarter of the cases
        ((0.1,), "unclear"),
        ((), ""),
    ],
)
def test_a_verdict_needs_more_than_signs(gains: tuple[float, ...], verdict: str) -> None:
    assert Row("any", gain=dict(enumerate(gains))).verdict == verdict


def test_losses_between_two_ticks_are_drawn() -> None:
    assert "<svg" in loss_plot("t", {"a": [[0.3, 0.4]]})


def test_what_all_methods_took(compared: Path, tmp_path: Path) -> None:
    def one(seed: int, **cost: float | None) -> Experiment:
        return Experiment(tmp_path, seed, {"cost": cost}, None)

    shared = [one(seed, fit_seconds=1000.0, generate_seconds=60.0 if seed else None) for seed in range(3)]
    row = Row("fitted", shared)
    assert row.seconds() == {1: 1060.0, 2: 1060.0}  # the first was generated in pieces: its time is not known
    found = Comparison(tmp_path, {}, [row], Row("real-only"))
    assert found.total_seconds() == 1120.0
    assert Comparison(tmp_path, {"fit_each_seed": True}, [row], Row("real-only")).total_seconds() == 3120.0


def test_quality_shows_figures_and_how_they_were_measured(page: Any) -> None:
    part = page.source.partition('<section id="quality">')[2].partition("</section>")[0]
    headings = re.findall(r'<button type="button">([^<]+)</button>', part)
    assert headings == ["method", "kid", "pooled, kid"]  # neither the protocol's numbers nor each defect's
    assert re.findall(r'data-value="([\d.]+)"', part)[:2] == ["0.02", "0.03"]
    assert "kid (warning) of few" in page.text


def test_a_loss_is_no_gain(compared: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(compared, tmp_path / "only", ignore=shutil.ignore_patterns("generated"))
    settings = json.loads((folder / "compare.json").read_text())
    (folder / "compare.json").write_text(json.dumps({**settings, "methods": ["worse", "never run"]}))
    shutil.rmtree(folder / "real-only")
    page = Page(write_report(folder))
    assert "No method raised pixel AP above the shots alone; the best, worse, comes to −0.150" in page.text
    assert "never run: no result yet for seed 0, 1." in page.text
    assert "There are no generated pictures in this folder." in page.text
    (folder / "compare.json").write_text(json.dumps({**settings, "methods": []}))
    assert "No method has been evaluated yet." in Page(write_report(folder)).text


def test_a_fit_that_served_all_seeds_is_one_line(compared: Path, tmp_path: Path) -> None:
    """``compare`` copies the losses of a method that was fitted once into every seed's folder."""
    folder = shutil.copytree(compared, tmp_path / "fits", ignore=shutil.ignore_patterns("generated", "weights"))
    for factor, lines in ((1, 2), (2, 4)):  # two terms; then two fits of two terms
        for seed in range(2):
            values = [(1 + seed * (factor - 1)) / (step + 1) for step in range(50)]
            stages = [{"name": "image", "losses": {"first": values, "second": values[::-1]}}]
            (folder / f"worse/seed-{seed}/training.json").write_text(json.dumps({"stages": stages}))
        page = Page(write_report(folder))
        plots = page.source.partition("Training losses</h3>")[2].partition("</section>")[0]
        assert plots.count("<polyline") == lines
    assert "A line a fit" in page.text


def test_the_gates_measure_is_the_gates(made: Path) -> None:
    rng = np.random.default_rng(0)
    normal = rng.integers(0, 200, (40, 50, 3), dtype=np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[5:25, 10:30] = True  # 400 pixels: 20 are 5 %
    for count in (19, 20):
        image = normal.copy()
        flat = np.flatnonzero(mask)[:count]
        image.reshape(-1, 3)[flat, 1] += 3
        share = changed_share(image, normal, mask)
        assert share == count / 400
        refused = refuse(Sample(image=image, mask=mask, defect="crack", recipe={}), normal)
        assert refused == (UNCHANGED if count == 19 else None)
    assert changed_share(normal, normal, np.zeros_like(mask)) == 0


def test_the_worst_are_found(made: Path) -> None:
    """One sample is put back to almost its normal, one mask is cut to 2 pixels: they must lead."""
    judged = judge([open_run(made)])
    assert len(judged) == 12
    assert all(one.changed is not None and one.changed > 0.05 for one in judged)
    lines = _lines(made)
    normal = made / "train/good" / Path(json.loads(lines[7])["recipe"]["request"]["normal_id"]).name
    shutil.copy(normal, made / json.loads(lines[7])["image"])
    mask = np.zeros((64, 80), bool)
    mask[3, 3:5] = True
    (made / json.loads(lines[4])["mask"]).write_bytes(encode_png(mask))
    found = worst(judge([open_run(made)]))
    assert len(found) == 12
    assert (found[0][0].index, found[0][1]) in {(7, "0 % of the mask changed"), (4, "0 % of the mask changed")}
    leading = {sample.index for sample, _ in found[:2]} | {sample.index for sample, why in found if "2 pixels" in why}
    assert {4, 7} <= leading


def test_the_gallery_is_spread_evenly(made: Path) -> None:
    assert spread({"a": 100, "b": 2, "c": 100}, 12) == {
        "a": [10, 30, 50, 70, 90],
        "b": [0, 1],
        "c": [10, 30, 50, 70, 90],
    }
    for limit in range(1, 30):
        chosen = spread({"a": 9, "b": 3, "c": 14}, limit)
        assert sum(map(len, chosen.values())) == min(limit, 26)
        assert all(len(set(places)) == len(places) for places in chosen.values())
    chosen = choose(judge([open_run(made)]), 6)  # every second image has one defect: an even step would meet no other
    assert sorted(one.defect for one in chosen) == ["crack"] * 3 + ["dent & scratch"] * 3


def test_a_normal_that_is_gone_or_changed_is_not_shown(made: Path, mvtec: Path) -> None:
    shutil.rmtree(made / "train")
    page = Page(write_report(made))  # from the data set, then
    assert page.data["normals"]
    for picture in (mvtec / "train/good").iterdir():
        picture.write_bytes(encode_png(np.full((64, 80, 3), 90, np.uint8)))
    changed = Page(write_report(made))
    shutil.rmtree(mvtec)
    for page in (changed, Page(write_report(made))):
        assert page.data["normals"] == {}
        assert {sample["whole"]["normal"] for sample in page.data["samples"].values()} == {None}
        assert all("is no longer in the run's folder" in sample["why"] for sample in page.data["samples"].values())
        assert "12 could not be compared with their normal" in page.text


def test_samples_that_were_deleted_are_left_out_and_counted(made: Path, compared: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in _lines(made)]
    (made / lines[1]["image"]).unlink()
    (made / lines[4]["mask"]).unlink()
    page = Page(write_report(made))
    gallery = page.source.partition('id="cards"')[2].partition('id="worst"')[0]
    assert gallery.count('class="card"') == 10
    shown = {sample["name"] for sample in page.data["samples"].values()}
    assert shown == {Path(line["image"]).name for place, line in enumerate(lines) if place not in (1, 4)}
    assert page.all("ul", "warnings")
    assert "cutpaste, seed 3: 2 of 12 samples lack their picture or mask in the folder" in page.text
    assert "--resume" not in page.text, "they were made: going on would not bring them back"
    folder = shutil.copytree(compared, tmp_path / "curated")
    shutil.rmtree(folder / "worse/seed-1/generated/test")
    text = Page(write_report(folder)).text
    assert "worse, seed 1: 4 of 4 samples lack their picture or mask in the folder" in text
    assert text.count("lack their picture") == 1


def test_the_page_keeps_to_its_budget(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = judge([open_run(made)])
    assert pictures.best_side(judged) == pictures.SIDES[0]
    full = len(Page(write_report(made)).source)
    monkeypatch.setattr(pictures, "SIDES", (64, 40, 24))
    sizes = {side: sum(len(pictures.Pictures(side).show(one).whole.image) for one in judged) for side in (64, 40, 24)}
    monkeypatch.setattr(pictures, "BUDGET", 2.5 * sizes[40])
    assert pictures.best_side(judged) < 64
    assert len(Page(write_report(made)).source) < full


def test_the_records_keep_to_their_budget(compared: Path, tmp_path: Path) -> None:
    """18 methods, 3 seeds and 600 test pictures: 19 MB, were every score, curve and loss in the page."""
    folder = shutil.copytree(compared, tmp_path / "many", ignore=shutil.ignore_patterns("generated", "weights"))
    settings = json.loads((folder / "compare.json").read_text())
    ids = [f"test/a rather long name of a type/{number:05}.png" for number in range(600)]
    split = {"test": ids, "left_out": ids[:21], "shots": {"one.png": {"group": "one"}}, "normals": 300}
    methods = [f"method-{number}" for number in range(18)]
    settings |= {"methods": methods, "seeds": [0, 1, 2], "split": split}
    (folder / "compare.json").write_text(json.dumps(settings))
    curve = {name: [0.123456789] * 101 for name in ("recall", "precision", "threshold")}
    arm = {
        "scores": {"pixel_ap": 0.5, "pixel_auroc": 0.9},
        "choice": {"how": "held out", "held": [ids[:3], ids[3:20]]},
        "pictures": [{"id": name, "defect": "scratch", "score": 0.123456789} for name in ids],
        "precision_recall": curve,
        "loss": {"every": 1, "values": [0.12345] * 200},
    }
    for method in ("real-only", *methods):
        names = ("shots",) if method == "real-only" else ("shots", "both", "synthetic")
        result = {
            "downstream": dict.fromkeys(names, arm["scores"]),
            "quality": {"data": {"held": ids, "normals": ids}},
            "curves": dict.fromkeys(names, curve),
            "detail": {"arms": {name: {**arm, "arm": name} for name in names}},
        }
        for seed in range(3):
            place = folder / method / f"seed-{seed}"
            place.mkdir(parents=True, exist_ok=True)
            (place / "result.json").write_text(json.dumps({"method": method, "seed": seed, **result}))
    page = Page(write_report(folder))
    assert len(page.source) < 3 * 2**20, "what pictures.py leaves for text, tables and plots"
    parts = re.split(r"</details>", page.source.partition('id="provenance"')[2])
    texts = [html.unescape(part.partition('<pre tabindex="0">')[2].partition("</pre>")[0]) for part in parts]
    records = [json.loads(text) for text in texts if text]
    assert len(records) == 1 + 3 * 19
    kept = records[0]
    assert kept["split"]["test"] == "600 entries, left out here: see compare.json"
    assert kept["split"]["left_out"] == "21 entries, left out here: see compare.json"
    assert {key: kept["split"][key] for key in ("shots", "normals")} == {"shots": split["shots"], "normals": 300}
    kept = next(record for record in records if record.get("method") == "method-0")
    assert kept["detail"]["arms"]["shots"] == "left out here: see result.json"
    both = kept["detail"]["arms"]["both"]
    assert both["pictures"] == "600 entries, left out here: see result.json"
    assert (both["scores"], both["choice"], both["loss"]["every"]) == (arm["scores"], arm["choice"], 1)
    kept = next(record for record in records if record.get("method") == "real-only")
    assert kept["detail"]["arms"]["shots"]["scores"] == arm["scores"]


def test_a_hairline_stays_visible_and_uncovered() -> None:
    mask = np.zeros((1000, 600), bool)
    mask[:, 301] = True
    address = pictures.mask_png(mask, 250, 150)
    small = np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA"))
    assert small.shape == (250, 150, 4)
    inside, outline, outside = small[:, 75, 3], small[:, 76, 3], small[:, 80, 3]
    assert (inside > 0).all()
    assert (inside < 128).all(), "the defect must shine through"
    assert (outline == 255).all()
    assert (outside == 0).all()


def test_close_ups_hold_the_largest_defect() -> None:
    mask = np.zeros((1024, 1024), bool)
    mask[5:8, 5:8] = True
    mask[1000:1020, 400:440] = True
    rows, columns = pictures.close_up_box(mask, 400) or (slice(0), slice(0))
    assert (rows.start, rows.stop, columns.stop - columns.start) == (824, 1024, 200)
    assert columns.start < 400
    assert columns.stop > 440
    assert pictures.close_up_box(np.zeros((9, 9), bool), 400) is None


def test_ticks_and_curves_by_hand() -> None:
    assert linear_ticks(-0.23, 0.1, 4) == [-0.2, -0.1, 0.0, 0.1]
    assert [words for _, words in time_ticks(4, 4000)] == ["10 s", "30 s", "1 min", "3 min", "10 min", "30 min", "1 h"][
        ::2
    ]
    plot = recall_plot("m", {"both": [([0.0, 1.0], [1.0, 0.0]), ([0.0, 1.0], [1.0, 0.5])]})
    points = [tuple(map(float, point.split(","))) for point in re.findall(r'points="([^"]+)"', plot)[0].split()]
    left, right, top, bottom = 34, 292, 22, 204  # the axes' ends; halfway the mean precision is (0.5 + 0.75) / 2
    assert points[50] == ((left + right) / 2, pytest.approx(bottom - 0.625 * (bottom - top), abs=0.06))


def test_errors_say_what_to_do(made: Path, compared: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"neither a generated folder .* nor a comparison .*ias-zoo compare"):
        write_report(tmp_path)
    with pytest.raises(OptionError, match=r"expected a name that ends in \.html"):
        write_report(made, tmp_path / "report.pdf")
    for limit in (0, 1001, True):
        with pytest.raises(OptionError, match="1 to 1000"):
            write_report(made, limit=limit)
    mine = tmp_path / "thesis.html"
    mine.write_text("<p>mine</p>")
    with pytest.raises(RunError, match="is no report"):
        write_report(made, mine)
    assert mine.read_text() == "<p>mine</p>"
    folder = shutil.copytree(compared, tmp_path / "broken")
    (folder / "worse/seed-1/result.json").write_text('{"half')
    with pytest.raises(RunError, match=re.escape(str(folder / "worse/seed-1/result.json"))):
        write_report(folder)
    (folder / "compare.json").write_text('{"format": 2}')
    with pytest.raises(RunError, match="format 2; this version reads 1"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_the_command_says_where_it_is(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ias_zoo.cli.report import report

    report(made, out=None, limit=3)
    assert capsys.readouterr().out.endswith(f"MB; open {made / 'report.html'}\n")


def _lines(folder: Path) -> list[str]:
    return (folder / "provenance/shard-00000.jsonl").read_text().splitlines()
