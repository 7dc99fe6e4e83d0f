"""What the zoo is told about AMI-Net."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper, Produces

METHODS: tuple[Method, ...] = (
    Method(
        name="ami_net",
        title="AMI-Net",
        summary="Hides and shakes tokens of feature maps; the clean features are the target.",
        group=Group.INPAINTING,
        paper=Paper(
            title="AMI-Net: Adaptive Mask Inpainting Network for Industrial Anomaly Detection and Localization",
            authors="Wei Luo, Haiming Yao, Wenyong Yu, Zhengyong Li",
            venue="IEEE Transactions on Automation Science and Engineering",
            year=2024,
            url="https://github.com/luow23/AMI-Net",
        ),
        original_code=OriginalCode(repository="https://github.com/luow23/AMI-Net", licence="MIT"),
        licences=Licences(original_code="MIT"),
        implementation="ias_zoo_handcrafted.ami_net:AmiNet",
        options="ias_zoo_handcrafted.options.ami_net:AmiNetOptions",
        produces=Produces.FEATURES,
        fidelity=Fidelity.WHERE_PUBLIC,
        fidelity_note="the published code's random mask, noise and outlier rule; mask token and centres are ours",
        needs=frozenset({Input.NORMALS}),
        accepts=frozenset({Input.MASK}),
        cost=Cost(milliseconds=5.8, memory_mb=4, machine="2-core x86 virtual machine, one thread, 768 x 16 x 16"),
        requires=("torch",),
        install="pip install 'ias-zoo[diffusion]'",
    ),
)
