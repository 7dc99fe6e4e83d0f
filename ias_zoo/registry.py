"""Find plugins, keep a broken one from breaking the rest, look a name up, load a method.

pluggy aborts at the first plugin whose import or hook raises. So entry points are loaded one by one here, and each
hook implementation is called by itself: a broken plugin costs its own methods only, and ``ias-zoo plugins`` shows what
went wrong.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pluggy

from ias_zoo import hookspecs
from ias_zoo.errors import MissingDependency, NameClash, OptionError, PluginError, UnknownMethod
from ias_zoo.extras import importable
from ias_zoo.method import PLUGIN_API, Method, Trains
from ias_zoo.options import build_options, did_you_mean
from ias_zoo.synthesizer import PluginId, Setup

ALLOW_LIST = "IAS_ZOO_PLUGINS"


class PluginStatus(StrEnum):
    """What became of a plugin."""

    OK = "ok"
    FAILED = "failed"  # its import or its hook raised, or gave something else than methods
    REFUSED = "refused"  # it speaks another plugin_api
    BLOCKED = "blocked"  # not in the allow-list; not imported


class State(StrEnum):
    """Whether a method can be loaded here."""

    READY = "ready"
    NEEDS_INSTALL = "needs install"  # a package that it requires, or the plugin itself, is missing
    CLASH = "clash"  # another plugin claims the name


@dataclass(frozen=True)
class PluginRecord:
    """One entry point of the group ``ias_zoo``: where it is from and what became of it."""

    name: str
    distribution: str
    version: str
    status: PluginStatus
    methods: tuple[Method, ...] = ()
    refused: tuple[str, ...] = ()
    error: str = ""
    traceback: str = ""

    @property
    def id(self) -> PluginId:
        """The part of it that recipes record."""
        return PluginId(name=self.name, distribution=self.distribution, version=self.version)


@dataclass(frozen=True)
class Entry:
    """A method together with the plugin that offers it and its state in this environment."""

    method: Method
    plugin: PluginRecord
    state: State
    hint: str = ""

    @property
    def qualified_name(self) -> str:
        """``distribution:name``, which is never ambiguous."""
        return f"{self.plugin.distribution}:{self.method.name}"


class Registry:
    """The methods of one environment. Use :func:`registry` for the one of this process."""

    def __init__(self, plugins: Iterable[PluginRecord]) -> None:
        self.plugins = tuple(plugins)
        self._by_name: dict[str, list[Entry]] = {}
        self._by_alias: dict[str, list[Entry]] = {}
        for plugin in self.plugins:
            for method in plugin.methods:
                state, hint = _state(method)
                self._by_name.setdefault(method.name, []).append(Entry(method, plugin, state, hint))
        for name, entries in self._by_name.items():
            self._by_name[name] = _mark_clashes(name, entries)
        for entry in self.entries():
            for alias in entry.method.aliases:
                self._by_alias.setdefault(alias, []).append(entry)

    @classmethod
    def discover(cls, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> Registry:
        """Import every allowed plugin of the environment and ask it for its methods."""
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)
        allowed = _allow_list()
        # A distribution found twice on sys.path lists its entry points twice; sorted, for one order everywhere.
        unique = {(_distribution(point)[0], point.name, point.value): point for point in entry_points}
        return cls(_load_plugin(point, allowed) for _, point in sorted(unique.items()))

    def entries(self) -> list[Entry]:
        """Every method, sorted by name."""
        return [entry for name in sorted(self._by_name) for entry in self._by_name[name]]

    def find(self, name: str) -> Entry:
        """Look up a name, an alias, or ``distribution:name``.

        Raises
        ------
        UnknownMethod
            With the nearest known name.
        NameClash
            Naming every plugin that claims the name.
        """
        if not isinstance(name, str):
            raise UnknownMethod(f"a method's name is a text, not {name!r}; `ias-zoo list` shows all")
        distribution, _, short = name.rpartition(":")
        wanted = short.strip().lower().replace("-", "_")
        found = self._by_name.get(wanted) or self._by_alias.get(wanted) or []
        if distribution:
            found = [entry for entry in found if _same_distribution(entry.plugin.distribution, distribution)]
        if not found:
            for plugin in self.plugins:
                if wanted in plugin.refused:
                    raise PluginError(f"{plugin.distribution}:{wanted} was refused: {plugin.error}")
            raise UnknownMethod(self._unknown(name, wanted))
        if len(found) > 1:
            claims = " or ".join(f"{entry.qualified_name!r}" for entry in found)
            raise NameClash(f"{len(found)} plugins claim the name {name!r}: write {claims} to pick one")
        return found[0]

    def load(
        self,
        name: str,
        weights: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        base: str | os.PathLike[str] | None = None,
        device: str = "auto",
        dtype: str | None = None,
        **options: Any,
    ) -> Any:
        """See :func:`ias_zoo.load`."""
        entry = self.find(name)
        method = entry.method
        if entry.state is State.NEEDS_INSTALL:
            raise MissingDependency(f"{method.name} {entry.hint}")
        if method.trains is Trains.NONE:
            for what, given in (("weights", weights), ("revision", revision), ("base", base)):
                if given is not None:
                    raise OptionError(f"{method.name} is not trained and takes no {what}; {what}={given!r} was given")
        setup = Setup(
            method=method,
            plugin=entry.plugin.id,
            options=build_options(self.options_class(name), options, method=method.name),
            weights=weights,
            revision=revision,
            base=base,
            device=device,
            dtype=dtype,
            given=frozenset(options),
        )
        return _import_target(method.implementation, entry)(setup)

    def options_class(self, name: str) -> type:
        """The options dataclass of a method."""
        entry = self.find(name)
        found = _import_target(entry.method.options, entry)
        if not isinstance(found, type):
            raise PluginError(f"{entry.qualified_name}: {entry.method.options} is not a class")
        return found

    def _unknown(self, name: str, wanted: str) -> str:
        known = {*self._by_name, *self._by_alias}
        if blocked := no_plugin_allowed(self.plugins):
            return f"unknown method {name!r}: {blocked}"
        broken = [plugin.name for plugin in self.plugins if plugin.status is not PluginStatus.OK]
        note = f" (plugins that did not load: {', '.join(broken)}; see `ias-zoo plugins`)" if broken else ""
        return f"unknown method {name!r}{did_you_mean(wanted, known)}; `ias-zoo list` shows all{note}"


@functools.cache
def registry() -> Registry:
    """The registry of this process, discovered on first use."""
    return Registry.discover()


def list_methods() -> list[Method]:
    """Every method of the installed plugins, sorted by name."""
    return [entry.method for entry in registry().entries()]


def info(name: str) -> Method:
    """What its plugin says about one method.

    Raises
    ------
    UnknownMethod, NameClash
    """
    return registry().find(name).method


def load(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    base: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    **options: Any,
) -> Any:
    """Load a method, ready to work.

    Parameters
    ----------
    name:
        A method's name or alias; ``"distribution:name"`` where two plugins claim one name.
    weights, revision:
        A weights folder, or a Hub repository and its revision, for methods that are trained.
    base:
        Another pretrained model of the same architecture, for methods that start from one.
    device, dtype:
        Where to run and in which precision; ``"auto"`` takes the best there is.
    **options:
        The method's hyper-parameters; ``ias-zoo info NAME`` lists them. Their defaults are the paper's.

    Returns
    -------
    A :class:`~ias_zoo.Synthesizer` (or a :class:`~ias_zoo.FeatureSynthesizer`).

    Raises
    ------
    UnknownMethod, NameClash, MissingDependency, OptionError, PluginError
    """
    return registry().load(name, weights, revision=revision, base=base, device=device, dtype=dtype, **options)


def _allow_list() -> frozenset[str] | None:
    value = os.environ.get(ALLOW_LIST)
    return None if value is None else frozenset(part.strip() for part in value.split(",") if part.strip())


def no_plugin_allowed(plugins: Iterable[PluginRecord]) -> str:
    """What to say where the environment's allow-list leaves no plugin of those installed; else nothing."""
    records = list(plugins)
    if not records or any(record.status is not PluginStatus.BLOCKED for record in records):
        return ""
    names = ", ".join(sorted({record.name for record in records}))
    value = os.environ.get(ALLOW_LIST, "")
    return f"{ALLOW_LIST}={value} matches no installed plugin; installed are {names}. Name some, or unset it"


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    dist = getattr(point, "dist", None)
    return (dist.name, dist.version) if dist is not None else ("unknown", "0")


