"""A random model in the layout of CompVis/ldm-text2im-large-256, only smaller; and the same with pickled weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def make_ldm(folder: Path, random_base: Path) -> Path:
    """Write the model; denoiser, autoencoder and schedule are those of the random Stable Diffusion base."""
    import torch
    from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
    from transformers import BertTokenizer

    shutil.copytree(random_base / "unet", folder / "unet")
    shutil.copytree(random_base / "vae", folder / "vqvae")
    shutil.copytree(random_base / "scheduler", folder / "scheduler")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "*", "a", "of", "the", "photo", "anomaly", "crack", "object"]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(str(folder / "tokenizer/vocab.txt"))
    tokenizer.save_pretrained(folder / "tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LDMBertConfig(
            vocab_size=len(words),
            max_position_embeddings=77,
            encoder_layers=2,
            encoder_ffn_dim=64,
            encoder_attention_heads=2,
            head_dim=16,
            d_model=32,
        )
        LDMBertModel(config).save_pretrained(folder / "bert")
    parts = {
        "vqvae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "bert": ["latent_diffusion", "LDMBertModel"],
        "tokenizer": ["transformers", "BertTokenizer"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "LDMTextToImagePipeline", **parts}))
    return folder


def make_pickled(folder: Path, ldm: Path) -> Path:
    """The same model as the Hub has it: pickles in place of safetensors."""
    import torch
    from safetensors.torch import load_file

    shutil.copytree(ldm, folder)
    for path in list(folder.rglob("*.safetensors")):
        name = "pytorch_model.bin" if path.parent.name == "bert" else path.with_suffix(".bin").name
        torch.save(load_file(path), path.with_name(name))
        path.unlink()
    return folder
