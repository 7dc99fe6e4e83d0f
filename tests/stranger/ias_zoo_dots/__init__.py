"""Dark dots on good parts: the smallest plugin there is."""

import ias_zoo


@ias_zoo.hookimpl
def ias_zoo_methods():
    yield ias_zoo.Method(
        name="dots",
        title="Dots",
        summary="Draws one dark dot.",
        group="self-contained",
        paper=None,
        implementation="ias_zoo_dots.synthesizer:Dots",
        options="ias_zoo_dots.options:DotsOptions",
        fidelity="our design",
        fidelity_note="a toy",
        exact_mask=True,
    )
