"""The embedded base loads with diffusers, is as small as promised, and has learned what its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ias_zoo import tiny
from ias_zoo.data.sample import plate, washer

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

_TEXT = """
a photo of object defect scratch crack hole blowhole stain dent contamination break fray uneven metal steel tile wood
leather fabric screw washer surface grey with without good damaged sks
"""
COMMON = _TEXT.split()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    from diffusers import StableDiffusionPipeline

    loaded = StableDiffusionPipeline.from_pretrained(tiny.path(), local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(tiny.path() / "tokenizer")


def paint(pipeline: Any, prompt: str, *, seed: int = 0, steps: int = 8, guidance: float = 4.0) -> np.ndarray:
    """Draw one picture, 128 x 128 x 3 float in [0, 1]."""
    noise = torch.Generator().manual_seed(seed)
    return pipeline(
        prompt, height=128, width=128, num_inference_steps=steps, guidance_scale=guidance,
        generator=noise, output_type="np",
    ).images[0]  # fmt: skip


def psnr(pipeline: Any, pictures: list[np.ndarray]) -> float:
    """Mean PSNR in dB of pictures (any size, uint8 grey or RGB) encoded and decoded at 128 x 128."""
    small = [cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in pictures]
    colour = np.stack([cv2.cvtColor(p, cv2.COLOR_GRAY2RGB) if p.ndim == 2 else p for p in small])
    target = torch.from_numpy(colour).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        back = pipeline.vae.decode(pipeline.vae.encode(target).latent_dist.mode()).sample.clamp(-1, 1)
    return float((-10 * torch.log10(((back - target) / 2).square().mean(dim=(1, 2, 3)))).mean())


def read(folder: Path, count: int) -> list[np.ndarray]:
    paths = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})
    assert len(paths) >= count
    return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths[:: len(paths) // count][:count]]


def test_path_needs_nothing_heavy() -> None:
    code = "import sys; from ias_zoo import tiny; assert tiny.path().is_dir(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "cv2", "torch", "diffusers", "transformers"}


def test_fits_in_a_wheel() -> None:
    folder = tiny.path().parent
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 30e6
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md", ".png", ".py"}
    assert {path.name for path in files if path.suffix == ".py"} == {"__init__.py"}


def test_layout_is_that_of_stable_diffusion() -> None:
    index = json.loads((tiny.path() / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert {name for name, kind in index.items() if isinstance(kind, list) and kind[0]} == {
        "vae", "unet", "text_encoder", "tokenizer", "scheduler",
    }  # fmt: skip
    scheduler = json.loads((tiny.path() / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["beta_start"], scheduler["beta_end"], scheduler["beta_schedule"]) == (
        0.00085, 0.012, "scaled_linear",
    )  # fmt: skip
    assert (scheduler["num_train_timesteps"], scheduler["prediction_type"]) == (1000, "v_prediction")


def test_weights_are_half_precision_and_finite() -> None:
    from safetensors.torch import load_file

    paths = sorted(tiny.path().rglob("*.safetensors"))
    assert len(paths) == 3
    for path in paths:
        for name, value in load_file(path).items():
            assert value.dtype == torch.float16 or not value.is_floating_point(), (path, name)
            assert bool(torch.isfinite(value).all()), (path, name)


def test_every_part_loads_as_float32_by_default(pipeline: Any) -> None:
    assert {pipeline.vae.dtype, pipeline.unet.dtype, pipeline.text_encoder.dtype} == {torch.float32}


def test_shapes(pipeline: Any) -> None:
    assert type(pipeline.unet).__name__ == "UNet2DConditionModel"
    assert pipeline.unet.config.down_block_types == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert pipeline.vae_scale_factor == 8
    assert pipeline.unet.config.sample_size == 16
    with torch.no_grad():
        latents = pipeline.vae.encode(torch.zeros(1, 3, 128, 128)).latent_dist.mode()
        assert latents.shape == (1, pipeline.vae.config.latent_channels, 16, 16)
        assert pipeline.vae.decode(latents).sample.shape == (1, 3, 128, 128)
    assert pipeline.unet.config.in_channels == pipeline.vae.config.latent_channels
    assert 9e6 < sum(value.numel() for value in pipeline.unet.parameters()) < 12e6


@pytest.mark.parametrize("word", COMMON)
def test_common_words_are_one_token(tokenizer: Any, word: str) -> None:
    start, token, end = tokenizer(word).input_ids
    assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer(word.upper()).input_ids[1] == token
    assert tokenizer.decode([token]) == word


@pytest.mark.parametrize("text", ["zweckentfremdet", "xqzjv 42", "größe", "漢字", "a-b_c!"])
def test_any_text_is_encodable(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert tokenizer.eos_token_id not in ids[:-1]  # the end doubles as "unknown"
    assert tokenizer.decode(ids[1:-1]).replace(" ", "") == text.replace(" ", "")


def test_prompts_are_padded_to_77(tokenizer: Any, pipeline: Any) -> None:
    ids = tokenizer("a scratch", padding="max_length", max_length=tokenizer.model_max_length).input_ids
    assert len(ids) == 77 == pipeline.text_encoder.config.max_position_embeddings
    assert len(tokenizer) == pipeline.text_encoder.config.vocab_size
    assert max(ids) < len(tokenizer)


def test_latents_have_unit_spread(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "training_scripts"))
    from scenes import draw_scene

    rng = np.random.default_rng(5)  # scenes of the kind that it was trained on, but others; half of them grey
    scenes = np.stack([draw_scene(128, rng).image for _ in range(48)])
    scenes[::2] = scenes[::2].mean(axis=3, keepdims=True)
    target = torch.from_numpy(scenes).permute(0, 3, 1, 2) * 2 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(target).latent_dist.mode() * pipeline.vae.config.scaling_factor
    assert 0.75 < float(latents.std()) < 1.33
    assert abs(float(latents.mean())) < 0.25


def test_reconstructs_made_up_products(pipeline: Any) -> None:
    rng = np.random.default_rng(3)
    assert psnr(pipeline, [washer(rng)[0] for _ in range(8)]) > 28.8
    assert psnr(pipeline, [plate(rng)[0] for _ in range(8)]) > 38


def test_reconstructs_real_products(pipeline: Any, shared: Path) -> None:
    assert psnr(pipeline, read(shared / "data/mtd/train/good", 12)) > 33
    assert psnr(pipeline, read(shared / "data/mvtec_screw/train/good", 12)) > 33.2


def test_same_seed_same_picture(pipeline: Any) -> None:
    first, second = (paint(pipeline, "a photo of wood", seed=4, steps=2) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, paint(pipeline, "a photo of wood", seed=5, steps=2))


def test_prompt_changes_the_picture(pipeline: Any) -> None:
    board, screw = (paint(pipeline, text) for text in ("circuit board", "grey screw on a light ground"))
    assert np.abs(board - screw).mean() > 0.05


def test_prompts_decide_colour_and_brightness(pipeline: Any) -> None:
    def colour(picture: Any) -> float:
        return float((picture.max(axis=2) - picture.min(axis=2)).mean())

    def corner(picture: Any) -> float:
        return float(picture[:16, :16].mean())

    for seed in (0, 1):
        wood, grey, dark, light = (
            paint(pipeline, text, seed=seed, steps=8)
            for text in (
                "a photo of wood",
                "a photo of grey wood",
                "washer on a dark ground",
                "washer on a light ground",
            )
        )
        assert colour(wood) > 2 * colour(grey)
        assert corner(light) > corner(dark) + 0.2


def test_right_captions_help_to_denoise(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A noisy picture is told better under what a picture shows than under what another kind of picture shows."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "training_scripts"))
    from scenes import draw_scene

    def denoise(latents: Any, caption: str) -> float:
        ids = pipeline.tokenizer(caption, padding="max_length", max_length=77, return_tensors="pt").input_ids
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
        step = torch.full((len(latents),), 600)
        with torch.no_grad():
            words = pipeline.text_encoder(ids).last_hidden_state.expand(len(latents), -1, -1)
            noisy = pipeline.scheduler.add_noise(latents, noise, step)
            target = pipeline.scheduler.get_velocity(latents, noise, step)
            return float((pipeline.unet(noisy, step, words).sample - target).square().mean())

    rng = np.random.default_rng(8)
    captions = {"cast_surface": "cast surface", "circuit_board": "circuit board", "plastic": "plastic surface"}
    for kind, right in captions.items():
        scenes = np.stack([draw_scene(128, rng, kind).image for _ in range(16)])
        target = torch.from_numpy(scenes).permute(0, 3, 1, 2) * 2 - 1
        with torch.no_grad():
            latents = pipeline.vae.encode(target).latent_dist.mode() * pipeline.vae.config.scaling_factor
        for wrong in set(captions.values()) - {right}:
            assert denoise(latents, right) < denoise(latents, wrong), (right, wrong)


def test_half_precision_loads_too(tokenizer: Any) -> None:
    from diffusers import StableDiffusionPipeline

    half = StableDiffusionPipeline.from_pretrained(tiny.path(), torch_dtype=torch.float16, local_files_only=True)
    assert {half.vae.dtype, half.unet.dtype, half.text_encoder.dtype} == {torch.float16}
