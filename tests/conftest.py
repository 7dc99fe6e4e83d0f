"""Fixtures: small images made on the spot, and the real ones where they exist."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

collect_ignore = ["stranger", "broken"]  # packages that test_stranger.py installs elsewhere

SHARED = Path(os.environ.get("IAS_ZOO_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_configure(config: pytest.Config) -> None:
    cv2.setNumThreads(1)  # the tests themselves run in parallel


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:  # type: ignore[no-untyped-def]
    if not (SHARED / "data").is_dir():
        terminalreporter.section("REAL DATA MISSING", sep="!")
        terminalreporter.write_line(
            f"No {SHARED / 'data'}: the tests on real product images did NOT run. Set IAS_ZOO_SHARED to run them."
        )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real product images; without it the test is skipped, and the summary says so in capitals."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"NOT RUN ON REAL DATA: {SHARED} does not exist")
    return SHARED


def surface(height: int, width: int, seed: int) -> np.ndarray:
    """A grey-brown textured surface, H x W x 3 uint8."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(0, 18, (8, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 6, (height, width)).astype(np.float32)
    grey = 130 + coarse + grain
    tint = np.array([1.05, 1.0, 0.9], dtype=np.float32)
    return np.clip(grey[:, :, None] * tint, 0, 255).astype(np.uint8)


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A small data set in MVTec AD's layout: 5 normals, 2 defect types with 3 shots each, one good test picture."""
    root = tmp_path / "parts"
    for number in range(5):
        _write(root / f"train/good/{number:03d}.png", surface(64, 80, number))
    _write(root / "test/good/000.png", surface(64, 80, 50))
    for defect in ("crack", "dent"):
        for number in range(3):
            mask = np.zeros((64, 80), np.uint8)
            mask[10 + number : 20, 30:50] = 255
            _write(root / f"test/{defect}/{number:03d}.png", surface(64, 80, 60 + number))
            _write(root / f"ground_truth/{defect}/{number:03d}_mask.png", mask)
    return root


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Tiles t0 to t5 with a crack, t6 to t8 with a dent, three exposures each; three good ones, one of them of t0."""
    root, rng = tmp_path / "tiles", np.random.default_rng(0)

    def picture(name: str) -> None:
        _write(root / name, rng.integers(0, 255, (20, 24), dtype=np.uint8))

    rows = []
    for tile in range(9):
        defect = "crack" if tile < 6 else "dent"
        for exposure in range(3):
            name = f"test/{defect}/e{exposure}_t{tile}.png"
            picture(name)
            mask = np.zeros((20, 24), np.uint8)
            mask[5:9, 5:9] = 255
            _write(root / f"ground_truth/{defect}/e{exposure}_t{tile}_mask.png", mask)
            rows.append(f"{name},{tile}")
    for name, tile in (("test/good/a.png", 20), ("test/good/b.png", 0), ("train/good/c.png", 30)):
        picture(name)
        rows.append(f"{name},{tile}")
    (root / "meta.csv").write_text("\n".join(["file,tile_group", *rows]))
    return root


@pytest.fixture
def write_picture():  # type: ignore[no-untyped-def]
    """``write_picture(path, array)``: RGB or grey uint8 or uint16 to a file in the format of its suffix."""
    return _write


def _write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = array if array.ndim == 2 else array[:, :, [2, 1, 0, 3][: array.shape[2]]]
    done, data = cv2.imencode(path.suffix, bgr)
    assert done
    path.write_bytes(data.tobytes())
    return path


@pytest.fixture
def one_thread():  # type: ignore[no-untyped-def]
    """torch with one thread, as the tests themselves run in parallel."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Shots and normals of the toy product, four of its one type: a training set."""
    from ias_zoo.testing.subject import toy_set
    from ias_zoo.training.shots import load_shots

    return load_shots(toy_set(tmp_path_factory.mktemp("toys")), shots=4)


@pytest.fixture(scope="session")
def random_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable-Diffusion-architecture model with random weights, 64-pixel pictures, in diffusers' format."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def wider_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, twice as wide: adapters of the first do not fit it."""
    return make_base(tmp_path_factory.mktemp("wider"), width=64)


SMALL_BASES = {
    "defect_gan": {"size": 64, "width": 4, "steps": 1, "batch": 1, "lr": 1e-9, "lr_end": 1e-9},
    "dfmgan": {"resolution": 32, "channels": 256, "largest": 16, "latent": 16, "base_kimg": 0.008, "batch": 4},
}
"""Options of a base stage that takes seconds, for methods that train their own base."""


@pytest.fixture(scope="session")
def base_of(random_base: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """``base_of(name)``: a small base for a trained method; its own kind for those that train their own."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        import ias_zoo
        from ias_zoo.testing.subject import toy_set

        if name not in SMALL_BASES:
            return random_base
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            fitted = ias_zoo.load(name, device="cpu", **SMALL_BASES[name])
            fitted.fit(toy_set(folder / "toys"), stage="base", out=folder / "base")
            made[name] = folder / "base"
        return made[name]

    return find


def make_base(folder: Path, *, width: int = 32) -> Path:
    """Write a random model: the architecture is Stable Diffusion 1.x's, only smaller."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from tokenizers import pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in ("object", "defect", "with", "photo"):
        left, *rest = [*word[:-1], word[-1] + "</w>"]
        for right in rest:
            if f"{left} {right}" not in merges:
                merges.append(f"{left} {right}")
            left += right
            if left not in vocabulary:
                vocabulary.append(left)
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir(parents=True)
    words = {word: number for number, word in enumerate(vocabulary)}
    (folder / "tokenizer/vocab.json").write_text(json.dumps(words))
    (folder / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    tokenizer = CLIPTokenizer(
        str(folder / "tokenizer/vocab.json"), str(folder / "tokenizer/merges.txt"), model_max_length=77
    )
    tokenizer.save_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
        )
        CLIPTextModel(text).save_pretrained(folder / "text_encoder")
        UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(width, width, 2 * width, 2 * width),
            layers_per_block=2,
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
        ).save_pretrained(folder / "unet")
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 16, 16, 16),
            norm_num_groups=4,
            sample_size=64,
        ).save_pretrained(folder / "vae")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    ).save_pretrained(folder / "scheduler")
    parts = {
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))
    return folder


@pytest.fixture(scope="session")
def defect_gan_base(base_of) -> Path:  # type: ignore[no-untyped-def]
    """A small base of Defect-GAN."""
    return base_of("defect_gan")


@pytest.fixture(scope="module")
def fitted_defect_gan(defect_gan_base, toys):  # type: ignore[no-untyped-def]
    """Defect-GAN on a random base, two steps: its maps are about a half everywhere."""
    import ias_zoo

    made = ias_zoo.load("defect_gan", base=str(defect_gan_base), device="cpu", steps=2, batch=2)
    made.fit(toys)
    return made
