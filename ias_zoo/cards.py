"""The card of a weights folder: the README that people and the Hub's search read.

The Hub reads the YAML at the top: ``library_name``, ``base_model`` and the tags make a repository findable by method.
The rest is for people, from what the plugin says about the method and what the run measured. Names of the machine's
folders and tokens never get in: a path is cut to its last part, a token to a word.
"""

from __future__ import annotations

import html
import importlib
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ias_zoo.errors import PluginError, WeightsError
from ias_zoo.hub.manifest import TOKEN, why_unsafe
from ias_zoo.method import Input, Method, Produces, Trains
from ias_zoo.options import describe_options

if TYPE_CHECKING:
    from ias_zoo.hub.manifest import Manifest

# The licence ids that the Hub knows, of those that weights and their bases come under; any other is "other" + a name.
_HUB_LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "unlicense", "cc0-1.0", "cc-by-4.0",
        "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "agpl-3.0",
        "lgpl-3.0", "mpl-2.0", "openrail", "creativeml-openrail-m", "openrail++",
    }
)  # fmt: skip
# A path from the root of a machine or from somebody's home; no URL, for that has a colon or a letter before its slash.
_PATH = re.compile(r"(?<![\w./:\\])(?:~?(?:/[^\s/|,;]+){2,}|~/\S+|[A-Za-z]:\\\S+)")
_SHOWN_FILES = 50


def make_card(method: Method, manifest: Manifest, *, body: str | None = None, pictures: Sequence[str] = ()) -> str:
    """Write the card of a weights folder.

    Parameters
    ----------
    method:
        What the plugin says about the method.
    manifest:
        What the run was; ``files`` is not looked at.
    body:
        The method's own card (Markdown), put at the end.
    pictures:
        Names of pictures in the folder, shown under the title.

    Returns
    -------
    Markdown with YAML front matter.

    Raises
    ------
    WeightsError
        When a picture's name is no safe name inside the folder.
    """
    for picture in pictures:
        reason = why_unsafe(picture)
        if reason:
            raise WeightsError(f"picture {picture!r} {reason}")
    defect = manifest.defects[0] if len(manifest.defects) == 1 else None
    call = ', normals="good_parts/"' if Input.NORMALS in method.needs else ""
    call += f", defect={defect!r}" if defect and method.uses(Input.DEFECT) else ""
    parts = [
        f"# {_text(method.title)}: weights for industrial anomaly synthesis",
        _text(method.summary),
        *(f"![samples](<{picture}>)" for picture in pictures),
        "## Use",
        "`org/name` is this repository, or the folder that it was pulled to.",
        f'```python\nimport ias_zoo\nsamples = ias_zoo.load("{manifest.method}", "org/name").generate(100{call})\n```',
        "## What it is",
        _table(("", ""), _about(method, manifest)),
        "## Trained on",
        f"Defects: {', '.join(map(_text, manifest.defects)) or 'none named'}. "
        f"Training files: {len(manifest.training_files)}.",
        _files(manifest.training_files),
        "## Options",
        _options(method, manifest.options),
    ]
    if manifest.facts:
        parts += ["## Measured", _table(("what", "value"), _rows(manifest.facts))]
    if body:
        parts += ["## The method", _no_tokens(body.strip())]
    return f"---\n{_front_matter(method, manifest)}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def method_card(method: Method) -> str | None:
    """The method's own card, to be put into another: its headings two levels down, its local pictures left out.

    Raises
    ------
    PluginError
        If the record names a file that is not there.
    """
    if method.card is None:
        return None
    package, _, name = method.card.partition(":")
    try:
        text = importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")
    except (OSError, ModuleNotFoundError, TypeError) as error:
        raise PluginError(f"{method.name}: its card {method.card!r} cannot be read ({error})") from error
    text = re.sub(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\s*$", "", text, flags=re.MULTILINE)
    return re.sub(r"^(#+ )", r"##\1", text, flags=re.MULTILINE).strip()


def _front_matter(method: Method, manifest: Manifest) -> str:
    from huggingface_hub import ModelCardData

    known = manifest.licence.lower() in _HUB_LICENCES
    data = ModelCardData(
        library_name="ias_zoo",
        license=manifest.licence.lower() if known else "other",
        license_name=None if known else re.sub(r"[^a-z0-9.+-]+", "-", manifest.licence.lower()).strip("-"),
        base_model=manifest.base if _on_hub(manifest.base) else None,
        pipeline_tag=_pipeline_tag(method),
        tags=["ias_zoo", "anomaly-synthesis", "industrial-inspection", method.name, method.paradigm.value],
        base_model_relation=_relation(method) if _on_hub(manifest.base) else None,
    )
    return data.to_yaml().strip()


def _on_hub(base: str | None) -> bool:
    return base is not None and "/" in base


def _relation(method: Method) -> str:
    return "adapter" if method.trains is Trains.ADAPTER else "finetune"


def _pipeline_tag(method: Method) -> str | None:
    if method.produces is not Produces.IMAGE:
        return None
    if Input.NORMALS in method.needs:
        return "image-to-image"
    return "text-to-image" if Input.PROMPT in method.needs else "unconditional-image-generation"


def _about(method: Method, manifest: Manifest) -> list[tuple[str, str]]:
    rows = [
        ("method", f"`{method.name}` ({method.paradigm.value}, {method.group.value})"),
        ("fidelity to the paper", f"{method.fidelity.value}: {method.fidelity_note}"),
        ("made by", f"{manifest.distribution} {manifest.plugin_version}, ias_zoo {manifest.zoo_version}"),
        ("licence of these weights", manifest.licence),
    ]
    if method.paper is not None:
        paper = method.paper
        where = paper.url or (f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else "")
        rows.insert(1, ("paper", f"{paper.authors}: {paper.title}. {paper.venue} {paper.year}. {where}".strip()))
    if manifest.base is not None:
        revision = f" at {manifest.base_revision}" if manifest.base_revision else ""
        own = method.base is not None and method.base.repo_id == manifest.base
        licence = (method.licences.base_weights if own else None) or "see its own card"
        rows += [("base", manifest.base + revision), ("licence of the base", licence)]
    return rows


def _options(method: Method, options: Mapping[str, Any]) -> str:
    module, _, name = method.options.partition(":")
    defaults = {
        option.name: option.default for option in describe_options(getattr(importlib.import_module(module), name))
    }
    changed = {key: value for key, value in options.items() if key not in defaults or defaults[key] != value}
    if not changed:
        return "All at their defaults."
    rows = [(key, _value(value), _value(defaults.get(key))) for key, value in sorted(changed.items())]
    return "All others are at their defaults.\n\n" + _table(("option", "here", "default"), rows)


def _files(files: Mapping[str, str]) -> str:
    if not files:
        return ""
    shown = sorted(files.items())[:_SHOWN_FILES]
    more = len(files) - len(shown)
    table = _table(("file", "sha256"), [(name, f"`{digest}`") for name, digest in shown])
    return table + (f"\n\n... and {more} more in `ias_zoo.json`." if more else "")


def _rows(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        rows += _rows(value, f"{name}: ") if isinstance(value, Mapping) else [(name, _value(value))]
    return rows


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return "" if value is None else str(value)


def _text(value: str) -> str:
    """Make text safe inside a line or a table's cell of Markdown, and fit to be published."""
    public = _PATH.sub(lambda path: re.split(r"[/\\]", path[0])[-1], _no_tokens(" ".join(value.split())))
    return html.escape(public, quote=False).replace("|", "\\|")


def _no_tokens(text: str) -> str:
    return TOKEN.sub("(token)", text)
