"""The database engines that the conformance suite runs over: one module each, found by its name.

A module has `database_url(directory)`, which returns the URL of a new, empty database.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

DatabaseUrl = Callable[[Path], str]


def discover() -> dict[str, DatabaseUrl]:
    """Return how to make a database, by the engine's name."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}").database_url
        for module in pkgutil.iter_modules(__path__)
    }
