"""What the zoo is told about CDO."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="cdo",
        title="CDO",
        summary="Puts up to four rectangles of white noise on the image.",
        group=Group.INPAINTING,
        paper=Paper(
            title="Collaborative Discrepancy Optimization for Reliable Image Anomaly Localization",
            authors="Yunkang Cao, Xiaohao Xu, Zhaoge Liu, Weiming Shen",
            venue="IEEE Transactions on Industrial Informatics",
            year=2023,
            arxiv="2302.08769",
        ),
        original_code=OriginalCode(repository="https://github.com/caoyunkang/CDO", licence="MIT"),
        licences=Licences(original_code="MIT"),
        implementation="ias_zoo_handcrafted.cdo:Cdo",
        options="ias_zoo_handcrafted.options.cdo:CdoOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the published code's laws, both versions; as a generator it gives no clean samples",
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.11, memory_mb=0.3, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
