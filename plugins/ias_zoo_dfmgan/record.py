"""What the zoo is told about DFMGAN."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper, Trains

METHODS: tuple[Method, ...] = (
    Method(
        name="dfmgan",
        title="DFMGAN",
        summary="A StyleGAN2 of the product, and residual blocks that put a defect and its mask into its features.",
        group=Group.FULL_IMAGE_SYNTHESIS,
        paper=Paper(
            title="Few-Shot Defect Image Generation via Defect-Aware Feature Manipulation",
            authors="Yuxuan Duan, Yan Hong, Li Niu, Liqing Zhang",
            venue="AAAI",
            year=2023,
            arxiv="2303.02389",
            url="https://arxiv.org/abs/2303.02389",
        ),
        original_code=OriginalCode("https://github.com/Ldhlwh/DFMGAN", "NVIDIA Source Code License (StyleGAN2-ADA)"),
        implementation="ias_zoo_dfmgan.synthesizer:DFMGAN",
        options="ias_zoo_dfmgan.options:DFMGANOptions",
        needs=frozenset({Input.SHOTS, Input.MASKS}),
        accepts=frozenset({Input.DEFECT}),
        trains=Trains.FULL,
        base_stage=True,
        tiny="ias_zoo_dfmgan:tiny",
        licences=Licences(original_code="NVIDIA Source Code License (StyleGAN2-ADA)"),
        cost=Cost(21, 920, "2-core x86 virtual machine, one thread, 64 x 64, channels 1024 / 128; CPU time"),
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="networks, losses, schedule as published, in plain PyTorch; own shorter defaults on small bases",
        card="ias_zoo_model_cards:dfmgan.md",
        quick={"kimg": 0.4, "adapt_kimg": 0.4, "batch": 4},
        requires=("torch", "peft", "accelerate", "safetensors"),
        install="pip install 'ias-zoo[diffusion]'",
    ),
)
