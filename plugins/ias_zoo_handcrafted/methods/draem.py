"""What the zoo is told about DRAEM."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="draem",
        title="DRAEM",
        summary="Mixes a texture picture into the image where thresholded Perlin noise says so.",
        group=Group.EXTERNAL_DEPENDENT,
        paper=Paper(
            title="DRAEM: A Discriminatively Trained Reconstruction Embedding for Surface Anomaly Detection",
            authors="Vitjan Zavrtanik, Matej Kristan, Danijel Skocaj",
            venue="ICCV",
            year=2021,
            arxiv="2108.07610",
        ),
        original_code=OriginalCode(repository="https://github.com/VitjanZ/DRAEM", licence="MIT"),
        licences=Licences(original_code="MIT"),
        implementation="ias_zoo_handcrafted.draem:Draem",
        options="ias_zoo_handcrafted.options.draem:DraemOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the published code's distributions; as a generator it gives no clean, turned or empty samples",
        accepts=frozenset({Input.TEXTURES, Input.REGION, Input.MASK}),
        cost=Cost(milliseconds=1.4, memory_mb=13, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
