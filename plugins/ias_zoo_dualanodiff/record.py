"""What the zoo is told about DualAnoDiff."""

from __future__ import annotations

from ias_zoo.method import Base, Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper, Trains

METHODS: tuple[Method, ...] = (
    Method(
        name="dualanodiff",
        title="DualAnoDiff",
        summary="Two diffusion branches that attend to each other make the picture and, on grey, its anomaly alone.",
        group=Group.MULTI_STAGE,
        paper=Paper(
            title="Dual-Interrelated Diffusion Model for Few-Shot Anomaly Image Generation",
            authors="Ying Jin, Jinlong Peng, Qingdong He, Teng Hu, Jiafu Wu, Hao Chen, Haoxuan Wang, Wenbing Zhu, "
            "Mingmin Chi, Jun Liu, Yabiao Wang",
            venue="CVPR",
            year=2025,
            arxiv="2408.13509",
            url="https://arxiv.org/abs/2408.13509",
        ),
        original_code=OriginalCode("https://github.com/yinyjin/DualAnoDiff", "none"),
        implementation="ias_zoo_dualanodiff.synthesizer:DualAnoDiff",
        options="ias_zoo_dualanodiff.options:DualAnoDiffOptions",
        needs=frozenset({Input.SHOTS, Input.MASKS}),
        accepts=frozenset({Input.NORMALS, Input.DEFECT}),
        trains=Trains.ADAPTER,
        base=Base("stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"),
        licences=Licences(base_weights="CreativeML-OpenRAIL-M", training_data="LAION (mixed)"),
        cost=Cost(
            1200,
            1171,
            "one thread of a small busy x86 virtual machine, CPU time, 8 at once, 128 x 128, base tiny; fit memory",
        ),
        fidelity=Fidelity.WHERE_PUBLIC,
        fidelity_note="both branches, interaction, background compensation, loss and sampler as the code has them; "
        "masks by a built-in backend unless U2-Net weights are given",
        card="ias_zoo_model_cards:dualanodiff.md",
        quick={"steps": 60, "sampling_steps": 15},
        requires=("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"),
        install="pip install 'ias-zoo[diffusion]'",
    ),
)
