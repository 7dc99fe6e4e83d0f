"""The command ``ias-zoo``."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from ias_zoo.errors import IasZooError


class _Stopped(BaseException):
    """Ctrl-C, or a request to end. No KeyboardInterrupt, which the command-line library would take for itself."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped(number)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of the zoo's are one line and exit code 1 (``--debug`` shows the traceback)."""
    from ias_zoo.cli.app import app

    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
    try:
        app([argument for argument in arguments if argument != "--debug"], prog_name="ias-zoo")
    except IasZooError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except _Stopped as stopped:
        print(
            "stopped; what was finished is kept: type the same again, with --resume where there is one",
            file=sys.stderr,
        )
        raise SystemExit(128 + stopped.args[0]) from None
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away, as `| head` does
        raise SystemExit(1) from None
