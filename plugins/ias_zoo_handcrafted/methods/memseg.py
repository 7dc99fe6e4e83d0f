"""What the zoo is told about MemSeg."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Method, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="memseg",
        title="MemSeg",
        summary="Mixes a texture, or the image with its tiles shuffled, into the product where Perlin noise says so.",
        group=Group.EXTERNAL_DEPENDENT,
        paper=Paper(
            title="MemSeg: A semi-supervised method for image surface defect detection using differences and "
            "commonalities",
            authors="Minghui Yang, Peng Wu, Jing Liu, Hui Feng",
            venue="Engineering Applications of Artificial Intelligence",
            year=2023,
            arxiv="2205.00908",
        ),
        implementation="ias_zoo_handcrafted.memseg:MemSeg",
        options="ias_zoo_handcrafted.options.memseg:MemSegOptions",
        fidelity=Fidelity.WHERE_PUBLIC,
        fidelity_note="the steps of the widely used public code, the paper's structural source as a variant",
        accepts=frozenset({Input.TEXTURES, Input.REGION, Input.MASK}),
        cost=Cost(milliseconds=1.2, memory_mb=12, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
