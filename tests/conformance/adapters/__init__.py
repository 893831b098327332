"""Examples of each protocol for the conformance suite.

A module has the file name of its adapter's module and defines `EXAMPLES`, messages that the
adapter takes in.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protocols.adapters import Adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterExample:
    address: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    body: bytes
    device_key: str
    source_key: str | None = None


def examples_of(adapter: type[Adapter]) -> Sequence[AdapterExample]:
    """Return the examples of `adapter`; a protocol that brings none fails its tests here."""
    name = adapter.__module__.rpartition(".")[2]
    examples: Sequence[AdapterExample] = importlib.import_module(f"{__name__}.{name}").EXAMPLES
    return examples
