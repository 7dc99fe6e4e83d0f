"""Extractors against reference networks on real weights; their errors; a whole measurement."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from ias_zoo import open_data
from ias_zoo.data.images import read_image, resize_image
from ias_zoo.errors import DataError, OptionError, RunError, WeightsError
from ias_zoo.evaluation import perceptual
from ias_zoo.evaluation.copies import memorisation
from ias_zoo.evaluation.diversity import cluster, ic_lpips
from ias_zoo.evaluation.extractors import extract, load_extractor, to_batch
from ias_zoo.evaluation.gathered import chosen, cover
from ias_zoo.evaluation.perceptual import load_lpips
from ias_zoo.evaluation.quality import measure
from ias_zoo.generation.plan import make_plan
from ias_zoo.generation.run import run

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def reference(shared: Path) -> ModuleType:
    """Plain definitions of the networks, written apart from the zoo."""
    spec = importlib.util.spec_from_file_location("reference", shared / "weights/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def squeeze(shared: Path) -> dict[str, Path]:
    return {
        "lpips-backbone": shared / "weights/squeezenet1_1/squeezenet1_1.safetensors",
        "lpips-linear": shared / "weights/lpips_squeeze/lpips_squeeze_v0.1.safetensors",
    }


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[np.ndarray]:
    paths = sorted((shared / "data/hazelnut_toy/test/colour").glob("*.jpg"))[:6]
    return [resize_image(read_image(path).image, 128, 128) for path in paths]


@pytest.fixture(scope="module")
def random_squeeze(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the right names and shapes with random numbers, for what does not depend on the numbers."""
    import torchvision
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), folder / "backbone.safetensors")
        widths = (64, 128, 256, 384, 384, 512, 512)
        layers = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}
        save_file(layers, folder / "linear.safetensors")
    return {"lpips-backbone": folder / "backbone.safetensors", "lpips-linear": folder / "linear.safetensors"}


def test_lpips_squeeze_is_the_references(reference: ModuleType, squeeze: Any, pictures: list[np.ndarray]) -> None:
    lpips, oracle = load_lpips(weights=squeeze), reference.LPIPSSqueeze()
    x = to_batch(pictures).float() / 127.5 - 1
    with torch.no_grad():
        wanted = np.array([[float(oracle(x[i : i + 1], x[j : j + 1])) for j in range(6)] for i in range(6)])
    assert lpips.distance(pictures[:3], pictures[3:]) == pytest.approx(wanted[range(3), range(3, 6)], abs=1e-6)
    assert lpips.matrix(pictures) == pytest.approx(wanted, abs=1e-5)
    assert lpips.matrix(pictures[:2], pictures) == pytest.approx(wanted[:2], abs=1e-5)
    assert wanted[0, 1] > 0.05, "the pictures do differ"
    assert "068281031e513bf4" in lpips.weights


