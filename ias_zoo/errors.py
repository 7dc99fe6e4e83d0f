"""Every error that the zoo raises on purpose.

::

    IasZooError
    ├── UnknownMethod        no plugin offers that name
    ├── PluginError          a plugin could not be imported, refused, or broke its contract
    │   └── NameClash        two plugins claim one name
    ├── MissingDependency    the method is known, a package it needs is not installed
    ├── OptionError          an option's name or value is wrong
    ├── RequestError         a request lacks what the method needs, or has what it cannot use
    ├── DataError            a picture, mask, manifest or folder of the user's cannot be used
    ├── WeightsError         a weights folder cannot be used
    ├── NotFitted            the method has to be trained first
    ├── TrainingError        a training run cannot go on (its loss is no longer a number)
    └── RunError             a generation run cannot start or go on (folder, disk, workers)

A message says what was given, what was expected and, where there is one, the next thing to type. The command line
prints it as one line.
"""

from __future__ import annotations


class IasZooError(Exception):
    """Root of the tree; ``except IasZooError`` catches all that the zoo raises on purpose."""


class UnknownMethod(IasZooError, LookupError):
    """No installed plugin offers a method of that name."""


class PluginError(IasZooError):
    """A plugin could not be imported, was refused, or broke its contract."""


class NameClash(PluginError):
    """Two plugins claim one name; ``distribution:name`` picks one."""


class MissingDependency(IasZooError, ImportError):
    """The method is listed, but a package that it needs is not installed."""


class OptionError(IasZooError, ValueError):
    """An option has an unknown name, a value of the wrong type, or one out of range."""


class RequestError(IasZooError, ValueError):
    """A request lacks what the method needs, or carries what it cannot use."""


class DataError(IasZooError):
    """A picture, a mask, a manifest or a folder of the user's cannot be used."""


class WeightsError(IasZooError):
    """A weights folder or repository cannot be used."""


class NotFitted(IasZooError):
    """The method has to be fitted, or given weights, before it can make samples."""


class NotDecodable(IasZooError):
    """The method perturbs features and cannot turn them into a picture."""


class TrainingError(IasZooError):
    """A training run cannot go on: its loss is no longer a number."""


class RunError(IasZooError):
    """A generation run cannot start or go on: its folder, its disk, its workers."""
