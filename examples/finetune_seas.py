"""Few-shot fine-tuning, whole: a folder in, a weights folder and 100 image-and-mask pairs out.

    python examples/finetune_seas.py parts/ result/ [--base tiny]

``parts/`` holds good pictures (train/good), a handful of defective ones (test/<defect>) and their masks
(ground_truth/<defect>/<name>_mask.png).
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
parser.add_argument("--base", default="tiny", help="tiny runs on a laptop; the paper's: CompVis/stable-diffusion-v1-4")
parser.add_argument("--shots", type=int, help="shots of each defect type, one a group; default: a third of the groups")
parser.add_argument("-n", type=int, default=100)
arguments = parser.parse_args()

if __name__ == "__main__":  # worker processes import this file
    weights = arguments.out / "weights"
    arguments.out.mkdir(parents=True, exist_ok=True)
    seas = ias_zoo.load("seas", base=arguments.base)
    report = seas.fit(arguments.data, count=arguments.shots, out=weights)
    print(f"fitted {', '.join(report.defects)} in {report.seconds:.0f} s; weights and loss curves in {weights}")

    plan = make_plan("seas", arguments.data, arguments.n, weights=str(weights))
    summary = run(plan, arguments.out / "pairs", workers=2)
    print(f"{summary.made} pairs in {summary.folder}; look at {sheet_of_run(summary.folder)}")
