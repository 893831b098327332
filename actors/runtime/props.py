"""What all cells of one origin have in common, kept once instead of in every idle actor."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from actors.runtime.mailbox import Overflow

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.cell import Cell
    from actors.runtime.clock import Clock
    from actors.runtime.dispatcher import Dispatcher
    from actors.runtime.statistics import ActorStatistics
    from actors.runtime.system import ActorSystem

__all__ = ["UNBOUNDED", "Guardian", "Props", "Verdict"]

UNBOUNDED = 2**62


class Verdict(Enum):
    """A guardian's answer to the end of an instance."""

    KEEP = "keep"  # the cell stays, with its mailbox; the guardian will begin it again, or end it
    END = "end"  # for good


class Guardian(Protocol):
    """Who answers for a cell: the family of a supervisor, a directory, or the system for its root.

    Called on the loop thread, synchronously, from the cell's own turn.
    """

    def on_failed(self, cell: Cell, error: Exception) -> Verdict:
        """The instance crashed. Called before its `on_restart` or `on_failure` hook."""

    def on_finished(self, cell: Cell) -> Verdict:
        """The instance was asked to stop and has come to that request. Called before `on_stop`."""

    def on_started(self, cell: Cell) -> None:
        """The instance is running (not called for a first start without anything to do)."""

    def on_stopped(self, cell: Cell, error: Exception | None) -> None:
        """The cell is closed for good."""


class Props:
    """Class, limits and surroundings of the cells made from one ChildSpec or by one Directory."""

    __slots__ = (
        "actor_class",
        "capacity",
        "clock",
        "create",
        "dispatcher",
        "guardian",
        "is_virtual",
        "overflow",
        "parent",
        "redeliver_once",
        "registered",
        "revive",
        "starts_quietly",
        "statistics",
        "system",
    )

    def __init__(
        self,
        *,
        create: Callable[[Any], Actor],
        actor_class: type[Actor],
        system: ActorSystem,
        parent: Cell | None,
        guardian: Guardian,
        statistics: ActorStatistics,
        revive: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self.create = create  # called with the cell's name
        self.system = system
        self.clock: Clock = system.clock
        self.dispatcher: Dispatcher = system.dispatcher
        self.parent = parent
        self.guardian = guardian
        self.statistics = statistics
        self.revive = revive  # where a virtual actor's stale ref sends its messages: (key, item)
        self.is_virtual = revive is not None
        self.adopt(actor_class)

    def adopt(self, actor_class: type[Actor]) -> None:
        """Take over the settings an actor class declares."""
        self.actor_class = actor_class
        capacity = actor_class.mailbox_capacity
        if capacity is not None and capacity < 1:
            raise ValueError(f"{actor_class.__name__}.mailbox_capacity must be positive or None")
        self.capacity: int = UNBOUNDED if capacity is None else capacity
        self.overflow: Overflow = actor_class.mailbox_overflow
        self.redeliver_once: bool = actor_class.redeliver_once
        self.registered: bool = actor_class.registered and not self.is_virtual
        self.starts_quietly: bool = not actor_class.overrides("on_start")
