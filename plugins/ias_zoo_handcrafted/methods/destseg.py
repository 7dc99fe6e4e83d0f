"""What the zoo is told about DeSTSeg."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper

_LICENCE = "Apple sample-code licence"

METHODS: tuple[Method, ...] = (
    Method(
        name="destseg",
        title="DeSTSeg",
        summary="Mixes an unchanged texture picture into the image where thresholded Perlin noise says so.",
        group=Group.EXTERNAL_DEPENDENT,
        paper=Paper(
            title="DeSTSeg: Segmentation Guided Denoising Student-Teacher for Anomaly Detection",
            authors="Xuan Zhang, Shiyu Li, Xi Li, Ping Huang, Jiulong Shan, Ting Chen",
            venue="CVPR",
            year=2023,
            arxiv="2211.11317",
        ),
        original_code=OriginalCode(repository="https://github.com/apple/ml-destseg", licence=_LICENCE),
        licences=Licences(original_code=_LICENCE),
        implementation="ias_zoo_handcrafted.destseg:DeSTSeg",
        options="ias_zoo_handcrafted.options.destseg:DeSTSegOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the published code's distributions; as a generator it turns no normals and gives no empty masks",
        accepts=frozenset({Input.TEXTURES, Input.REGION, Input.MASK}),
        cost=Cost(milliseconds=1.1, memory_mb=12, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
