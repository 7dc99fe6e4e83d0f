"""A plugin that cannot be imported."""

raise RuntimeError("this plugin's import is broken on purpose")
