"""What the zoo is told about SeaS."""

from __future__ import annotations

from ias_zoo.method import Base, Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper, Trains

METHODS: tuple[Method, ...] = (
    Method(
        name="seas",
        title="SeaS",
        summary="Fine-tunes a text-to-image model on a product's defects and normals; images and masks come together.",
        group=Group.ONE_STAGE,
        paper=Paper(
            title="SeaS: Few-shot Industrial Anomaly Image Generation with Separation and Sharing Fine-tuning",
            authors="Zhewei Dai, Shilei Zeng, Haotian Liu, Xurui Li, Feng Xue, Yu Zhou",
            venue="ICCV",
            year=2025,
            arxiv="2410.14987",
            url="https://arxiv.org/abs/2410.14987",
        ),
        original_code=OriginalCode("https://github.com/HUST-SLOW/SeaS", "MIT"),
        implementation="ias_zoo_seas.synthesizer:SeaS",
        options="ias_zoo_seas.options:SeaSOptions",
        needs=frozenset({Input.NORMALS, Input.SHOTS, Input.MASKS}),
        accepts=frozenset({Input.DEFECT}),
        trains=Trains.ADAPTER,
        base=Base("CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b"),
        licences=Licences(base_weights="CreativeML-OpenRAIL-M", original_code="MIT", training_data="LAION (mixed)"),
        cost=Cost(1100, 1500, "2-core x86 virtual machine, one thread, 128 x 128, base tiny; memory while fitting"),
        fidelity=Fidelity.WHERE_PUBLIC,
        fidelity_note="losses, prompts, mask head, sampler as published; LoRA instead of all weights by default (ours)",
        card="ias_zoo_model_cards:seas.md",
        quick={"steps": 100, "mask_steps": 80},
        requires=("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"),
        install="pip install 'ias-zoo[diffusion]'",
    ),
)
