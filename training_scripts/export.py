"""Put the trained parts together as a diffusers folder: half-precision safetensors, and checks that it loads."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from common import averaged
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from train_unet import SCHEDULE, build_text_encoder, build_unet
from transformers import CLIPTokenizer

LARGEST = 30e6  # bytes; the folder is part of a wheel


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder in which train_autoencoder.py saved it")
    parser.add_argument("--unet", type=Path, required=True, help="folder of train_unet.py")
    parser.add_argument("--out", type=Path, required=True, help="the model folder; what is in it is replaced")
    args = parser.parse_args()
    tokenizer = CLIPTokenizer.from_pretrained(args.unet / "tokenizer")
    text = build_text_encoder(tokenizer)
    text.load_state_dict(averaged(args.unet, "text_encoder"))
    autoencoder = AutoencoderKL.from_pretrained(args.autoencoder / "model")
    unet = build_unet(autoencoder.config.latent_channels, text.config.hidden_size)
    unet.load_state_dict(averaged(args.unet, "unet"))
    for module in (text, unet):
        if not all(bool(torch.isfinite(value.half()).all()) for value in module.parameters()):
            raise SystemExit("weights that half precision cannot hold")
    pipeline = StableDiffusionPipeline(
        vae=autoencoder.half(),
        text_encoder=text.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=DDIMScheduler(**SCHEDULE, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    shutil.rmtree(args.out, ignore_errors=True)
    pipeline.save_pretrained(args.out, safe_serialization=True)
    for part in ("vae", "unet", "text_encoder"):  # no folder of the machine that made it
        place = args.out / part / "config.json"
        kept = {key: value for key, value in json.loads(place.read_text()).items() if key != "_name_or_path"}
        place.write_text(json.dumps(kept, indent=2) + "\n")
    # Unless told otherwise, diffusers loads as float32 but transformers as the configuration says: make them agree.
    config = args.out / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    for name in ("vocab.json", "merges.txt"):  # for older versions of transformers
        shutil.copy(args.unet / "tokenizer" / name, args.out / "tokenizer" / name)

    loaded = StableDiffusionPipeline.from_pretrained(args.out)
    prompt = "a photo of brushed metal with a scratch"
    picture = loaded(prompt, height=128, width=128, num_inference_steps=2, output_type="np").images[0]
    if picture.shape != (128, 128, 3):
        raise SystemExit(f"pictures of shape {picture.shape}")
    sizes = {path: path.stat().st_size for path in sorted(args.out.rglob("*")) if path.is_file()}
    for path, size in sizes.items():
        print(f"{size / 1e6:8.2f} MB  {path.relative_to(args.out)}")
    print(f"{sum(sizes.values()) / 1e6:8.2f} MB  in all")
    if sum(sizes.values()) > LARGEST:
        raise SystemExit("too large for the wheel")


if __name__ == "__main__":
    main()
