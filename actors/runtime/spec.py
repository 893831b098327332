"""How a child is described to its supervisor."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from actors.runtime.backoff import Backoff
from protocols.errors import ConnectionLost, StorageUnavailable

if TYPE_CHECKING:
    from actors.runtime.actor import Actor

__all__ = ["EXPECTED", "ChildSpec", "Restart", "Strategy"]

# Something else is away, and the actor can do nothing about it.
EXPECTED: tuple[type[Exception], ...] = (ConnectionLost, StorageUnavailable)


class Strategy(StrEnum):
    """Which children start anew when one fails."""

    ONE_FOR_ONE = "one_for_one"  # that one
    REST_FOR_ONE = "rest_for_one"  # that one and those started after it
    ONE_FOR_ALL = "one_for_all"  # all


class Restart(StrEnum):
    """Which ends of a child its supervisor answers with a restart."""

    PERMANENT = "permanent"  # every end
    TRANSIENT = "transient"  # crashes
    TEMPORARY = "temporary"  # none; it is then forgotten


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What a supervisor needs to start a child, again and again.

    `args` and `kwargs` are shared by all instances: do not pass what one instance would change.
    An exception of a class in `expected` is an expected failure: back-off, no count towards the
    restart intensity. After `shutdown_timeout_s` of stopping, the child's handler is cancelled.
    """

    name: str
    actor_class: type[Actor]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    restart: Restart = Restart.PERMANENT
    backoff: Backoff = field(default_factory=Backoff)
    expected: tuple[type[Exception], ...] = EXPECTED
    shutdown_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise ValueError(f"{self.name!r} cannot be a part of an actor's path")
