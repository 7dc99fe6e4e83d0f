"""What the zoo is told about NSA."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="nsa",
        title="NSA",
        summary="Poisson-blends resized patches of another normal image into the normal, with a soft label.",
        group=Group.SELF_CONTAINED,
        paper=Paper(
            title="Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization",
            authors="Hannah M. Schlüter, Jeremy Tan, Benjamin Hou, Bernhard Kainz",
            venue="ECCV",
            year=2022,
            arxiv="2109.15222",
            url="https://arxiv.org/abs/2109.15222",
        ),
        original_code=OriginalCode("https://github.com/hmsch/natural-synthetic-anomalies", "MIT"),
        implementation="ias_zoo_handcrafted.nsa:NSA",
        options="ias_zoo_handcrafted.options.nsa:NSAOptions",
        needs=frozenset({Input.NORMALS, Input.SOURCE}),
        accepts=frozenset({Input.REGION}),
        licences=Licences(original_code="MIT"),
        cost=Cost(1.8, 5, "2-core x86 virtual machine, one thread, 256 x 256"),
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the published code's steps and table; placement, patch size clipping and ellipses corrected",
    ),
)
