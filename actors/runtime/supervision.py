"""The supervisor: an actor whose work is its children."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.runtime.actor import Actor
from actors.runtime.family import Family
from actors.runtime.intensity import RestartIntensity
from actors.runtime.ref import ActorRef
from actors.runtime.spec import ChildSpec, Strategy

__all__ = ["Supervisor"]


class Supervisor(Actor):
    """Starts its children in order, answers their failures, stops them in reverse.

    More than `max_restarts` crashes within `window_s` seconds escalate: all children are halted and
    the supervisor itself fails, which its own supervisor answers. When it runs again, so do its
    children, those spawned later included, behind the same refs and with their mailboxes.

    Under `Strategy.ONE_FOR_ONE` children start without waiting for each other's `on_start`; under
    the other two, each one's `on_start` is through before the next begins. `stop_together` lets
    children that do not depend on each other stop at the same time instead of one after another.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 5,
        window_s: float = 60.0,
        stop_together: bool = False,
    ) -> None:
        super().__init__()
        family = self._cell.extras.family
        if family is None:
            family = self._cell.extras.family = Family(self._cell)
        family.configure(
            strategy=strategy,
            intensity=RestartIntensity(max_restarts, window_s),
            stop_together=stop_together,
        )
        for spec in specs:
            if spec.name not in family.children:
                family.add(spec)

    def spawn(self, spec: ChildSpec) -> ActorRef[Any]:
        """Start a further child. Raises Conflict if the name is taken."""
        return self.system.spawn(self.path, spec)

    def child(self, name: str) -> ActorRef[Any] | None:
        """The child of that name, if there is one."""
        return self.system.find(f"{self.path}/{name}")
