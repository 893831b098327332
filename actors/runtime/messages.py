"""Messages the runtime sends to actors, and the wrappers that travel in mailboxes.

`Terminated` and `Restarted` reach `on_receive` of whoever watches. Everything else here is seen by
the dispatcher only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

if TYPE_CHECKING:
    from actors.runtime.future import ActorFuture
    from actors.runtime.timer import Timer

__all__ = ["Restarted", "Terminated"]


@dataclass(frozen=True, slots=True)
class Terminated:
    """A watched actor has ended for good; `error` is None when it ended in an orderly way."""

    path: str
    error: Exception | None


@dataclass(frozen=True, slots=True)
class Restarted:
    """A watched actor runs again as a new instance, behind the same ref; `error` ended the old one."""

    path: str
    error: Exception | None


class Envelope:
    """A message somebody waits for an answer to."""

    __slots__ = ("message", "reply")

    def __init__(self, message: Any, reply: ActorFuture[Any]) -> None:
        self.message = message
        self.reply = reply


class TimerFired:
    """A message an actor scheduled for itself; skipped when its timer was cancelled meanwhile."""

    __slots__ = ("timer",)

    def __init__(self, timer: Timer) -> None:
        self.timer = timer


class Redelivery:
    """A message whose first handling ended in a crash."""

    __slots__ = ("crashed", "message")

    def __init__(self, message: Any, *, crashed: bool) -> None:
        self.message = message
        self.crashed = (
            crashed  # False: the handler was interrupted from outside, which is no strike
        )


class Poison:
    """A message that crashed the actor twice, on its way to `on_poison`."""

    __slots__ = ("error", "message")

    def __init__(self, message: Any, error: Exception) -> None:
        self.message = message
        self.error = error


# One membership test per message tells the plain ones from those that need a closer look.
WRAPPERS: Final = frozenset(
    {
        Envelope,
        TimerFired,
        Redelivery,
        Poison,
        _ActorStop,
        ProxyCall,
        ProxyGetAttr,
        ProxySetAttr,
    }
)


def unwrapped(item: Any) -> Any:
    """The message as its sender knows it."""
    if type(item) is TimerFired:
        return item.timer.message
    if type(item) in (Envelope, Redelivery, Poison):
        return item.message
    return item
