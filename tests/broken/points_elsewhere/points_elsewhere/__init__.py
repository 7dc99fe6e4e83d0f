"""A plugin that knows of methods to be had elsewhere, and of one that another installed plugin really has."""

import ias_zoo


def _pointer(name):
    return ias_zoo.Method(
        name=name,
        title=name,
        summary="Known, not installed.",
        group="self-contained",
        paper=None,
        implementation="a_package_nobody_has.synthesizer:It",
        options="a_package_nobody_has.options:Its",
        fidelity="our design",
        fidelity_note="a toy",
        install="pip install a-package-nobody-has",
    )


@ias_zoo.hookimpl
def ias_zoo_methods():
    return [_pointer("elsewhere"), _pointer("dots")]
