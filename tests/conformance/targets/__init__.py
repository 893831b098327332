"""What the conformance suite needs to know of each kind of target: one harness per kind.

A harness module has the file name of its target's module and defines `harness`, a function that
returns an async context manager over a `TargetHarness`. It may define `NEEDS`, the names of the fixtures
that `harness` is called with.
"""

import importlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from protocols.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPush:
    delivery_id: str
    message_id: str
    body: bytes


def some_json(number: int) -> bytes:
    """Return a body that no parser and writer of JSON would leave as it is."""
    return b'{"n": %d, "t": 1.50,\n "b": "\xc3\xa6"}' % number


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHarness:
    """A running receiver of one kind, and how to make it misbehave."""

    settings: Mapping[str, object]
    """Reach the receiver, hold a secret, and allow it little more than it needs: every fault takes so long."""

    secret: str
    received: Callable[[], list[ReceivedPush]]
    """Everything that arrived, repeats included, in order."""

    wait_for: Callable[[int], Awaitable[None]]
    """Returns when so many have arrived in all."""

    make_body: Callable[[int], bytes] = some_json
    """A body that the receiver takes, another for each number."""

    faults: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """Each makes the receiver fail every delivery until `heal`."""

    heal: Callable[[], Awaitable[None]]


def harness_of(
    target: type[Target], fixture: Callable[[str], object]
) -> AbstractAsyncContextManager[TargetHarness]:
    """Return the harness for `target`; a kind that brings none fails its tests here.

    Args:
        fixture: returns the fixture of a name.
    """
    name = target.__module__.rpartition(".")[2]
    module = importlib.import_module(f"{__name__}.{name}")
    needs = {need: fixture(need) for need in getattr(module, "NEEDS", ())}
    made: AbstractAsyncContextManager[TargetHarness] = module.harness(**needs)
    return made
