"""What the zoo is told about ADSAS."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Method, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="adsas",
        title="ADSAS",
        summary="Pastes a patch of the product, its shape and colours changed, elsewhere onto the product.",
        group=Group.SELF_CONTAINED,
        paper=Paper(
            title="Self-Supervised Learning for Industrial Image Anomaly Detection by Simulating Anomalous Samples",
            authors="Mengjie Pei, Ningzhong Liu, Bing Zhao, Han Sun",
            venue="International Journal of Computational Intelligence Systems",
            year=2023,
            url="https://doi.org/10.1007/s44196-023-00328-0",
        ),
        implementation="ias_zoo_handcrafted.adsas:Adsas",
        options="ias_zoo_handcrafted.options.adsas:AdsasOptions",
        fidelity=Fidelity.OUR_DESIGN,
        fidelity_note="the paper's idea; its augmentations, ranges and object masks could not be read and are ours",
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.4, memory_mb=1, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
