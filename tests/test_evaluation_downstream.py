"""Downstream gain: what the arms are trained on, that they repeat, and how seeds are brought together."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from ias_zoo import open_data
from ias_zoo.errors import DataError, OptionError, TrainingError, WeightsError
from ias_zoo.evaluation import segmenter as segmenter_module
from ias_zoo.evaluation.classifier import defect_crop, type_accuracy
from ias_zoo.evaluation.downstream import (
    TestItem,
    gain,
    interval,
    phases_of,
    read_shots,
    read_test,
    run_arm,
    spread,
    summarise,
)
from ias_zoo.evaluation.pictures import read_samples
from ias_zoo.evaluation.protocols import PROTOCOLS, Protocol, find_protocol
from ias_zoo.evaluation.segmenter import Phase, Sampler, build_network, train_segmenter
from ias_zoo.evaluation.tiles import View
from ias_zoo.generation.plan import make_plan
from ias_zoo.generation.provenance import read_provenance
from ias_zoo.generation.requests import Normals
from ias_zoo.generation.run import run
from ias_zoo.testing.subject import toy_set
from ias_zoo.training.shots import Shot

SMALL = Protocol(
    name="small",
    about="for tests",
    encoder="tu-mobilenetv3_small_050",  # half a million weights
    side=32,
    batch=4,
    steps=4,
    choice_steps=2,
    classifier_steps=2,
    classifier_side=32,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def surface(rng, height=80, width=96):
    return cv2.GaussianBlur(rng.normal(120, 25, (height, width)), (0, 0), 1.2)


def part(seed, defect=None):
    """A grey surface; a ``spot`` is a dark disc of 5 pixels, a ``bar`` a bright bar of 4 x 16."""
    rng = np.random.default_rng([9, seed])
    grey, mask = surface(rng), np.zeros((80, 96), np.uint8)
    y, x = int(rng.integers(14, 66)), int(rng.integers(14, 82))
    if defect == "spot":
        cv2.circle(mask, (x, y), 5, 1, -1)
        grey[mask > 0] -= 60
    elif defect == "bar":
        mask[y - 2 : y + 2, x - 8 : x + 8] = 1
        grey[mask > 0] += 60
    image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return image, mask.astype(bool)


def shots_of(*defects, start=0):
    return [
        Shot(f"{kind}{number}", *part(start + 10 * number, kind), kind, f"{start}{kind}{number}")
        for kind in defects
        for number in range(3)
    ]


def held_items(count=4, start=500):
    kinds = ["spot", "bar", None]
    return [TestItem(f"t{n}", *part(start + n, kinds[n % 3]), kinds[n % 3]) for n in range(3 * count)]


NORMALS = [part(900 + number)[0] for number in range(4)]


def untimed(result):
    return {key: value for key, value in result.items() if key != "seconds"}


def test_an_arm_repeats_is_json_and_leaves_global_randomness_alone():
    shots, test = shots_of("spot", "bar"), held_items()
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 - whether it is left alone
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = run_arm("shots", shots, NORMALS, test, None, SMALL, 1)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    # synthetic pictures do not reach the arm of the shots alone: one result serves every method
    second = run_arm("shots", shots, NORMALS, test, shots_of("bar", start=3), SMALL, 1)
    first["counts"].pop("synthetic")
    second["counts"].pop("synthetic")
    assert json.dumps(untimed(first)) == json.dumps(untimed(second))
    assert first["loss"] != run_arm("shots", shots, NORMALS, test, None, SMALL, 2)["loss"]
    assert first["channels"] == 1
    assert len(first["pictures"]) == len(test)
    assert set(first["by_defect"]) == {"spot", "bar"}
    mean = (first["by_defect"]["spot"]["ap"] + first["by_defect"]["bar"]["ap"]) / 2
    assert first["scores"]["pixel_ap_types"] == pytest.approx(mean)
    assert len(first["precision_recall"]["recall"]) == 101


def test_it_learns_what_is_to_be_learned():
    protocol = dataclasses.replace(
        SMALL, encoder="resnet18", steps=40, batch=8, rate=3e-3, classifier_steps=0, crop="48"
    )
    test = held_items()
    start = run_arm("shots", shots_of("spot", "bar"), NORMALS, test, None, dataclasses.replace(protocol, steps=1), 0)
    after = run_arm("shots", shots_of("spot", "bar"), NORMALS, test, None, protocol, 0)
    assert after["view"] == {"scale": "native tiles", "crop": 64, "tile": 512, "overlap": 16}
    assert start["scores"]["pixel_ap"] < 0.3
    assert after["scores"]["pixel_ap"] > 0.6
    assert after["scores"]["image_auroc"] > 0.7


def test_phases():
    assert phases_of("shots", 10) == (Phase(10, 0.0),)
    assert phases_of("synthetic", 10) == (Phase(10, 1.0),)
    assert phases_of("mix:0.25", 10) == (Phase(10, 0.25),)
    assert phases_of("pretrain:0.3", 10) == (Phase(3, 1.0), Phase(7, 0.0))


def flat(value):
    return np.full((60, 60, 3), value, np.uint8)


def disc():
    mask = np.zeros((60, 60), np.uint8)
    cv2.circle(mask, (20, 40), 4, 1, -1)
    return mask.astype(bool)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 24), (1.0, 96)])
def test_shares_of_a_batch_are_exact(native, share, expected):
    protocol = dataclasses.replace(SMALL, light=0.0, batch=6)
    shots = [Shot("a", flat(10), disc(), "spot", "")]
    made = [Shot("b", flat(250), disc(), "spot", "")]
    view = View(32, native, 64, 8)
    sampler = Sampler(shots, made, Normals([flat(100)]), protocol, view, grey=True)
    drawn, with_defect = Counter(), Counter()
    for pictures, masks in sampler.batches([Phase(32, share)], 0):
        assert masks.shape == (6, 32, 32)
        for picture, mask in zip(pictures, masks, strict=True):
            assert picture.shape == (32, 32, 1)
            source = round(float(picture.mean() * 63.75 + 127.5))
            drawn[source] += 1
            with_defect[source] += bool(mask.any())
    assert sum(drawn.values()) == 192
    assert drawn[100] == (48 if native else 96)  # of the half without a centred defect, half when there are crops
    assert with_defect[100] == 0
    assert with_defect[250] >= expected
    assert drawn[250] == expected * (1.5 if native else 1)  # and the same share of the rest


def test_the_mask_moves_with_the_picture_and_the_defect_is_in_it():
    image, mask = np.zeros((60, 200, 3), np.uint8), np.zeros((60, 200), bool)
    mask[20:26, 180:195] = True
    image[mask] = 255
    protocol = dataclasses.replace(SMALL, light=0.0, defective=1.0)
    for native in (True, False):
        sampler = Sampler(
            [Shot("a", image, mask, "bar", "")], [], Normals([image]), protocol, View(32, native, 64, 8), grey=True
        )
        for pictures, masks in sampler.batches([Phase(8, 0.0)], 0):
            for picture, truth in zip(pictures, masks, strict=True):
                assert truth.max() > 0.9 or not native
                assert np.abs(picture[:, :, 0] / 4 + 0.5 - truth).max() < 0.02


def test_colour_gives_nothing_away_on_grey_products():
    made = [Shot("b", flat(120) * np.array([1, 0, 0], np.uint8), disc(), "spot", "")]
    result = run_arm("synthetic", shots_of("spot"), NORMALS, held_items(1), made, SMALL, 0)
    assert result["channels"] == 1
    red = [
        TestItem(item.id, item.image * np.array([1, 0, 0], np.uint8), item.mask, item.defect) for item in held_items(1)
    ]
    shots = [Shot(s.id, s.image * np.array([1, 0, 0], np.uint8), s.mask, s.defect, "") for s in shots_of("spot")]
    assert run_arm("shots", shots, NORMALS, red, None, SMALL, 0)["channels"] == 3


def test_the_use_is_chosen_on_held_out_shots_without_a_look_at_the_test(monkeypatch):
    shots = shots_of("spot", "bar")
    made = shots_of("bar", start=40)
    trained = []

    def spy(shots, synthetic, *rest, **more):
        trained.append([shot.id for shot in shots])
        return train_segmenter(shots, synthetic, *rest, **more)

    monkeypatch.setattr("ias_zoo.evaluation.downstream.train_segmenter", spy)
    protocol = dataclasses.replace(SMALL, folds=3, rounds=2, classifier_steps=0)
    result = run_arm("both", shots, NORMALS, held_items(1), made, protocol, 0)
    choice = result["choice"]
    assert result["use"] == max(choice["pixel_ap_types"], key=lambda use: np.mean(choice["pixel_ap_types"][use]))
    assert [len(choice["pixel_ap_types"][use]) for use in protocol.uses] == [2, 2, 2]
    assert len(trained) == 2 * 3 + 1
    for number, held in enumerate(choice["held"]):
        assert {name[:-1] for name in held} == {"spot", "bar"}
        for ids in trained[3 * number : 3 * number + 3]:
            assert sorted(ids + held) == sorted(shot.id for shot in shots)
    assert len(trained[-1]) == len(shots)
    from ias_zoo.evaluation import downstream

    setting = downstream._Setting(Normals(NORMALS), protocol, View.choose(shots, 32, "auto"), 0, "cpu", lambda *_: None)
    assert downstream._choose_use(shots, made, setting) == (result["use"], choice)  # a function of no test at all


def test_one_shot_of_a_type_cannot_be_held_out():
    lone = [shots_of("spot")[0], shots_of("bar")[0]]
    result = run_arm("both", lone, NORMALS, held_items(1), lone, SMALL, 0)
    assert result["use"] == SMALL.uses[0]
    assert "none can be held out" in result["choice"]["how"]


def test_pastes_of_a_held_out_shot_do_not_judge_it(monkeypatch, tmp_path):
    from ias_zoo.evaluation import downstream

    root = toy_set(tmp_path / "toys").root
    run(make_plan("crop_paste", root, 12, shots=4), tmp_path / "run")
    copied = {line["image"]: line["recipe"]["request"]["shot"]["id"] for line in read_provenance(tmp_path / "run")}
    data = open_data(root)
    shots = read_shots(data, [data.item(name) for name in sorted(set(copied.values()))])
    seen = []
    kept = downstream._Setting.train

    def watch(self, stage, shots, made, use, steps):
        seen.append((stage, {copied[each.id] for each in made}))
        return kept(self, stage, shots, made, use, steps)

    monkeypatch.setattr(downstream._Setting, "train", watch)
    protocol = dataclasses.replace(SMALL, uses=("mix:0.5", "pretrain:0.5"), folds=2, rounds=1)
    result = run_arm("both", shots, NORMALS, held_items(1), read_samples(tmp_path / "run"), protocol, 0)
    (held,) = result["choice"]["held"]
    choosing = [sources for stage, sources in seen if stage.startswith("choosing")]
    assert len(choosing) == 2
    assert all(sources and not sources & set(held) for sources in choosing)
    assert result["choice"]["synthetic"] == [sum(shot not in held for shot in copied.values())]
    assert seen[-1][1] == set(copied.values())  # what is trained in the end has all


def test_a_thin_defect_does_not_vanish_where_scores_are_taken_smaller():
    image, mask = part(3, "spot")
    thin = np.zeros_like(mask)
    thin[:, 5] = True  # less than half of any pixel at a quarter of the size
    protocol = dataclasses.replace(SMALL, score_side=image.shape[0] // 4)
    test = [TestItem("thin", image, thin, "spot"), *held_items(1)[-1:]]
    result = run_arm("shots", shots_of("spot"), NORMALS, test, None, protocol, 0)
    assert result["by_defect"]["spot"]["ap"] is not None
    assert result["scores"]["pixel_ap"] is not None


def test_gain_takes_the_shots_result_as_it_is_given():
    shots, test, made = shots_of("spot", "bar"), held_items(1), shots_of("spot", start=70)
    real = run_arm("shots", shots, NORMALS, test, None, SMALL, 0)
    real["scores"]["pixel_ap"] = 0.125  # a mark
    result = gain(shots, NORMALS, test, made, SMALL, 0, arms=("shots", "synthetic"), real=real)
    assert list(result["arms"]) == ["shots", "synthetic"]
    assert result["gain"]["synthetic"]["pixel_ap"] == result["arms"]["synthetic"]["scores"]["pixel_ap"] - 0.125
    assert "pixel_threshold" not in result["gain"]["synthetic"]
    with pytest.raises(DataError, match="another arm, seed or protocol"):
        gain(shots, NORMALS, test, made, SMALL, 1, real=real)
    assert list(gain(shots, NORMALS, test, None, SMALL, 0, real=real)["arms"]) == ["shots"]


def test_seeds_are_brought_together_by_pairs():
    def run(seed, base, other):
        arms = {
            "shots": {"scores": {"pixel_ap": base}, "protocol": 1},
            "both": {"scores": {"pixel_ap": other}, "protocol": 1},
        }
        return {"seed": seed, "arms": arms, "gain": {"both": {"pixel_ap": None if other is None else other - base}}}

    summary = summarise([run(0, 0.5, 0.6), run(1, 0.3, 0.5), run(2, 0.4, 0.7)])
    assert summary["arms"]["shots"]["pixel_ap"] == {
        "mean": pytest.approx(0.4),
        "sd": pytest.approx(0.1),
        "values": [0.5, 0.3, 0.4],
    }
    paired = summary["gain"]["both"]["pixel_ap"]
    assert paired["mean"] == pytest.approx(0.2)
    # Student's t for 2 degrees of freedom is 4.3027 at 97.5 %; the spread of 0.1, 0.2, 0.3 is 0.1
    assert paired["high"] - paired["mean"] == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)
    assert paired["mean"] - paired["low"] == pytest.approx(paired["high"] - paired["mean"])
    assert interval([0.1]) == (None, None)
    assert spread([0.1, None])["mean"] is None
    with pytest.raises(DataError, match="comes twice"):
        summarise([run(0, 0.5, 0.6), run(0, 0.5, 0.6)])
    other = run(1, 0.5, 0.6)
    other["arms"]["both"]["protocol"] = 2
    with pytest.raises(DataError, match="different protocols"):
        summarise([run(0, 0.5, 0.6), other])


def test_what_cannot_be_run():
    shots, test = shots_of("spot"), held_items(1)
    with pytest.raises(OptionError, match="no arm 'real'"):
        run_arm("real", shots, NORMALS, test, None, SMALL, 0)
    with pytest.raises(DataError, match="needs synthetic pictures"):
        run_arm("both", shots, NORMALS, test, None, SMALL, 0)
    with pytest.raises(DataError, match="among the test pictures: spot0"):
        run_arm("shots", shots, NORMALS, [TestItem("spot0", *part(1, "spot"), "spot")], None, SMALL, 0)
    with pytest.raises(TrainingError, match="loss is (nan|inf) at step"):
        run_arm("shots", shots, NORMALS, test, None, dataclasses.replace(SMALL, rate=1e30), 0)


def test_type_accuracy_tells_types_apart_and_says_why_it_cannot():
    protocol = dataclasses.replace(SMALL, encoder="resnet18", classifier_steps=20)
    test = held_items(6)
    accuracy, why = type_accuracy(shots_of("spot", "bar"), [], test, ["bar", "spot"], protocol, 0)
    assert why is None
    assert accuracy is not None
    assert accuracy > 0.8
    swapped = [
        Shot(s.id, s.image, s.mask, {"spot": "bar", "bar": "spot"}[s.defect], "") for s in shots_of("spot", "bar")
    ]
    wrong, _ = type_accuracy([], swapped, test, ["bar", "spot"], protocol, 0)
    assert wrong is not None
    assert wrong < 0.2
    foreign = [Shot("x", *part(1, "spot"), "something", "")]
    assert type_accuracy([], foreign, test, ["bar", "spot"], protocol, 0) == (
        None,
        "no picture of these types to train on",
    )
    assert type_accuracy(shots_of("spot", "bar"), foreign, test, ["bar", "spot"], protocol, 0) == (
        None,
        "no synthetic picture has one of these types",
    )
    half = shots_of("spot")
    assert (
        type_accuracy([], half, test, ["bar", "spot"], protocol, 0)[1] == "the training pictures do not have every type"
    )
    result = run_arm("shots", shots_of("spot"), NORMALS, held_items(1), None, SMALL, 0)
    assert (result["scores"]["type_accuracy"], result["type_accuracy_note"]) == (None, "one defect type only")


def test_the_classifier_sees_the_largest_part_with_a_margin():
    image, mask = np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), bool)
    mask[10:50, 30:50] = True
    mask[90:92, 90:92] = True
    image[mask] = 255
    crop = defect_crop(image, mask, 60)  # 1.5 x 40 pixels, native scale
    assert crop.shape == (60, 60, 3)
    assert abs(int((crop[:, :, 0] > 127).sum()) - 800) < 60
    assert (crop[10:50, 21:39] == 255).all()
    large = np.zeros((1000, 1000), bool)
    large[100:900, 100:900] = True
    stripes = np.repeat((np.arange(1000) % 2 * 255).astype(np.uint8)[None, :, None], 1000, 0).repeat(3, 2)
    assert np.ptp(defect_crop(stripes, large, 64)[20:44, 20:44].astype(int)) < 60  # averaged, not picked
    with pytest.raises(DataError, match="empty mask"):
        defect_crop(image, np.zeros((100, 100), bool), 32)


def test_folders_are_read_when_asked_for(mvtec, write_picture):
    data = open_data(mvtec)
    shots = read_shots(data)
    assert len(shots) == 6
    assert shots[0].defect == "crack"
    assert len(shots[0].digest) == 64
    assert shots[1:3][1].id == shots[2].id
    test = read_test(data, [item for item in data.items if item.split == "test"])
    assert sorted({item.defect or "" for item in test}) == ["", "crack", "dent"]
    assert not next(item for item in test if item.defect is None).mask.any()
    write_picture(mvtec / "ground_truth/dent/000_mask.png", np.zeros((64, 80), np.uint8))
    late = read_shots(open_data(mvtec))
    with pytest.raises(DataError, match=r"test/dent/000.png: its mask is empty"):
        list(late)


def test_presets_hold_what_the_publications_say():
    third = find_protocol("unet256-third")
    assert (third.side, third.steps, third.batch, third.rate, third.loss, third.image_pool) == (
        256,
        12_500,
        8,
        1e-4,
        "focal",
        21,
    )
    optimiser, schedule = segmenter_module._optimiser(torch.nn.Linear(1, 1), third, 10)
    rates = []
    for _ in range(10):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([1e-4] * 8 + [2e-5, 4e-6])
    with pytest.raises(OptionError, match="did you mean 'quick'"):
        find_protocol("quik")
    for use in ("mix", "mix:1.5", "blend:0.5"):
        with pytest.raises(OptionError, match="expected mix:S or pretrain:S"):
            dataclasses.replace(SMALL, uses=(use,))
    with pytest.raises(OptionError, match="loss='l1'"):
        dataclasses.replace(SMALL, loss="l1")
    for protocol in PROTOCOLS.values():
        assert json.loads(json.dumps(protocol.to_json()))["name"] == protocol.name


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_presets_networks_are_built(name):
    protocol = dataclasses.replace(PROTOCOLS[name], encoder_weights=None)  # those of the Hub have a test of their own
    network = build_network(protocol, channels=3, seed=0)
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_encoder_weights_from_a_local_file(tmp_path):
    from safetensors.torch import save_file

    state = build_network(SMALL, channels=3, seed=5).encoder.state_dict()
    path = tmp_path / "encoder.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    network = build_network(dataclasses.replace(SMALL, encoder_weights=str(path)), channels=3, seed=0)
    assert all(torch.equal(value, state[name]) for name, value in network.encoder.state_dict().items())
    name = next(iter(state))
    save_file({name: state[name].contiguous()}, path)
    with pytest.raises(WeightsError, match="does not fit the encoder"):
        build_network(dataclasses.replace(SMALL, encoder_weights=str(path)), channels=3, seed=0)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        build_network(dataclasses.replace(SMALL, encoder_weights=str(tmp_path / "none")), channels=3, seed=0)


LITE = dataclasses.replace(SMALL, encoder="tu-tf_efficientnet_lite0", encoder_depth=3, decoder_channels=(16, 16, 16))


@pytest.fixture(scope="module")
def lite():
    """A classifier as its publisher saves it: timm's names, with a head."""
    import timm

    torch.manual_seed(3)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=7).eval()
    return network, {name: value.contiguous() for name, value in network.state_dict().items()}


