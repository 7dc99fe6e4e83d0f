"""A plugin written for a contract that this zoo does not speak."""

import ias_zoo


@ias_zoo.hookimpl
def ias_zoo_methods():
    yield ias_zoo.Method(
        name="tomorrow",
        title="Tomorrow",
        summary="A toy.",
        group="self-contained",
        paper=None,
        implementation="from_the_future:Nothing",
        options="from_the_future:Nothing",
        fidelity="our design",
        fidelity_note="a toy",
        plugin_api=99,
    )
