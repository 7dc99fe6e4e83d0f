"""What the zoo is told about AnomalyDiffusion."""

from __future__ import annotations

from ias_zoo.method import Base, Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper, Trains

METHODS: tuple[Method, ...] = (
    Method(
        name="anomalydiffusion",
        title="AnomalyDiffusion",
        summary="Learns words for a defect's looks and its place, and paints it into normals where a mask says.",
        group=Group.MULTI_STAGE,
        paper=Paper(
            title="AnomalyDiffusion: Few-Shot Anomaly Image Generation with Diffusion Model",
            authors="Teng Hu, Jiangning Zhang, Ran Yi, Yuzhen Du, Xu Chen, Liang Liu, Yabiao Wang, Chengjie Wang",
            venue="AAAI",
            year=2024,
            arxiv="2312.05767",
            url="https://arxiv.org/abs/2312.05767",
        ),
        original_code=OriginalCode("https://github.com/sjtuplayer/anomalydiffusion", "MIT"),
        implementation="ias_zoo_anomalydiffusion.synthesizer:AnomalyDiffusion",
        options="ias_zoo_anomalydiffusion.options:AnomalyDiffusionOptions",
        needs=frozenset({Input.NORMALS, Input.SHOTS, Input.MASKS}),
        accepts=frozenset({Input.DEFECT, Input.MASK, Input.REGION}),
        trains=Trains.ADAPTER,
        base=Base("CompVis/ldm-text2im-large-256", "30de525ca11a880baea4962827fb6cb0bb268955"),
        licences=Licences(base_weights="Apache-2.0", original_code="MIT", training_data="LAION (mixed)"),
        cost=Cost(
            1200, 1120, "one thread of a busy x86 machine, CPU time, base tiny, mask given; memory while fitting"
        ),
        fidelity=Fidelity.WHERE_PUBLIC,
        fidelity_note="embedding, losses, both re-weightings and samplers as published; its dataset splits are not",
        card="ias_zoo_model_cards:anomalydiffusion.md",
        quick={"steps": 120},
        requires=("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"),
        install="pip install 'ias-zoo[diffusion]'",
    ),
)
