"""What the zoo is told about Crop&Paste."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Method, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="crop_paste",
        title="Crop&Paste",
        summary="Cuts a real defect out along its mask and pastes it, colours matched, into a normal.",
        group=Group.EXTERNAL_DEPENDENT,
        paper=Paper(
            title="Few-shot defect segmentation leveraging abundant normal training samples through normal background "
            "regularization and crop-and-paste operation",
            authors="Dongyun Lin, Yanpeng Cao, Wenbin Zhu, Yiqun Li",
            venue="ICME",
            year=2021,
            arxiv="2007.09438",
        ),
        implementation="ias_zoo_handcrafted.crop_paste:CropPaste",
        options="ias_zoo_handcrafted.options.crop_paste:CropPasteOptions",
        fidelity=Fidelity.OUR_DESIGN,
        fidelity_note="the paper gives the idea without numbers; ranges, colour matching and the soft edge are ours",
        needs=frozenset({Input.NORMALS, Input.SHOTS, Input.MASKS}),
        accepts=frozenset({Input.REGION, Input.DEFECT}),
        baseline=True,
        cost=Cost(milliseconds=0.9, memory_mb=1, machine="2-core x86 virtual machine, one thread, 256 x 256"),
    ),
)
