"""What a user of anomalib gets: its own datamodule on a generated folder, and its own generator beside torch_dataset.

    python benchmarks/anomalib_user.py [--environment DIR] [--on-top] [--data FOLDER] [--textures FOLDER]
                                       [--only folder|loops] [--json FILE]

The script makes an environment of its own (in a temporary folder, removed afterwards, unless ``--environment`` names
one to keep), installs anomalib 2.7.0 and this package into it, and runs itself there. ``--on-top`` lets that
environment see the packages of the running interpreter, so that only what is missing is fetched.

anomalib requires ``opencv-python-headless``, whose files take the place of those of ``opencv-contrib-python-headless``;
the script puts the latter back, as a user of both has to.

1. A folder is generated with the command line. anomalib's ``Folder`` datamodule reads it as it is: ``train/good``,
   ``test/<defect>``, ``ground_truth/<defect>``; a PaDiM with random features (no download) is fitted and tested, and
   the folder must verify afterwards. The scores say that pictures, masks and labels arrive, not how good anybody is.
2. A plain training loop (a three-layer network, batches of 16) is fed by ``ias_zoo.torch_dataset`` and by anomalib's
   ``PerlinAnomalyGenerator`` on pictures that lie ready in memory, in turns: images a second of CPU time, the best of
   each one's turns, with the network and without. ``torch_dataset`` keeps decoded textures in memory, so it is timed
   after its first examples, which have a figure of their own; anomalib's generator decodes a texture for each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANOMALIB = "2.7.0"
ROOT = Path(__file__).resolve().parent.parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SIZE, BATCH, TURNS = 256, 16, 2
WARM_UP = 1500  # examples: a few epochs, for textures to be decoded once


def make_environment(folder: Path, *, on_top: bool) -> Path:
    """Install anomalib and this package into a new environment; its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    if on_top:
        site = next((folder / "lib").glob("python*/site-packages"))
        paths = [sysconfig.get_path("purelib"), *(p for p in sys.path if p.endswith("site-packages"))]
        (site / "base.pth").write_text("\n".join(dict.fromkeys(paths)) + "\n")

    def pip(*arguments: str) -> None:
        subprocess.run([python, "-m", "pip", "-q", *arguments], check=True)

    if not on_top:
        pip("install", str(ROOT), "torch")
    pip("install", f"anomalib=={ANOMALIB}", "torchvision")
    pip("uninstall", "-y", "opencv-python-headless")
    if not on_top:
        pip("install", "--force-reinstall", "--no-deps", "opencv-contrib-python-headless")
    return python


def anomalib_reads(data: str, scratch: Path) -> dict[str, Any]:
    """Generate a folder, fit and test a small model on it with anomalib's own datamodule."""
    import warnings

    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim

    warnings.simplefilter("ignore")
    out = scratch / "generated"

    def zoo(*arguments: str) -> str:
        command = [sys.executable, "-m", "ias_zoo", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    zoo("generate", "draem", "--data", data, "--size", str(SIZE), "-n", "60", "--seed", "7", "--out", str(out))
    layout = {"normal_dir": "train/good", "abnormal_dir": "test/draem", "mask_dir": "ground_truth/draem"}
    datamodule = Folder(
        "generated", root=out, **layout, train_batch_size=BATCH, eval_batch_size=BATCH, num_workers=0, seed=0
    )
    model = Padim(backbone="resnet18", layers=["layer1", "layer2"], pre_trained=False, n_features=50)
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=scratch / "engine")
    engine.fit(model, datamodule=datamodule)
    (scores,) = engine.test(model, datamodule=datamodule)
    zoo("verify", str(out))  # raises if a single byte has changed
    tested = datamodule.test_data.samples
    masks = [item.gt_mask for item in datamodule.test_data if int(item.gt_label)]
    assert masks, "anomalib tested no defect"
    assert all(bool(mask.any()) for mask in masks), "anomalib read an empty mask"
    return {
        "trained on": len(datamodule.train_data),
        "tested on": {"good": int((tested.label_index == 0).sum()), "defective": int((tested.label_index == 1).sum())},
        "scores": {name: round(float(value), 4) for name, value in scores.items()},
    }


