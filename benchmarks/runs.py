"""How runs scale: workers against one process, memory against the number of images, and the cold start of ``list``.

    python benchmarks/runs.py workers|memory|cold [--data FOLDER] [--method NAME]

``workers``: images a second with 1 and 2 processes, and their ratio, several times in turn.
``memory``:  the peak resident memory of a run of 1,000 and of 20,000 images.
``cold``:    CPU seconds of ``ias-zoo list`` in a fresh process, beside ``python -c pass``; the median of several.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ias_zoo.data.sample import write_sample


def generate(arguments: argparse.Namespace, out: Path, n: int, workers: int) -> float:
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "ias_zoo", "generate", arguments.method, "--data", str(arguments.data)]
    started = time.perf_counter()
    subprocess.run([*command, "-n", str(n), "--workers", str(workers), "--out", str(out)], check=True, stdout=-3)
    return time.perf_counter() - started


def workers(arguments: argparse.Namespace, scratch: Path) -> None:
    ratios = []
    for turn in range(arguments.turns):
        one, two = (generate(arguments, scratch / "out", arguments.n, count) for count in (1, 2))
        ratios.append(one / two)
        print(f"turn {turn}: {arguments.n / one:.0f} images/s with one process, {arguments.n / two:.0f} with two")
    print(f"{arguments.method}, {arguments.n} images, start included: two workers are "
          f"{statistics.median(ratios):.2f} times one (median of {len(ratios)})")  # fmt: skip


def memory(arguments: argparse.Namespace, scratch: Path) -> None:
    for n in (1000, 20000):
        code = (
            "import resource, sys\n"
            "from ias_zoo.cli import main\n"
            "try: main(sys.argv[1:])\n"
            "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, 'MB at the peak')\n"
        )
        out = scratch / "out"
        shutil.rmtree(out, ignore_errors=True)
        command = ["generate", arguments.method, "--data", str(arguments.data), "-n", str(n), "--out", str(out)]
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
        print(f"{arguments.method}, {n} images: {done.stdout.strip().splitlines()[-1]}")


def cold(arguments: argparse.Namespace, scratch: Path) -> None:
    for title, command in (
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("ias-zoo list", [sys.executable, "-m", "ias_zoo", "list"]),
    ):
        seconds = []
        for _ in range(15):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        median, worst = statistics.median(seconds), max(seconds)
        print(f"{title}: {median:.3f} s of CPU (median of {len(seconds)}, worst {worst:.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "memory", "cold"])
    parser.add_argument("--data", type=Path, help="a folder of normals; default: a sample product of the demo")
    parser.add_argument("--method", default="draem")
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.data is None:
            arguments.data = write_sample(Path(name) / "sample")[1]
        {"workers": workers, "memory": memory, "cold": cold}[arguments.what](arguments, Path(name))


if __name__ == "__main__":
    main()
