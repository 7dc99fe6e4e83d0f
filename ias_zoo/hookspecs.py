"""The one hook.

A plugin is an importable package named in the entry-point group ``ias_zoo``, with one decorated function::

    import ias_zoo

    @ias_zoo.hookimpl
    def ias_zoo_methods():
        yield ias_zoo.Method(name="my_method", implementation="my_package.synthesizer:MyMethod", ...)
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from ias_zoo.method import Method

PROJECT = "ias_zoo"
ENTRY_POINT_GROUP = "ias_zoo"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ias_zoo_methods() -> Iterable[Method]:
    """Say which methods this plugin has. Import nothing heavy: the listing calls this."""
    return ()
