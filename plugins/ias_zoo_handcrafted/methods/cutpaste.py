"""What the zoo is told about CutPaste and its variants."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Method, Paper

_PAPER = Paper(
    title="CutPaste: Self-Supervised Learning for Anomaly Detection and Localization",
    authors="Chun-Liang Li, Kihyuk Sohn, Jinsung Yoon, Tomas Pfister",
    venue="CVPR",
    year=2021,
    arxiv="2104.04015",
)
_MACHINE = "2-core x86 virtual machine, one thread, 256 x 256"
_NOTE = "the paper's steps and ranges; the mask, the use of a region and the scaling of scars are ours"

METHODS: tuple[Method, ...] = (
    Method(
        name="cutpaste",
        title="CutPaste",
        summary="Pastes a colour-jittered rectangle of the image elsewhere in the same image.",
        group=Group.SELF_CONTAINED,
        paper=_PAPER,
        implementation="ias_zoo_handcrafted.cutpaste:CutPaste",
        options="ias_zoo_handcrafted.options.cutpaste:CutPasteOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note=_NOTE,
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.25, memory_mb=0.4, machine=_MACHINE),
        exact_mask=True,
    ),
    Method(
        name="cutpaste_scar",
        title="CutPaste-Scar",
        summary="Pastes a thin, turned, colour-jittered strip of the image elsewhere in the same image.",
        group=Group.SELF_CONTAINED,
        paper=_PAPER,
        implementation="ias_zoo_handcrafted.cutpaste:CutPasteScar",
        options="ias_zoo_handcrafted.options.cutpaste:CutPasteScarOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note=_NOTE,
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.12, memory_mb=0.3, machine=_MACHINE),
        exact_mask=True,
    ),
    Method(
        name="cutpaste_3way",
        title="CutPaste (3-way)",
        summary="Pastes either a CutPaste rectangle or a CutPaste-Scar strip, and says which.",
        group=Group.SELF_CONTAINED,
        paper=_PAPER,
        implementation="ias_zoo_handcrafted.cutpaste:CutPaste3Way",
        options="ias_zoo_handcrafted.options.cutpaste:CutPaste3WayOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note=_NOTE + "; one request gives one of the two kinds, triple() gives all three classes",
        accepts=frozenset({Input.REGION, Input.DEFECT}),
        cost=Cost(milliseconds=0.14, memory_mb=0.4, machine=_MACHINE),
        exact_mask=True,
    ),
)
