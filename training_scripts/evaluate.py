"""Measure an exported model: reconstruction of given pictures, and a sheet of samples by prompt."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import pick_device
from diffusers import DDIMScheduler, StableDiffusionPipeline
from train_autoencoder import psnr

PROMPTS = (
    "a photo of brushed metal",
    "grey ground steel",
    "a photo of grey ground steel with a hole",
    "grey cast surface with a crack",
    "fabric",
    "tiles with a broken edge",
    "circuit board",
    "wood with a stain",
    "washer on a dark ground",
    "gear on a light ground",
    "grey screw on a light ground",
    "grey screw on a light ground with a scratch",
)


def read_pictures(folder: Path, most: int) -> torch.Tensor:
    """Read up to ``most`` pictures, spread over a folder's sorted list, at 128 x 128: N x 3 x 128 x 128 uint8 RGB."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp"}]
    if not paths:
        raise SystemExit(f"no pictures in {folder}")
    pictures = []
    for path in paths[:: -(-len(paths) // most)]:
        picture = cv2.resize(cv2.imread(str(path)), (128, 128), interpolation=cv2.INTER_AREA)
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def write_sheet(rows: list[list[np.ndarray[Any, Any]]], path: Path, side: int) -> None:
    """Write rows of uint8 RGB pictures as one PNG, each ``side`` pixels wide."""
    small = [[cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in row] for row in rows]
    sheet = np.vstack([np.hstack(row) for row in small])
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {path}")


def main() -> None:
    """Evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folders", type=Path, nargs="*", default=[], help="folders of pictures to reconstruct")
    parser.add_argument("--most", type=int, default=100, help="how many pictures of a folder")
    parser.add_argument("--sheets", type=Path, help="folder for the PNG sheets")
    parser.add_argument("--prompts", nargs="*", default=list(PROMPTS), help="empty: no samples")
    parser.add_argument("--per-prompt", type=int, default=6)
    parser.add_argument("--inference-steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--side", type=int, default=128, help="pixels of a picture in the sheets")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    device = pick_device(args.device, args.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    figures = {}
    for number, folder in enumerate(args.folders):
        pictures = read_pictures(folder, args.most)
        figures[str(folder)] = {"pictures": len(pictures), "psnr": round(psnr(pipeline.vae, pictures, device), 2)}
        if args.sheets:
            few = pictures[:: -(-len(pictures) // 8)]
            with torch.no_grad():
                target = few.to(device).float() / 127.5 - 1
                output = pipeline.vae.decode(pipeline.vae.encode(target).latent_dist.mode()).sample
            back = torch.round((output.clamp(-1, 1) + 1) * 127.5).byte().cpu()
            rows = [list(part.permute(0, 2, 3, 1).numpy()) for part in (few, back)]
            write_sheet(rows, args.sheets / f"reconstruction_{number}.png", args.side)
    print(json.dumps(figures, indent=1))
    if args.sheets and args.prompts:
        rows = []
        for prompt in args.prompts:
            noise = torch.Generator().manual_seed(args.seed)
            pictures = pipeline(
                prompt, height=128, width=128, num_images_per_prompt=args.per_prompt, generator=noise,
                num_inference_steps=args.inference_steps, guidance_scale=args.guidance, output_type="np",
            ).images  # fmt: skip
            rows.append([np.rint(picture * 255).astype(np.uint8) for picture in pictures])
            print(prompt, flush=True)
        write_sheet(rows, args.sheets / "samples.png", args.side)


if __name__ == "__main__":
    main()
