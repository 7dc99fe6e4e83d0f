"""Run a plan: in this process or in several, resumable, with the same pictures either way."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ias_zoo.errors import OptionError, RunError
from ias_zoo.generation.engine import produce
from ias_zoo.generation.failures import Failure
from ias_zoo.generation.folder import PARTIAL, RESUME, keep_apart, only_run_in, prepare_folder, record_move
from ias_zoo.generation.plan import Plan
from ias_zoo.generation.writer import ShardResult, copy_normals, missing_shards, write_shard


@dataclass
class RunSummary:
    """What a run came to. ``skipped`` images were there already."""

    folder: Path
    made: int = 0
    skipped: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def add(self, result: ShardResult) -> None:
        """Add a shard."""
        self.made += result.made
        self.failures += result.failures
        self.notes |= result.notes
        for reason, count in result.refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + count


def run_shard(plan: Plan, shard: int, folder: Path, synthesizer: Any, maker: Any) -> ShardResult:
    """Make and write one shard. Depends on the plan and the shard's number alone."""
    outcomes = produce(synthesizer, maker, plan.indices(shard))
    return write_shard(folder, shard, outcomes, soft_labels=plan.soft_labels)


def run(
    plan: Plan,
    folder: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    force: bool = False,
    step: Callable[[int], None] = lambda images: None,
) -> RunSummary:
    """Make all images of a plan that are not there yet.

    Parameters
    ----------
    workers:
        Processes, a core each. 1 works in this process.
    resume, force:
        What to do when the folder holds this run already: go on with it (its pictures may have moved to another
        place, if they are the same to the byte), or start over.
    step:
        Called with a number of images whenever so many more are done.

    Raises
    ------
    OptionError, RunError
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise OptionError(f"workers={workers!r}: expected an integer >= 1")
    started = time.perf_counter()
    keep_apart(folder, plan.open_data())
    with _terminable(), only_run_in(folder):
        prepare_folder(folder, plan, resume=resume, force=force)
        copy_normals(folder, plan)
        record_move(folder, plan)
        shards = missing_shards(folder, plan)
        summary = RunSummary(folder, skipped=plan.n - sum(len(plan.indices(shard)) for shard in shards))
        step(summary.skipped)
        try:
            for shard, result in _results(plan, folder, shards, workers):
                summary.add(result)
                step(len(plan.indices(shard)))
        finally:
            shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    summary.seconds = time.perf_counter() - started
    return summary


def _results(plan: Plan, folder: Path, shards: list[int], workers: int) -> Iterator[tuple[int, ShardResult]]:
    workers = min(workers, len(shards))
    if workers <= 1:
        synthesizer, maker = plan.load()
        with _one_core():
            for shard in shards:
                yield shard, run_shard(plan, shard, folder, synthesizer, maker)
        return
    context = multiprocessing.get_context("spawn")  # fork would copy the parent's threads and locks
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(plan, folder)) as pool:
        with _deaf():  # workers inherit it: to be interrupted is this process's business
            futures = {pool.submit(_work, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        except BrokenProcessPool as error:
            raise RunError(f"a worker process died (out of memory?){RESUME}") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keep OpenCV and torch to one thread: a worker takes one core, and more workers are the way to use more.

    OpenCV's own threads gain 5 % on a picture of usual size and cost 20 % of a second core.
    """
    import cv2

    threads, torch = cv2.getNumThreads(), sys.modules.get("torch")
    torch_threads = torch.get_num_threads() if torch else 1
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if torch:
            torch.set_num_threads(torch_threads)


_worker: tuple[Plan, Path, Any, Any] | None = None  # what a worker process loads once


def _start_worker(plan: Plan, folder: Path) -> None:
    global _worker
    import cv2

    cv2.setNumThreads(1)  # as _one_core
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _worker = (plan, folder, *plan.load())
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM (``kill``, a scheduler, a service's stop) end the run as Ctrl-C does: tidied up, and resumable.

    Only the main thread may say what a signal does; and who has asked for something else already keeps it.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore interrupts and requests to end for a moment, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _die_with_parent() -> None:
    """A pool's workers outlive a parent that is killed, waiting for work for ever; these do not."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(shard: int) -> ShardResult:
    assert _worker is not None  # noqa: S101 - the initializer ran
    plan, folder, synthesizer, maker = _worker
    return run_shard(plan, shard, folder, synthesizer, maker)
