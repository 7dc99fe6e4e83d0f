"""A plugin whose hook raises after the first method."""

import ias_zoo


@ias_zoo.hookimpl
def ias_zoo_methods():
    yield from ()
    raise KeyError("this plugin's hook is broken on purpose")
