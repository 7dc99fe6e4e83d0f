"""The commands, wired together. Each command's module imports what it needs when it runs, not before."""

from __future__ import annotations

from typing import Annotated

import typer

from ias_zoo.cli import catalogue, datasets, demo, evaluation, generation, report, training, weights

app = typer.Typer(
    help="A model zoo for industrial anomaly synthesis: defect images with masks. --debug shows an error's traceback.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import ias_zoo

        print(f"ias-zoo {ias_zoo.__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it and exit.")
    ] = False,
) -> None:
    """A model zoo for industrial anomaly synthesis: defect images with exact masks.

    Errors are one line; add --debug to any command for the traceback.
    """


app.command("list")(catalogue.list_)
app.command("info")(catalogue.info)
app.command("plugins")(catalogue.plugins)
app.command("check-data")(datasets.check)
app.command("generate")(generation.generate)
app.command("fit")(training.fit)
app.command("verify")(generation.verify)
app.command("replay")(generation.replay)
app.command("evaluate")(evaluation.evaluate)
app.command("compare")(evaluation.compare)
app.command("report")(report.report)
app.command("push")(weights.push)
app.command("pull")(weights.pull)
app.command("demo")(demo.demo)
