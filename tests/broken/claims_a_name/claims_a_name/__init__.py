"""A plugin that claims a name which another plugin has, and one of its own."""

import ias_zoo


def _method(name):
    return ias_zoo.Method(
        name=name,
        title=name,
        summary="A toy.",
        group="self-contained",
        paper=None,
        implementation="ias_zoo_dots.synthesizer:Dots",
        options="ias_zoo_dots.options:DotsOptions",
        fidelity="our design",
        fidelity_note="a toy",
    )


@ias_zoo.hookimpl
def ias_zoo_methods():
    return [_method("dots"), _method("rings")]
