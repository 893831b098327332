"""How an actor handles what does not lie bare in its mailbox: asks, timers, proxies, redeliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

from actors.runtime import lifecycle
from actors.runtime.messages import Envelope, Poison, Redelivery, TimerFired

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.cell import Cell

__all__ = ["handle_wrapped"]

_PROXIED = (ProxyCall, ProxyGetAttr, ProxySetAttr)


def handle_wrapped(cell: Cell, actor: Actor, item: Any) -> Any:
    """Handle `item`; what has to be awaited is returned, and only then is a reply still open."""
    if type(item) is Envelope:
        result = _handle_bare(cell, actor, item.message)
        if lifecycle.must_be_awaited(result):
            return result
        item.reply.answer(result)
        return None
    if type(item) is TimerFired:
        return actor.on_receive(item.timer.message) if item.timer.take() else None
    if type(item) is Redelivery:
        return actor.on_receive(item.message)
    if type(item) is Poison:
        return actor.on_poison(item.message, item.error)
    return _handle_bare(cell, actor, item)


def _handle_bare(cell: Cell, actor: Actor, message: Any) -> Any:
    if type(message) is _ActorStop:
        return lifecycle.finish(cell)
    if isinstance(message, _PROXIED):
        return actor.handle_proxied(message)
    return actor.on_receive(message)