def loops(data: str, textures: str | None) -> Iterator[tuple[str, float]]:
    """Images a second of both ways to feed a loop."""
    import torch
    from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    import ias_zoo
    from ias_zoo.generation.requests import Normals

    torch.set_num_threads(1)
    count = 96
    normals = Normals(ias_zoo.open_data(data), size=(SIZE, SIZE))
    pictures = [normals.read(index).image for index in range(min(len(normals), count))]
    tensors = [torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255 for picture in pictures]

    class WithAnomalib(Dataset[Any]):
        def __init__(self, p: float) -> None:
            self.generator = PerlinAnomalyGenerator(anomaly_source_path=textures, probability=p)

        def __len__(self) -> int:
            return count

        def __getitem__(self, index: int) -> Any:
            image, mask = self.generator(tensors[index % len(tensors)])
            return image, mask, mask.any().long()

    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 1, 1),
        nn.Upsample(scale_factor=8),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def speed(dataset: Any, *, learn: bool) -> float:
        started = time.process_time()
        for image, mask, _ in DataLoader(dataset, batch_size=BATCH):
            if learn:
                loss = nn.functional.binary_cross_entropy_with_logits(network(image), mask.reshape(-1, 1, SIZE, SIZE))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return count / (time.process_time() - started)

    synthesizer = ias_zoo.load("draem", **({"textures": textures} if textures else {}))
    first = ias_zoo.torch_dataset(pictures, synthesizer, p=1.0, length=WARM_UP)
    started = time.process_time()
    for _ in DataLoader(first, batch_size=BATCH):  # reads textures, which stay decoded; its own figure says how long
        pass
    yield "ias_zoo, the first pass, p=1, loader alone", WARM_UP / (time.process_time() - started)
    for p in (0.5, 1.0):
        both = {
            "ias_zoo": ias_zoo.torch_dataset(pictures, synthesizer, p=p, length=count),
            "anomalib": WithAnomalib(p),
        }
        for learn in (False, True):
            best = dict.fromkeys(both, 0.0)
            for _ in range(TURNS):
                for name, dataset in both.items():
                    best[name] = max(best[name], speed(dataset, learn=learn))
            words = f"p={p:g}, {'with the network' if learn else 'loader alone'}"
            for name, value in best.items():
                yield f"{name}, {words}", value
            yield f"ratio, {words}", best["ias_zoo"] / best["anomalib"]


def inside(arguments: argparse.Namespace) -> None:
    from ias_zoo.data.sample import write_sample

    results: dict[str, Any] = {"anomalib": ANOMALIB, "size": SIZE, "textures": bool(arguments.textures)}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = arguments.data or str(write_sample(scratch / "sample")[0])
        if arguments.only != "loops":
            results["folder"] = anomalib_reads(data, scratch)
            print(json.dumps(results["folder"], indent=1), flush=True)
        if arguments.only != "folder":
            results["images a second"] = {}
            for title, value in loops(data, arguments.textures):
                results["images a second"][title] = value
                print(f"  {title:40} {value:8.1f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, help="where the environment is made, or is already")
    parser.add_argument("--on-top", action="store_true", help="let it see the running interpreter's packages")
    parser.add_argument("--data", help="a folder of normals; default: the first sample product of the demo")
    parser.add_argument("--textures", help="a folder of texture pictures for both; default: each one's own")
    parser.add_argument("--only", choices=["folder", "loops"], help="one of the two parts alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.environment or Path(temporary) / "environment"
        python = folder / "bin" / "python"
        if not python.exists():
            python = make_environment(folder, on_top=arguments.on_top)
        passed = [value for value in sys.argv[1:] if value != "--on-top"]
        environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
        subprocess.run([python, __file__, "--inside", *passed], check=True, env=environment)


if __name__ == "__main__":
    main()
