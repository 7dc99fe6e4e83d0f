"""What the zoo is told about RD++."""

from __future__ import annotations

from ias_zoo.method import Cost, Fidelity, Group, Input, Licences, Method, OriginalCode, Paper

METHODS: tuple[Method, ...] = (
    Method(
        name="rdpp",
        title="RD++",
        summary="Adds a rectangle of faint simplex noise to the image.",
        group=Group.INPAINTING,
        paper=Paper(
            title="Revisiting Reverse Distillation for Anomaly Detection",
            authors="Tran Dinh Tien, Anh Tuan Nguyen, Nguyen Hoang Tran, Ta Duc Huy, Soan T. M. Duong, "
            "Chanh D. Tr. Nguyen, Steven Q. H. Truong",
            venue="CVPR",
            year=2023,
            url="https://openaccess.thecvf.com/content/CVPR2023/html/"
            "Tien_Revisiting_Reverse_Distillation_for_Anomaly_Detection_CVPR_2023_paper.html",
        ),
        original_code=OriginalCode(
            repository="https://github.com/tientrandinh/Revisiting-Reverse-Distillation", licence="MIT"
        ),
        licences=Licences(original_code="MIT"),
        implementation="ias_zoo_handcrafted.rdpp:Rdpp",
        options="ias_zoo_handcrafted.options.rdpp:RdppOptions",
        fidelity=Fidelity.FAITHFUL,
        fidelity_note="the published code's rectangle and noise; each sample has a field of its own; the mask is ours",
        accepts=frozenset({Input.REGION}),
        cost=Cost(milliseconds=0.17, memory_mb=6, machine="2-core x86 virtual machine, one thread, 256 x 256"),
        exact_mask=True,
    ),
)
