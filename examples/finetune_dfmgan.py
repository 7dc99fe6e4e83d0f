"""Both stages of a method that trains its own base: good parts to a base, a handful of defects on it, 100 pairs out.

    python examples/finetune_dfmgan.py parts/ result/ [--base tiny]

``parts/`` holds good pictures (train/good), a handful of defective ones (test/<defect>) and their masks
(ground_truth/<defect>/<name>_mask.png). ``--base tiny`` starts from a small embedded base: minutes, 64 pixels.
Without ``--base``, one of 256 pixels is trained on the good pictures first, as published: a day on one GPU.
"""

import argparse
from pathlib import Path

import ias_zoo
from ias_zoo.generation.plan import make_plan
from ias_zoo.generation.run import run
from ias_zoo.report.contact_sheet import sheet_of_run

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("data", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--base", help="tiny, or what `fit dfmgan --stage base` wrote: a folder or a Hub repository")
parser.add_argument("--shots", type=int, help="shots of each defect type, one a group; default: a third of the groups")
parser.add_argument("-n", type=int, default=100)
arguments = parser.parse_args()

if __name__ == "__main__":  # worker processes import this file
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = arguments.base or arguments.out / "base"
    if arguments.base is None and not base.exists():
        ias_zoo.load("dfmgan").fit(arguments.data, stage="base", out=base, resume=True)
    weights = arguments.out / "weights"
    report = ias_zoo.load("dfmgan", base=base).fit(arguments.data, count=arguments.shots, out=weights)
    print(f"fitted {', '.join(report.defects)} in {report.seconds:.0f} s; weights and loss curves in {weights}")

    plan = make_plan("dfmgan", arguments.data, arguments.n, weights=str(weights))
    summary = run(plan, arguments.out / "pairs", workers=2)
    print(f"{summary.made} pairs in {summary.folder}; look at {sheet_of_run(summary.folder)}")
