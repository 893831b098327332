"""The journals that the conformance suite runs over: one module each, found by its name.

A module has `NEEDS`, the names of the fixtures that its `make_place` is called with. A place is where one
journal is kept; it can be opened again and again, as processes come and go.
"""

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from storage import Database
from storage.journal import JournalAppender, JournalListener, JournalReader


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """A journal that takes messages in and whose reader runs, assigned."""

    appender: JournalAppender
    reader: JournalReader


class JournalPlace(Protocol):
    async def prepare(self, database: Database) -> None:
        """What `tingbro migrate` does."""

    def open(
        self, database: Database, listener: JournalListener
    ) -> AbstractAsyncContextManager[OpenJournal]: ...


MakePlace = Callable[..., JournalPlace]


def discover() -> dict[str, ModuleType]:
    """Return the modules by the journals' names."""
    return {
        module.name: importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    }
