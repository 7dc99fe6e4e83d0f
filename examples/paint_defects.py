"""Paint a learned defect where you want it: fit AnomalyDiffusion on a few shots, then give it a normal and a mask.

    python examples/paint_defects.py parts/ result/ --defect scratch [--base tiny]

``parts/`` as for ``ias-zoo fit``. Here the mask is a disc in the middle of the first good picture; any H x W array of
bools of the picture's size will do. The answer has the picture's size, and exactly this mask.
"""

import argparse
from pathlib import Path

import numpy as np

import ias_zoo
from ias_zoo.data.images import encode_png, write_whole

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--defect", required=True)
parser.add_argument("--base", default="tiny", help="tiny runs on a laptop; or a Stable Diffusion or LDM model")
parser.add_argument("--shots", type=int, help="shots of each defect type, one a group; default: a third of the groups")
arguments = parser.parse_args()

data = ias_zoo.open_data(arguments.data)
method = ias_zoo.load("anomalydiffusion", base=arguments.base)
report = method.fit(data, count=arguments.shots, out=arguments.out / "weights")
print(f"fitted {', '.join(report.defects)} in {report.seconds:.0f} s; loss curves in {arguments.out / 'weights'}")

normal = data.read(data.normals[0]).image
height, width = normal.shape[:2]
rows, columns = np.ogrid[:height, :width]
mask = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 10) ** 2
requests = [ias_zoo.Request(seed=seed, normal=normal, mask=mask, defect=arguments.defect) for seed in range(8)]
for number, sample in enumerate(method.synthesize(requests)):  # eight at once
    write_whole(arguments.out / f"{number}.png", encode_png(sample.image))
write_whole(arguments.out / "mask.png", encode_png(mask))
print(f"8 pictures and their mask in {arguments.out}")
