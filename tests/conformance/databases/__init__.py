"""The database engines that the conformance suite runs over: one module each, found by its name.

A module has `database_url(request)`, which returns the URL of a new, empty database and sees to it
that it is gone after the test.
"""

import importlib
import pkgutil
from collections.abc import Callable

import pytest

DatabaseUrl = Callable[[pytest.FixtureRequest], str]


def discover() -> dict[str, DatabaseUrl]:
    """Return how to make a database, by the engine's name."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}").database_url
        for module in pkgutil.iter_modules(__path__)
    }
