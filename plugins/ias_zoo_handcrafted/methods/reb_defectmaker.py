"""What the zoo is told about REB's DefectMaker."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="reb_defectmaker",
        title="REB DefectMaker",
        summary="Fills a blob, a turned sliver or a clump with a part of another normal or with coarse noise.",
        group=Group.SELF_CONTAINED,
        paper=Paper(
            title="REB: Reducing Biases in Representation for Industrial Anomaly Detection",
            authors="Shuai Lyu, Dongmei Mo, Waikeung Wong",
            venue="Knowledge-Based Systems",
            year=2024,
            arxiv="2308.12577",
        ),
        original_code=OriginalCode("https://github.com/ShuaiLYU/REB", "Apache-2.0"),
        licences=Licences(original_code="Apache-2.0"),
        implementation="ias_zoo_handcrafted.reb_defectmaker:RebDefectMaker",
        options="ias_zoo_handcrafted.options.reb_defectmaker:RebDefectMakerOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the published code's shapes, fills and fusion; saliency by Otsu, noise proportions corrected",
        needs=frozenset({Input.NORMALS, Input.SOURCE}),
        accepts=frozenset({Input.REGION, Input.DEFECT}),
        aliases=("reb",),
        cost=Cost(milliseconds=0.6, memory_mb=1, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
