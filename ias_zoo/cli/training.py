"""``fit``: fine-tune a method on a product's shots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ias_zoo.cli.console import training_progress
from ias_zoo.cli.shots import GROUP, SHOTS, shot_counts
from ias_zoo.errors import OptionError


def fit(
    method: Annotated[str, typer.Argument(help="A method that trains; `ias-zoo list` shows them.")],
    data: Annotated[Path, typer.Option(help="Good parts, defective ones and their masks: a folder or a manifest.")],
    out: Annotated[Path, typer.Option(help="A new folder for the weights.")],
    stage: Annotated[
        str,
        typer.Option(help="few-shot: on shots. base: for methods that train their own base, on the normals alone."),
    ] = "few-shot",
    defect: Annotated[list[str] | None, typer.Option(help="A defect type; again for several. Default: all.")] = None,
    shots: Annotated[str | None, SHOTS] = None,
    group_by: Annotated[str | None, GROUP] = None,
    base: Annotated[str | None, typer.Option(help="tiny, a folder, or a Hub repository. Default: the paper's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="option=value; `ias-zoo info METHOD` lists them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
    crop: Annotated[
        str, typer.Option(help="auto: crop around defects too small for the model's size; off; or a number of pixels.")
    ] = "auto",
    preview_every: Annotated[
        int | None,
        typer.Option(help="Steps between pictures of what the model makes; 0: never. Default: the method's."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    white: Annotated[
        int | None, typer.Option(help="The value that is white in 16-bit pictures (4095: 12 bits).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that was stopped.")] = False,
) -> None:
    """Fine-tune a method on a handful of real defects; writes a weights folder for `generate --weights`."""
    from ias_zoo.data import open_data
    from ias_zoo.method import Trains
    from ias_zoo.options import parse_assignments
    from ias_zoo.registry import registry

    entry = registry().find(method)
    if entry.method.trains is Trains.NONE:
        raise OptionError(f"{entry.method.name} is not trained: `ias-zoo generate {entry.method.name}` needs no fit")
    count = shot_counts(shots)
    pictures = open_data(data, white=white)
    options = parse_assignments(registry().options_class(method), set_ or [], method=entry.method.name)
    synthesizer = registry().load(method, base=base, device=device, **options)
    with training_progress() as step:
        report = synthesizer.fit(
            pictures,
            stage=stage,
            defects=defect,
            count=count,
            group_by=group_by,
            out=out,
            resume=resume,
            seed=seed,
            crop=crop,
            preview_every=preview_every,
            step=step,
        )
    shown = "whole pictures" if report.crop is None else f"crops of {report.crop} pixels"
    chosen = synthesizer.manifest.facts["shots"]
    what = "normals" if stage == "base" else f"shots of {', '.join(report.defects)} ({chosen})"
    print(f"{len(report.training_files)} {what}; {shown}, at {report.resolution} pixels")
    for done in report.stages:
        losses = ", ".join(f"{name} {value:.4g}" for name, value in done.last().items())
        print(f"{done.name}: {done.steps} steps in {done.seconds:.0f} s; {losses}")
    print(f"peak memory {report.peak_memory_mb:.0f} MB; weights in {out}, curves in {out / 'training.png'}")
    if stage == "base":
        print(f"next: ias-zoo fit {entry.method.name} --base {out} --data {data} --out WEIGHTS")
        return
    print(f"next: ias-zoo generate {entry.method.name} --weights {out} --data {data} --out NEW_FOLDER")
