"""Where networks run, and random numbers that do not depend on it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

from ias_zoo.errors import OptionError


def pick_device(device: str) -> torch.device:
    """``auto``: the GPU if there is one. A named device that is not there is an error.

    Raises
    ------
    OptionError
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device={device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return place


@contextlib.contextmanager
def undisturbed(device: torch.device) -> Iterator[int]:
    """Run a network by itself: one thread of the process at a time, and on a CPU with one thread of torch's.

    Taps hang on the network, so two users at once would see each other's maps. And torch's results depend on how many
    threads share a sum: with one, the same request gives the same bytes everywhere. More processes use more cores.

    Gives how many threads torch had: a batch may be shared out among so many (``ias_zoo.diffusion.rows.share_out``).
    """
    with _ALONE:
        threads = torch.get_num_threads()
        if device.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield threads if device.type == "cpu" else 1
        finally:
            torch.set_num_threads(threads)


_ALONE = threading.RLock()


def gaussian(
    shape: torch.Size | tuple[int, ...], generators: list[torch.Generator], device: torch.device
) -> torch.Tensor:
    """Standard normal float32 of ``shape`` for each generator, drawn on the CPU so that devices agree: B x shape."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators]).to(device)


def generator(seed: int) -> torch.Generator:
    """A CPU generator with its own seed."""
    made = torch.Generator()
    made.manual_seed(seed)
    return made
