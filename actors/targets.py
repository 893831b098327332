"""The actors of the data targets: one child each below `/hub/targets`."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from actors import paths
from actors.messages import DeliveriesCreated, Tick
from actors.runtime import ActorSystem, ChildSpec
from actors.target import TargetActor
from protocols.messages import TargetId
from protocols.targets import Target
from storage.outbox import Outbox, OutboxItem


class TargetRoster:
    """Knows which data targets have an actor; owned by the loop."""

    def __init__(
        self,
        system: ActorSystem,
        *,
        outbox: Outbox,
        open_target: Callable[[TargetId], Awaitable[Target]],
    ) -> None:
        self._system = system
        self._outbox = outbox
        self._open_target = open_target
        # Two changes at once: the one that has read the older list must not act on it last.
        self._reconciling = asyncio.Lock()

    def start(self, target_id: TargetId) -> None:
        """Start the actor of a target; it goes on with what the outbox holds for it."""
        self._system.spawn(
            paths.TARGETS,
            ChildSpec(
                str(target_id),
                TargetActor,
                (target_id,),
                {"outbox": self._outbox, "open_target": self._open_target},
            ),
        )

    async def reconcile(
        self,
        read_ids: Callable[[], Awaitable[Collection[TargetId]]],
        *,
        changed: TargetId | None,
    ) -> None:
        """Make the actors those of the targets there are, and replace that of the one `changed`.

        `read_ids` says which there are; one change after the other asks it. What waits for a
        target that is gone is left to housekeeping.
        """
        async with self._reconciling:
            await self._reconcile(set(await read_ids()), changed)

    async def _reconcile(self, target_ids: set[TargetId], changed: TargetId | None) -> None:
        running = {
            TargetId(int(ref.path.rpartition("/")[2]))
            for ref in self._system.children(paths.TARGETS)
        }
        leaving = running - target_ids
        if changed is not None and changed in running:
            leaving.add(changed)
        # All at once: each may take seconds to let what is in flight come to its end.
        await asyncio.gather(
            *(self._system.stop_child(paths.target_path(target_id)) for target_id in leaving)
        )
        if changed is not None and changed in running & target_ids:
            self.start(changed)
        for target_id in target_ids - running:
            self.start(target_id)

    def deliver(self, items: list[OutboxItem]) -> None:
        """Tell each target what was made for it; a target without an actor has it in the outbox."""
        by_target: dict[TargetId, list[OutboxItem]] = {}
        for item in items:
            by_target.setdefault(item.target_id, []).append(item)
        for target_id, of_target in by_target.items():
            target = self._system.find(paths.target_path(target_id))
            if target is not None:
                target.tell(DeliveriesCreated(of_target))

    def look_again(self) -> None:
        """Have every target read its outbox: something may be in it that nobody was told of."""
        for ref in self._system.children(paths.TARGETS):
            ref.tell(Tick())
