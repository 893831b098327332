"""The actors of the data targets: one child each below `/hub/targets`, for those owned here.

In a hub of several processes a target is owned by one of them, and devices are divided among them
by the partitions of the journal. So most deliveries of a target are put into the outbox by other
processes than the one that sends them, and each device's by one process at a time. Why the
deliveries of a device keep their order all the same:

* A process commits the results of a device in their order, so that whoever reads the outbox finds
  no delivery of a device without those before it. What a read brings is in order.
* Besides reading, a target's actor is *told* of deliveries: of those alone that were committed in
  its own process. It adds them behind what it holds, unless it has yet to read, or is just reading
  (see `TargetActor`). That is in order as long as it has read all that other processes committed for
  the same devices before.
* So when partitions are assigned to this process, `look_again` comes before anything of them is told:
  every actor takes its cache for incomplete from that moment, and believes it again only
  after a read that began later. The partitions were claimed before, and nothing can be committed
  under earlier claims, so that this read sees all of it.
* When partitions go to another process, what was told here of their devices stands in the cache
  already or will be read, and what the other commits is read behind it. A read that happens to
  bring what is also told brings it once: the cache knows what it holds.
* An actor that takes a target up reads first. Its lease was granted before, and under the lease
  before nothing can be recorded any more, so that it sees each delivery in its last state.
* `look`, after a wake-up, only has an actor read sooner. No order depends on it.

An actor that is just starting, or in back-off because its target cannot be opened, is told nothing: it reads
the outbox when it has started, and until then all that it was told would pile up in its mailbox.
"""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from pykka import ActorDeadError

from actors import paths
from actors.delivery.target import OpenTarget, TargetActor
from actors.messages import DeliveriesCreated, DeliveriesWithdrawn, LookIntoOutbox, Tick
from actors.ownership import Keeper, Tenure
from actors.runtime import ActorRef, ActorSystem, ChildSpec
from protocols.errors import NotFound
from protocols.messages import DeliveryId, TargetId
from storage.delivery.outbox import Outbox, OutboxItem
from storage.target_settings import TargetSettings

# Recording outcomes and closing the target, after what is in flight has come to its end.
_STOP_S = 5.0


class TargetRoster(Keeper):
    """Knows which data targets have an actor here; owned by the loop."""

    kind: ClassVar = "target"
    asks_before_acting: ClassVar = True

    def __init__(
        self,
        system: ActorSystem,
        *,
        outbox: Outbox,
        settings: TargetSettings,
        open_target: OpenTarget,
        wake_elsewhere: Callable[[Collection[TargetId]], None] = lambda _target_ids: None,
    ) -> None:
        """`wake_elsewhere` is called with the targets that have no actor here and were made
        deliveries for; it must only tell."""
        self._system = system
        self._outbox = outbox
        self._settings = settings
        self._open_target = open_target
        self._wake_elsewhere = wake_elsewhere

    async def wanted(self) -> Collection[str]:
        return [target_name(target_id) for target_id in await self._settings.ids()]

    def take_up(self, name: str, tenure: Tenure) -> None:
        """Start the actor of a target; it goes on with what the outbox holds for it."""
        target_id = _target_id(name)
        self._system.spawn(
            paths.TARGETS,
            ChildSpec(
                str(target_id),
                TargetActor,
                (target_id,),
                {
                    "outbox": self._outbox,
                    "open_target": self._open_target,
                    "tenure": tenure,
                    "on_listeners": self._wake,
                },
                shutdown_timeout_s=_STOP_S + (tenure.act_limit_s or 0.0),
            ),
        )

    async def put_down(self, name: str) -> None:
        """Stop the actor. What waits for a target that is gone is left to housekeeping."""
        try:
            await self._system.stop_child(paths.target_path(_target_id(name)))
        except (NotFound, ActorDeadError):
            # The whole tree is being stopped, and this one was; or it took too long and was
            # interrupted, as after a pause of the whole process.
            return

    def deliver(self, items: list[OutboxItem]) -> None:
        """Tell each target what was made for it; a target without an actor has it in the outbox."""
        by_target: dict[TargetId, list[OutboxItem]] = {}
        for item in items:
            by_target.setdefault(item.target_id, []).append(item)
        elsewhere: list[TargetId] = []
        for target_id, of_target in by_target.items():
            target = self._here(target_id)
            if target is None:
                elsewhere.append(target_id)
            elif target.is_running():
                target.tell(DeliveriesCreated(of_target))
        if elsewhere:
            self._wake_elsewhere(elsewhere)

    def _wake(self, target_ids: Collection[TargetId]) -> None:
        """Have these read their outbox, wherever they are: one of the targets here has made them deliveries."""
        self.look(target_ids)
        elsewhere = [target_id for target_id in target_ids if self._here(target_id) is None]
        if elsewhere:
            self._wake_elsewhere(elsewhere)

    def look_again(self) -> None:
        """Have every target read its outbox before it believes anything that it is told from now on.

        Something may be in it that nobody was told of: the module's docstring says when.
        """
        for ref in self._system.children(paths.TARGETS):
            if ref.is_running():
                ref.tell(Tick())

    def look(self, target_ids: Collection[TargetId]) -> None:
        """Have those of these targets that are here read their outbox soon."""
        for target_id in target_ids:
            target = self._here(target_id)
            if target is not None and target.is_running():
                target.tell(LookIntoOutbox())

    def wake(self, target_ids: Collection[TargetId]) -> None:
        """Have these targets read their outbox soon, wherever they are."""
        elsewhere = [target_id for target_id in target_ids if self._here(target_id) is None]
        self.look(target_ids)
        if elsewhere:
            self._wake_elsewhere(elsewhere)

    def withdraw(self, target_id: TargetId, delivery_ids: Collection[DeliveryId]) -> bool:
        """Tell a target that these were fetched; return whether it is here."""
        target = self._here(target_id)
        if target is None:
            return False
        if target.is_running():
            target.tell(DeliveriesWithdrawn(delivery_ids))
        return True

    def _here(self, target_id: TargetId) -> ActorRef[Any] | None:
        """Return the target's actor; None also for one that has ended and is about to be forgotten."""
        ref = self._system.find(paths.target_path(target_id))
        return ref if ref is not None and ref.is_alive() else None

    async def look_for_forgotten(self) -> None:
        """Have those targets here read their outbox that something waits for, told of or not.

        Raises: StorageUnavailable.
        """
        here = [_target_id(ref.path) for ref in self._system.children(paths.TARGETS)]
        if here:
            self.look(await self._outbox.targets_waited_for(here))


def target_name(target_id: TargetId) -> str:
    """Return the name under which a data target is owned."""
    return f"{TargetRoster.kind}/{target_id}"


def _target_id(name: str) -> TargetId:
    return TargetId(int(name.rpartition("/")[2]))
