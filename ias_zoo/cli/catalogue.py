"""``list``, ``info`` and ``plugins``: what there is. Nothing here imports a method's code."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ias_zoo.cli.console import json_text, print_json, print_table
from ias_zoo.errors import OptionError
from ias_zoo.method import Method, Paradigm, Trains
from ias_zoo.options import describe_options, did_you_mean
from ias_zoo.registry import Entry, PluginStatus, no_plugin_allowed, registry

JsonFlag = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def list_(
    paradigm: Annotated[str | None, typer.Option(help="Only one of the survey's paradigms.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="'permissive': our code, the weights and their data all allow commercial use.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show every method: name, paradigm, group, needs, trains, state."""
    if blocked := no_plugin_allowed(registry().plugins):
        print(f"warning: {blocked}", file=sys.stderr)
    entries = registry().entries()
    if paradigm is not None:
        wanted = _paradigm(paradigm)
        entries = [entry for entry in entries if entry.method.paradigm is wanted]
    if licence is not None:
        if licence != "permissive":
            raise OptionError(f"--licence {licence!r}: expected 'permissive'")
        entries = [entry for entry in entries if entry.method.licences.permissive]
    if json:
        print_json([_entry_json(entry) for entry in entries])
        return
    rows = []
    for entry in entries:
        method = entry.method
        state = entry.state.value if not entry.hint else entry.hint
        needs = ", ".join(sorted(what.value for what in method.needs))
        rows.append([method.name, method.paradigm.value, method.group.value, needs, method.trains.value, state])
    print_table(["name", "paradigm", "group", "needs", "trains", "state"], rows)
    broken = [p for p in registry().plugins if p.status in (PluginStatus.FAILED, PluginStatus.REFUSED)]
    if broken:
        names = ", ".join(plugin.name for plugin in broken)
        print(f"\nplugins that did not load: {names} (see `ias-zoo plugins`)")


def info(method: Annotated[str, typer.Argument(help="A method's name.")], json: JsonFlag = False) -> None:
    """Show all about one method: paper, licences, needs, cost, and its options with their defaults."""
    entry = registry().find(method)
    options = describe_options(registry().options_class(method)) if entry.state.value == "ready" else []
    if json:
        listed = [{"name": o.name, "type": o.type, "default": o.default, "help": o.help} for o in options]
        print_json({**_entry_json(entry), "option_list": listed})
        return
    about = entry.method
    print(f"{about.name}: {about.title}\n{about.summary}\n")
    paper, code, cost = about.paper, about.original_code, about.cost
    facts = [
        ("paradigm", f"{about.paradigm.value} / {about.group.value}"),
        ("paper", f"{paper.authors}: {paper.title}. {paper.venue} {paper.year}" if paper else "none"),
        ("", " ".join(filter(None, (paper.arxiv and f"arXiv:{paper.arxiv}", paper.url))) if paper else ""),
        ("original code", f"{code.repository} ({code.licence})" if code else "none published"),
        ("needs", ", ".join(sorted(about.needs))),
        ("accepts", ", ".join(sorted(about.accepts)) or "nothing more"),
        ("trains", about.trains.value),
        ("base", _base(about) if about.trains is not Trains.NONE else ""),
        ("exact mask", "every pixel outside the mask is the normal's" if about.exact_mask else "no: see the card"),
        ("licence", f"code {about.licences.code}, base weights {about.licences.base_weights or 'none'}"),
        ("fidelity", f"{about.fidelity.value}: {about.fidelity_note}"),
        (
            "cost",
            f"{cost.milliseconds:g} ms and {cost.memory_mb:g} MB an image ({cost.machine})" if cost else "unmeasured",
        ),
        ("from", f"{entry.plugin.distribution} {entry.plugin.version} (plugin {entry.plugin.name})"),
        ("state", entry.hint or entry.state.value),
    ]
    for name, value in facts:
        if value:
            print(f"{name:>14}  {value}")
    if options:
        print()
        print_table(
            ["option", "default", "type", "what it is"],
            [[o.name, json_text(o.default), o.type, o.help] for o in options],
        )


def _base(method: Method) -> str:
    if method.base_stage:
        tiny = "; tiny is embedded" if method.tiny else ""
        return f"trains its own on normals: `ias-zoo fit {method.name} --stage base`{tiny}"
    return f"{method.base.repo_id}, or tiny" if method.base else "none"


def plugins(json: JsonFlag = False) -> None:
    """Show every plugin with its distribution, version, methods, status and error."""
    records = registry().plugins
    if json:
        print_json(
            [
                {
                    "name": record.name,
                    "distribution": record.distribution,
                    "version": record.version,
                    "status": record.status.value,
                    "methods": [method.name for method in record.methods],
                    "error": record.error,
                    "traceback": record.traceback,
                }
                for record in records
            ]
        )
        return
    print_table(
        ["plugin", "distribution", "version", "status", "methods", "error"],
        [
            [
                record.name,
                record.distribution,
                record.version,
                record.status.value,
                ", ".join(method.name for method in record.methods),
                record.error,
            ]
            for record in records
        ],
    )
    if any(record.traceback for record in records):
        print("\nfull tracebacks: ias-zoo plugins --json")


def _paradigm(text: str) -> Paradigm:
    try:
        return Paradigm(text)
    except ValueError:
        names = [paradigm.value for paradigm in Paradigm]
        raise OptionError(
            f"--paradigm {text!r}: expected one of {', '.join(names)}{did_you_mean(text, names)}"
        ) from None


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        **entry.method.to_dict(),
        "state": entry.state.value,
        "hint": entry.hint,
        "distribution": entry.plugin.distribution,
        "version": entry.plugin.version,
    }