def published_names(state):
    """timm's names of EfficientNet-lite0 as efficientnet-pytorch has them, written out here from its source."""
    depths, first = [1, 2, 2, 3, 3, 4, 1], {"conv_dw": "_depthwise_conv", "conv_pw": "_project_conv"}
    other = {"conv_pw": "_expand_conv", "conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv"}
    other |= {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
    top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    renamed = {}
    for name, value in state.items():
        if name.startswith("blocks."):
            _, stage, place, layer, tensor = name.split(".", 4)
            number = sum(depths[: int(stage)]) + int(place)
            known = other if number else first | {"bn1": "_bn1", "bn2": "_bn2"}
            renamed[f"_blocks.{number}.{known[layer]}.{tensor}"] = value
        else:
            layer, tensor = name.split(".", 1)
            renamed[f"{top[layer]}.{tensor}"] = value
    return renamed


@pytest.mark.parametrize("names", ["timm", "efficientnet-pytorch"])
def test_an_encoder_gives_the_features_of_the_network_its_file_came_from(tmp_path, lite, names):
    from safetensors.torch import save_file

    network, state = lite
    path = tmp_path / "lite.safetensors"
    save_file(state if names == "timm" else published_names(state), path)
    built = build_network(dataclasses.replace(LITE, encoder_weights=str(path)), channels=3, seed=0).eval()
    unit = torch.rand(1, 3, 64, 64)  # what the picture is between black and white
    seen = []
    built.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        built(unit * 4 - 2)
        assert torch.allclose(seen[0], unit * 2 - 1, atol=1e-5)  # the lite networks take [-1, 1]
        mine = built.encoder(unit * 2 - 1)[3]  # at stride 8
        theirs = network.forward_intermediates(unit * 2 - 1, indices=[2], intermediates_only=True)[0]
    assert mine.shape == theirs.shape
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_frozen_encoder_stays_to_the_bit_and_the_decoder_learns(tmp_path, lite):
    from safetensors.torch import save_file

    path = tmp_path / "lite.safetensors"
    save_file(lite[1], path)
    protocol = dataclasses.replace(LITE, encoder_weights=str(path), freeze_encoder=True, steps=3)
    shots = shots_of("spot", "bar")
    normals = Normals([part(seed)[0] for seed in range(3)])
    before = build_network(protocol, channels=3, seed=0).state_dict()
    trained = train_segmenter(shots, (), normals, protocol, View.choose(shots, 32, "off"), phases_of("shots", 3), 0)
    after = trained.network.state_dict()
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert {name for name in after if "encoder" in name} <= same
    assert {name for name in after if "decoder" in name and "weight" in name} - same
    assert not trained.grey  # pretrained encoders take three channels


def test_a_file_of_the_encoder_is_known_by_its_content_not_its_place(tmp_path, lite):
    from safetensors.torch import save_file

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_file(lite[1], tmp_path / folder / "lite.safetensors")
    one, two = (find_protocol("quick", tmp_path / folder / "lite.safetensors").to_json() for folder in ("a", "b"))
    assert one == two
    assert one["encoder_weights"].startswith("lite.safetensors sha256:")
    with pytest.raises(WeightsError, match="no such file"):
        find_protocol("quick", tmp_path / "c.safetensors")


def test_a_use_that_is_given_is_not_chosen_again():
    shots, made = shots_of("spot"), shots_of("spot", start=500)
    normals, test = Normals(NORMALS), held_items(1)
    stages = set()
    result = run_arm(
        "both", shots, normals, test, made, SMALL, 0, use="mix:0.25", step=lambda stage, *_: stages.add(stage)
    )
    assert result["use"] == "mix:0.25"
    assert result["choice"] == {"how": "given"}
    assert stages == {"both (mix:0.25)"}
