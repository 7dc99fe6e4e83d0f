"""Paint a learned defect where you want it: fit AnomalyDiffusion on a few shots, then give it a normal and a mask.

    python examples/paint_defects.py parts/ result/ --defect scratch [--shots 8] [--mask drawn.png] [--base tiny]

``parts/`` as for ``ias-zoo fit``. The mask is a picture of the size of the first good one, white where the defect shall
be; without one, a disc in the middle. The answers have the picture's size and exactly this mask; everything else keeps
the normal's pixels. ``sheet.png`` shows them side by side.
"""

import argparse
from pathlib import Path

import numpy as np

import ias_zoo
from ias_zoo.data.images import encode_png, read_mask, write_whole
from ias_zoo.report.contact_sheet import Row, draw_sheet

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--defect", required=True, help="the type to learn and to paint")
parser.add_argument("--shots", type=int, help="shots to learn from, one a group; default: a third of the groups")
parser.add_argument("--mask", type=Path, help="where to paint; default: a disc in the middle")
parser.add_argument("--base", default="tiny", help="tiny runs on a laptop; or a Stable Diffusion or LDM model")
arguments = parser.parse_args()


def tell(stage: str, step: int, steps: int, loss: float) -> None:
    """A line now and then while it learns."""
    if step % 50 == 0 or step == steps:
        print(f"{stage}: step {step} of {steps}, loss {loss:.3f}", flush=True)


data = ias_zoo.open_data(arguments.data)
normal = data.read(data.normals[0]).image
height, width = normal.shape[:2]
if arguments.mask:
    mask = read_mask(arguments.mask)
    if mask.shape != (height, width):  # said before the fit, not after it
        parser.error(f"{arguments.mask} is {mask.shape}; the first good picture is {(height, width)}")
else:
    rows, columns = np.ogrid[:height, :width]
    mask = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 20) ** 2

method = ias_zoo.load("anomalydiffusion", base=arguments.base)
weights = arguments.out / "weights"
report = method.fit(data, defects=[arguments.defect], count=arguments.shots, out=weights, step=tell)
print(f"fitted {arguments.defect} in {report.seconds:.0f} s; loss curves in {weights}")

requests = [ias_zoo.Request(seed=seed, normal=normal, mask=mask, defect=arguments.defect) for seed in range(8)]
samples = method.synthesize(requests)  # eight at once
for number, sample in enumerate(samples):
    write_whole(arguments.out / f"{number}.png", encode_png(sample.image))
write_whole(arguments.out / "mask.png", encode_png(mask))
shown = [Row(f"seed {number}", normal, sample.image, sample.mask) for number, sample in enumerate(samples)]
write_whole(arguments.out / "sheet.png", encode_png(draw_sheet(shown, f"{arguments.defect} in a mask of your own")))
print(f"8 pictures, their mask and sheet.png in {arguments.out}")
