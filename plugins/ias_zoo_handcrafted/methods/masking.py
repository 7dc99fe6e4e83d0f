"""What the zoo is told about the methods that hide parts of a normal: InTra, I3AD, RIAD, SMAI."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Method, Paper

_MACHINE = "2-core x86 virtual machine, one thread, 256 x 256"

METHODS: tuple[Method, ...] = (
    Method(
        name="intra",
        title="InTra",
        summary="Hides one tile of a window of tiles; the normal is the target.",
        group=Group.INPAINTING,
        paper=Paper(
            title="Inpainting Transformer for Anomaly Detection",
            authors="Jonathan Pirnay, Keng Chai",
            venue="ICIAP",
            year=2022,
            arxiv="2104.13897",
        ),
        implementation="ias_zoo_handcrafted.intra:Intra",
        options="ias_zoo_handcrafted.options.masking:IntraOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the paper's tiles, windows and draws; what stands in the hidden tile and the region are ours",
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.04, memory_mb=0.3, machine=_MACHINE),
        exact_mask=True,
    ),
    Method(
        name="i3ad",
        title="I3AD",
        summary="Fills irregular holes in the normal by inpainting; the normal is the target.",
        group=Group.INPAINTING,
        paper=Paper(
            title="Iterative Image Inpainting with Structural Similarity Mask for Anomaly Detection",
            authors="Hitoshi Nakanishi, Masahiro Suzuki, Yutaka Matsuo",
            venue="OpenReview",
            year=2020,
            url="https://openreview.net/forum?id=b4ach0lGuYO",
        ),
        implementation="ias_zoo_handcrafted.i3ad:I3ad",
        options="ias_zoo_handcrafted.options.masking:I3adOptions",
        fidelity=Fidelity.OUR_DESIGN,
        fidelity_note="no code, and only the abstract was at hand: holes, numbers and stopping rule are ours",
        accepts=frozenset({Input.REGION, Input.MASK}),
        cost=Cost(milliseconds=20, memory_mb=0.7, machine=_MACHINE),
        exact_mask=True,
    ),
    Method(
        name="riad",
        title="RIAD",
        summary="Hides a random third of a grid's cells; the normal is the target.",
        group=Group.INPAINTING,
        paper=Paper(
            title="Reconstruction by Inpainting for Visual Anomaly Detection",
            authors="Vitjan Zavrtanik, Matej Kristan, Danijel Skocaj",
            venue="Pattern Recognition",
            year=2021,
            url="https://doi.org/10.1016/j.patcog.2020.107706",
        ),
        implementation="ias_zoo_handcrafted.riad:Riad",
        options="ias_zoo_handcrafted.options.masking:RiadOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="what two re-implementations agree on; a sample is one of the n masked images; any size",
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.13, memory_mb=0.4, machine=_MACHINE),
        exact_mask=True,
    ),
    Method(
        name="smai",
        title="SMAI",
        summary="Hides random superpixels; the normal is the target.",
        group=Group.INPAINTING,
        paper=Paper(
            title="Superpixel Masking and Inpainting for Self-Supervised Anomaly Detection",
            authors="Zhenyu Li, Ning Li, Kaitao Jiang, Zhiheng Ma, Xing Wei, Xiaopeng Hong, Yihong Gong",
            venue="BMVC",
            year=2020,
            url="https://www.bmvc2020-conference.com/assets/papers/0275.pdf",
        ),
        implementation="ias_zoo_handcrafted.smai:Smai",
        options="ias_zoo_handcrafted.options.masking:SmaiOptions",
        fidelity=Fidelity.OUR_DESIGN,
        fidelity_note="no code, and only the abstract was at hand: superpixel settings and the draw are ours",
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.24, memory_mb=0.5, machine=_MACHINE),
        exact_mask=True,
    ),
)
