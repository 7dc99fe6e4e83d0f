"""What an optional part of the zoo needs beyond its core, said before it is needed."""

from __future__ import annotations

import importlib.util

from ias_zoo.errors import MissingDependency


def importable(root: str) -> bool:
    """Whether a top-level module is installed, without importing it."""
    try:
        return importlib.util.find_spec(root) is not None
    except (ImportError, ValueError):
        return False


def require(what: str, extra: str, *modules: str) -> None:
    """Refuse, with the command that helps, when a module is not installed.

    Raises
    ------
    MissingDependency
    """
    missing = [module for module in modules if not importable(module)]
    if missing:
        raise MissingDependency(f"{what} needs {', '.join(missing)}: pip install 'ias-zoo[{extra}]'")
