"""What operators see of an actor, and what the whole tree amounts to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors.runtime.props import UNBOUNDED
from actors.runtime.state import ActorState

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.child import Child
    from actors.runtime.directory import Directory

__all__ = ["ActorInfo", "Health", "inspect_cell", "judge"]

# A directory may have a million active actors; the tree lists only these many of those in trouble.
_MAX_VIRTUAL_LISTED: Final = 50
_STALL_REMEMBERED_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorInfo:
    """One actor at one moment. Times are handling times per message, in seconds."""

    path: str
    actor_class: str
    state: ActorState
    since: datetime
    restarts: int = 0
    last_error: str | None = None
    last_error_at: datetime | None = None
    is_expected_down: bool = False
    next_start_at: datetime | None = None
    mailbox_length: int = 0
    mailbox_capacity: int | None = None
    oldest_age_s: float | None = None
    handled: int = 0
    dropped: int = 0
    refused: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    slow_handlers: int = 0
    last_stall_at: datetime | None = None
    active: int | None = None
    children: tuple[ActorInfo, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values only; instants as ISO 8601 in UTC, durations to the microsecond."""
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, datetime):
                value = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            elif isinstance(value, float):
                value = round(value, 6)
            elif isinstance(value, ActorState):
                value = value.value
            fields[field.name] = value
        fields["children"] = [child.to_json() for child in self.children]
        return fields


def inspect_cell(cell: Cell, child: Child | None, *, deep: bool = True) -> ActorInfo:
    """Describe a supervised actor and, if `deep`, everything below it."""
    props = cell.props
    statistics = props.statistics
    directory = cell.extras.directory if cell.has_extras else None
    return ActorInfo(
        path=cell.path,
        actor_class=props.actor_class.__name__,
        state=cell.state,
        since=statistics.since,
        restarts=statistics.restarts,
        last_error=statistics.last_error,
        last_error_at=statistics.last_error_at,
        is_expected_down=child is not None and child.is_expected_down,
        next_start_at=child.next_start_at if child is not None else None,
        mailbox_length=cell.length,
        mailbox_capacity=None if props.capacity == UNBOUNDED else props.capacity,
        oldest_age_s=_oldest_age_s(cell),
        handled=statistics.handled,
        dropped=statistics.dropped,
        refused=statistics.refused,
        p50_s=statistics.percentile_s(0.50),
        p99_s=statistics.percentile_s(0.99),
        slow_handlers=statistics.slow_handlers,
        last_stall_at=statistics.last_stall_at,
        active=directory.active if directory is not None else None,
        children=_children(cell, directory) if deep else (),
    )


def inspect_virtual(cell: Cell, directory: Directory[Any]) -> ActorInfo:
    """Describe an active virtual actor. What is counted per directory is not repeated here."""
    props = cell.props
    failure = directory.failure_of(cell.name)
    return ActorInfo(
        path=cell.path,
        actor_class=props.actor_class.__name__,
        state=cell.state,
        since=failure.at if failure is not None else props.statistics.since,
        restarts=failure.count if failure is not None else 0,
        last_error=repr(failure.error) if failure is not None else None,
        last_error_at=failure.at if failure is not None else None,
        is_expected_down=failure is not None and failure.is_expected,
        next_start_at=failure.next_start_at if failure is not None else None,
        mailbox_length=cell.length,
        mailbox_capacity=None if props.capacity == UNBOUNDED else props.capacity,
        oldest_age_s=_oldest_age_s(cell),
    )


def _oldest_age_s(cell: Cell) -> float | None:
    """The age of the mailbox's head, at least: exact to one pass through the mailbox."""
    if not cell.length:
        return None
    return max(0.0, cell.props.dispatcher.monotonic() - cell.touched_s)


def _children(cell: Cell, directory: Directory[Any] | None) -> tuple[ActorInfo, ...]:
    if directory is not None:
        down = directory.down_cells(_MAX_VIRTUAL_LISTED)
        return tuple(inspect_virtual(each, directory) for each in down)
    family = cell.extras.family if cell.has_extras else None
    if family is None:
        return ()
    return tuple(inspect_cell(each.cell, each) for each in family.children.values())


class Health(NamedTuple):
    """The verdict on a tree."""

    ok: bool
    worst: ActorInfo | None
    reason: str


def judge(root: ActorInfo, now: datetime) -> Health:
    """Find the one actor that says most about the tree.

    A crashed actor makes the tree unhealthy until it runs again. An expected outage (a broker that
    is away) is named, but is no fault of this process.
    """
    worst, severity, reason = root, 0, "every actor runs"
    pending = [root]
    while pending:
        info = pending.pop()
        pending.extend(info.children)
        found, why = _severity(info, now)
        # A supervisor is down because of a child, or takes its children along: name the deepest.
        if found > severity or (found == severity > 0 and len(info.path) > len(worst.path)):
            worst, severity, reason = info, found, f"{info.path} {why}"
    return Health(severity < _UNHEALTHY, worst if severity else None, reason)


_UNHEALTHY: Final = 3


def _severity(info: ActorInfo, now: datetime) -> tuple[int, str]:
    error = info.last_error or "no error known"
    if info.state is ActorState.FAILED:
        return 4, f"has failed: {error}"
    if info.state is ActorState.BACKING_OFF and not info.is_expected_down:
        return 3, f"crashed and will be restarted: {error}"
    stalled_at = info.last_stall_at
    if stalled_at is not None and (now - stalled_at).total_seconds() < _STALL_REMEMBERED_S:
        return 2, "held up all actors for more than a second"
    if info.state is ActorState.BACKING_OFF:
        return 2, f"waits to be restarted: {error}"
    if info.state is ActorState.STARTING:
        return 1, "is starting"
    return 0, ""