def test_lpips_matrix_in_blocks(
    random_squeeze: Any, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    lpips = load_lpips(weights=random_squeeze)
    whole = lpips.matrix(pictures)
    one = sum(layer[0].numel() * 4 for layer in lpips.embed(to_batch(pictures[:1])))
    monkeypatch.setattr(perceptual, "HELD_BYTES", 2 * one + 1)
    monkeypatch.setattr(perceptual, "BATCH", 2)
    assert lpips.matrix(pictures) == pytest.approx(whole, abs=1e-5)
    assert np.array_equal(lpips.matrix(pictures), lpips.matrix(pictures).T)
    assert lpips.matrix(pictures, pictures[:3]) == pytest.approx(whole[:, :3], abs=1e-5)


def test_lite0_is_the_references(reference: ModuleType, shared: Path, pictures: list[np.ndarray]) -> None:
    extractor = load_extractor(f"safetensors:{shared}/weights/efficientnet_lite0/efficientnet_lite0.safetensors")
    oracle = reference.efficientnet_lite0()
    x = (to_batch(pictures).float() - 127) / 128
    with torch.no_grad():
        features, logits, blocks = oracle.pooled(x), oracle(x), oracle.block_outputs(x)
    found = extract(extractor, pictures, batch=4)
    assert found.logits is not None
    assert torch.allclose(found.features, features, atol=1e-4)
    assert torch.allclose(found.logits, logits, atol=1e-3)
    for made, wanted in zip(extractor.maps(to_batch(pictures)), (blocks[4], blocks[10]), strict=True):
        assert torch.allclose(made, wanted, atol=1e-3)


def test_real_copies_are_found_and_other_real_nuts_are_not(
    squeeze: Any, shared: Path, pictures: list[np.ndarray]
) -> None:
    lpips = load_lpips(weights=squeeze)
    mirrored = np.ascontiguousarray(pictures[1][:, ::-1])
    found = memorisation(lpips, [pictures[0], mirrored, *pictures[4:]], pictures[:4], {})
    assert found["value"] == 0.5
    assert {row["sample"] for row in found["copies"]} == {0, 1}
    nearest = cluster(lpips.matrix([pictures[0], mirrored], pictures[:4]))
    assert nearest[0] == 0
    ic = ic_lpips(lpips, [pictures[0], pictures[0], pictures[1]], np.zeros(3, int), 1, {})["skip"]["value"]
    apart = lpips.distance([pictures[0]], [pictures[1]])[0]
    assert ic == pytest.approx(2 * apart / 3, abs=1e-5)


def test_inception_from_a_local_file(
    tmp_path: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with monkeypatch.context() as patch, torch.random.fork_rng():  # torch-fidelity makes no network without weights
        torch.manual_seed(1)
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        library = FeatureExtractorInceptionV3("inception-v3", ["2048", "logits_unbiased"], "none")
    save_file(library.state_dict(), tmp_path / "inception.safetensors")
    extractor = load_extractor("inception-v3", weights={"inception-v3": tmp_path / "inception.safetensors"})
    features, logits = library(to_batch(pictures[:2]))
    found = extract(extractor, pictures[:2])
    assert torch.equal(found.features, features)
    assert found.logits is not None
    assert torch.equal(found.logits, logits)
    with pytest.raises(OptionError, match="no feature maps"):
        extractor.maps(to_batch(pictures[:1]))


def test_dinov2_from_a_local_folder(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    from transformers import Dinov2Config, Dinov2Model

    with torch.random.fork_rng():
        torch.manual_seed(2)
        config = Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
        )
        Dinov2Model(config).save_pretrained(tmp_path)
    extractor = load_extractor("dinov2", weights={"dinov2": tmp_path})
    found = extract(extractor, pictures[:2])
    assert found.features.shape == (2, 16)
    assert found.logits is None
    assert extractor.maps(to_batch(pictures[:2]))[0].shape == (2, 16, 16, 16)
    assert not torch.equal(found.features[0], found.features[1])


def test_what_is_missing_is_named(random_squeeze: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="--weights inception-v3=FILE"):
        load_extractor("inception-v3")
    with pytest.raises(WeightsError, match="--weights lpips-backbone=FILE.*--weights lpips-linear=FILE"):
        load_lpips("lpips-vgg", weights={"lpips-linear": random_squeeze["lpips-linear"]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(WeightsError, match="pip install lpips"):
        load_lpips("lpips-alex")
    with pytest.raises(OptionError, match="lpips-squeeze"):
        load_extractor("resnet")
    with pytest.raises(OptionError, match="lpips-linear"):
        load_extractor("dinov2", weights={"dino": tmp_path})
    with pytest.raises(WeightsError, match="no such file"):
        load_lpips(weights={"lpips-linear": tmp_path / "none"})


def test_weights_of_another_network_and_code_are_refused(random_squeeze: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not fit AlexNet"):
        load_lpips("lpips-alex", weights=random_squeeze)
    with pytest.raises(WeightsError, match="does not fit"):
        load_extractor(f"safetensors:{random_squeeze['lpips-backbone']}")
    with pytest.raises(WeightsError, match="no LPIPS v0.1 layers"):
        load_lpips(weights={**random_squeeze, "lpips-linear": random_squeeze["lpips-backbone"]})

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "owned",)

    buffer = io.BytesIO()
    torch.save(Evil(), buffer, pickle_module=pickle)
    (tmp_path / "evil.pth").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match="plain tensors"):
        load_lpips(weights={**random_squeeze, "lpips-linear": tmp_path / "evil.pth"})
    assert not (tmp_path / "owned").exists()


def test_small_masks_do_not_vanish() -> None:
    mask = np.zeros((512, 640), bool)
    mask[100, 200] = True
    assert cover(mask, 64).sum() == 1
    assert cover(mask[96:104, 196:204], 64).any()
    assert chosen(10, 4, 0) == sorted(set(chosen(10, 4, 0)))
    assert chosen(3, 4, 0) == [0, 1, 2]


def test_a_whole_measurement(mvtec: Path, tmp_path: Path, random_squeeze: Any) -> None:
    made = tmp_path / "made"
    run(make_plan("cutpaste", mvtec, 7, seed=3), made)
    data = open_data(mvtec)
    arguments: dict[str, Any] = {
        "shots": 2, "extractor": "lpips-squeeze", "weights": random_squeeze, "resolution": 64, "limit": 6,
    }  # fmt: skip
    steps: list[str] = []
    found = measure(made, data, **arguments, step=steps.append)
    text = json.dumps(found, allow_nan=False)
    assert json.dumps(measure(made, data, **arguments), allow_nan=False) == text, "the same seed, the same figures"
    row = found["defects"]["cutpaste"]
    assert (row["samples"], row["of"], row["compared_with"]) == (6, 7, "all types")
    assert "cutpaste" in found["notes"][0]
    figures = row["figures"]
    assert set(figures) == {
        "fid", "kid", "precision", "recall", "inception_score", "mask_empty", "mask_full", "mask_area",
        "mask_fit_auroc", "mask_explains_change", "mask_is_changed", "mask_fit_detector_auroc", "ic_lpips_zero",
        "ic_lpips_inside_zero", "ic_lpips_skip", "ic_lpips_inside_skip", "background_lpips", "copies_of_shots",
        "copied_defects", "near_duplicates",
    }  # fmt: skip
    assert figures["mask_fit_auroc"]["protocol"]["samples"] == 6
    assert figures["mask_explains_change"]["value"] == 1, "the method changes nothing outside its mask"
    assert figures["background_lpips"]["value"] == 0, "nor does it here"
    assert figures["fid"]["protocol"]["weights"].startswith("backbone sha256:")
    assert figures["kid"]["protocol"]["real"] == 2, "one held picture of each of two types"
    assert figures["copies_of_shots"]["protocol"]["shots"] == 4
    assert found["overall"]["kid"]["value"] == figures["kid"]["value"]
    assert found["pooled"]["kid"]["value"] == figures["kid"]["value"]
    assert len(steps) == 5
    for name, one in figures.items():
        assert {"value", "protocol", "warning"} <= set(one), name


def test_defects_of_a_real_types_name_are_compared_with_it(mvtec: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    run(make_plan("cutpaste", mvtec, 4, seed=3), made)
    (made / "test/cutpaste").rename(made / "test/crack")
    (made / "ground_truth/cutpaste").rename(made / "ground_truth/crack")
    for path in (made / "provenance").glob("shard-*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["defect"] = "crack"
            line["image"], line["mask"] = (line[kind].replace("cutpaste", "crack") for kind in ("image", "mask"))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = measure(made, open_data(mvtec), shots=["test/crack/000.png"], extractor=None, lpips=None)
    assert found["defects"]["crack"]["compared_with"] == "crack"
    assert found["notes"] == []
    assert "kid" not in found["defects"]["crack"]["figures"]
    with pytest.raises(DataError, match="one only"):
        measure(made, open_data(mvtec), shots=["test/crack/000.png"], held=["test/crack/000.png"], extractor=None)
    plan = json.loads((made / "plan.json").read_text())
    (made / "plan.json").write_text(json.dumps(plan | {"shots": {"test/dent/001.png": ["0", "0"]}}))
    again = measure(made, open_data(mvtec), extractor=None, lpips=None)
    assert again["data"]["shots"] == ["test/dent/001.png"], "the run's own shots"
    with pytest.raises(DataError, match="test/dent/001.png is held out, but the run copied from it"):
        measure(made, open_data(mvtec), shots=["test/crack/000.png"], extractor=None, lpips=None)
    (made / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(DataError, match="no shot"):
        measure(made, open_data(mvtec), shots=["train/good/000.png"], extractor=None)
    with pytest.raises(OptionError, match="held, shots, all"):
        measure(made, open_data(mvtec), against="test")
    with pytest.raises(RunError, match="plan.json"):
        measure(mvtec, open_data(mvtec), extractor=None)