def _same_distribution(one: str, other: str) -> bool:
    return one.lower().replace("-", "_") == other.lower().replace("-", "_")


def _load_plugin(point: importlib.metadata.EntryPoint, allowed: frozenset[str] | None) -> PluginRecord:
    distribution, version = _distribution(point)
    record = PluginRecord(point.name, distribution, version, PluginStatus.OK)
    if allowed is not None and not allowed & {point.name, distribution}:
        return replace(record, status=PluginStatus.BLOCKED, error=f"not in {ALLOW_LIST}")
    try:
        manager = pluggy.PluginManager(hookspecs.PROJECT)  # one a plugin: pluggy then calls this hook alone
        manager.add_hookspecs(hookspecs)
        manager.register(point.load(), name=point.name)
        manager.check_pending()  # a misspelt hook name is an error, not an empty plugin
        answers = manager.hook.ias_zoo_methods()
        methods = tuple(method for answer in answers for method in answer)
        for method in methods:
            if not isinstance(method, Method):
                raise TypeError(f"ias_zoo_methods gave {method!r}: expected ias_zoo.Method objects")
        names = [method.name for method in methods]
        if len(set(names)) < len(names):
            raise ValueError(f"ias_zoo_methods gave one name twice: {sorted(names)}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module raises costs that plugin only
        return replace(record, status=PluginStatus.FAILED, error=_one_line(error), traceback=traceback.format_exc())
    newer = sorted({method.plugin_api for method in methods} - {PLUGIN_API})
    if newer:
        words = f"written for plugin_api {newer[-1]}; this ias-zoo speaks {PLUGIN_API}: install matching versions"
        return replace(record, status=PluginStatus.REFUSED, refused=tuple(names), error=words)
    return replace(record, methods=methods)


def _state(method: Method) -> tuple[State, str]:
    roots = (method.implementation.partition(":")[0].partition(".")[0], *method.requires)
    missing = [root for root in roots if not importable(root)]
    if not missing:
        return State.READY, ""
    install = method.install or f"pip install {' '.join(missing)}"
    return State.NEEDS_INSTALL, f"needs {', '.join(missing)}: {install}"


def _mark_clashes(name: str, entries: list[Entry]) -> list[Entry]:
    """Flag the entries that share a name. One that only points at a plugin to install yields to the real ones."""
    ready = [entry for entry in entries if entry.state is State.READY]
    if ready and len(ready) < len(entries):
        entries = ready
    if len(entries) == 1:
        return entries
    who = " and ".join(repr(entry.qualified_name) for entry in entries)
    return [replace(entry, state=State.CLASH, hint=f"claimed by {who}") for entry in entries]


def _import_target(target: str, entry: Entry) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        install = entry.method.install
        remedy = f": {install}" if install else "; see `ias-zoo plugins`"
        raise MissingDependency(f"{entry.qualified_name} cannot be imported ({_one_line(error)}){remedy}") from error
    except Exception as error:
        raise PluginError(f"{entry.qualified_name}: importing {module_name} failed: {_one_line(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise PluginError(f"{entry.qualified_name}: {module_name} has no {attribute!r}") from None


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
