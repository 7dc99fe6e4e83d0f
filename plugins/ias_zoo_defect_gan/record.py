"""What the zoo is told about Defect-GAN."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, Paper, Trains

METHODS: tuple[Method, ...] = (
    Method(
        name="defect_gan",
        title="Defect-GAN",
        summary="Translates good pictures to defective ones and back; the defect is a layer painted over the picture.",
        group=Group.FULL_IMAGE_TRANSLATION,
        paper=Paper(
            title="Defect-GAN: High-Fidelity Defect Synthesis for Automated Defect Inspection",
            authors="Gongjie Zhang, Kaiwen Cui, Tzu-Yi Hung, Shijian Lu",
            venue="WACV",
            year=2021,
            arxiv="2103.15158",
            url="https://arxiv.org/abs/2103.15158",
        ),
        original_code=None,
        implementation="ias_zoo_defect_gan.synthesizer:DefectGAN",
        options="ias_zoo_defect_gan.options:DefectGANOptions",
        needs=frozenset({Input.NORMALS, Input.SHOTS, Input.MASKS}),
        accepts=frozenset({Input.DEFECT, Input.MASK, Input.REGION}),
        trains=Trains.ADAPTER,
        base_stage=True,
        tiny="ias_zoo_defect_gan:tiny",
        licences=Licences(),
        cost=Cost(34, 1340, "2-core x86 virtual machine, one thread, 64 x 64, base tiny; memory while fitting"),
        fidelity=Fidelity.WHERE_PUBLIC,
        fidelity_note="losses, weights, schedule as published; what the sources leave open and few-shot are ours",
        card="ias_zoo_model_cards:defect_gan.md",
        quick={"steps": 80},
        requires=("torch", "peft", "accelerate", "safetensors"),
        install="pip install 'ias-zoo[diffusion]'",
    ),
)
