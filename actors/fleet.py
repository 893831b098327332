"""FleetActor: keeps a process in touch with the others of its hub, through the database.

It says every few seconds that the process lives and how it is, makes effective what people changed
through other processes, and carries out what other processes ask for. Theory of operation:

* With every beat the process's clock is compared with the database's, by which all of them go.
* The beat and the rest run beside each other: a change may take seconds to become effective, since
  a data target's actor first lets go of what is in flight, and the process lives meanwhile.
* A database that is away ends nothing. What was changed meanwhile is told when it is back, because
  the reader of the changes stands where it stood.
* The tree of a process with a thousand data targets is half a megabyte. A large report is
  renewed less often, so that all beats together stay a trickle in the database's log.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

import structlog

from actors import events
from actors.membership import Membership
from actors.messages import Tick
from actors.process_report import ProcessReport
from actors.runtime import Actor
from protocols.errors import StorageUnavailable, TingbroError
from storage.configuration_changes import ConfigurationChange
from storage.journal import PartitionStatus
from storage.process_orders import Order, OrderKind

BEAT_S: Final = 2.0
LOOK_S: Final = 0.5
_FORGET_EVERY_S: Final = 60.0
_REPORT_BYTES_PER_S: Final = 32 * 1024
# The process ends; its row tells of it by itself a few seconds later.
_LEAVE_PATIENCE_S: Final = 1.0

log = structlog.get_logger(__name__)


class FleetMember(Protocol):
    """What a process of a fleet can do when it is asked. Called on the loop."""

    def partitions(self) -> Sequence[PartitionStatus]:
        """How far the partitions have got that this process settles. Cheap."""

    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        """Make a committed change effective here. May be told of the same one again.

        Raises:
            StorageUnavailable: tell it again later.
        """

    async def carry_out(self, order: Order) -> None:
        """Do what another process asked for; `OrderKind.RESTART_ACTOR` is none of its business.

        Raises:
            TingbroError: it cannot be done; nobody is told.
        """


class FleetActor(Actor):
    """One for each process of a fleet, at `/hub/fleet`."""

    def __init__(self, *, membership: Membership, member: FleetMember) -> None:
        super().__init__()
        self._membership = membership
        self._member = member
        self._beat_due_s = 0.0
        self._report_due_s = 0.0
        self._forget_due_s = 0.0
        self._is_beating = False
        self._is_looking = False
        self._is_leaving = False
        self._is_cut_off = False

    def on_start(self) -> None:
        now_s = self.clock.monotonic()
        self._beat_due_s = self._report_due_s = now_s
        self._forget_due_s = now_s + _FORGET_EVERY_S
        self.schedule(0.0, Tick())

    def on_receive(self, message: Any) -> None:
        match message:
            case Tick():
                self.schedule(LOOK_S, Tick())
                if not self._is_beating and self.clock.monotonic() >= self._beat_due_s:
                    self._is_beating = True
                    self.create_task(self._beat())
                if not self._is_looking:
                    self._is_looking = True
                    self.create_task(self._look())
            case _:
                raise TypeError(f"FleetActor does not know {type(message).__name__}")

    async def on_stop(self) -> None:
        self._is_leaving = True
        try:
            async with asyncio.timeout(_LEAVE_PATIENCE_S):
                await self._membership.registry.leave()
        except (TimeoutError, StorageUnavailable) as error:
            log.warning(events.FLEET_LEAVE_FAIL, reason=str(error) or "the database is too slow")

    # -- the beat ----------------------------------------------------------------------------

    async def _beat(self) -> None:
        try:
            # Not what was due: after an outage one beat is enough.
            self._beat_due_s = self.clock.monotonic() + BEAT_S
            await self._unless_cut_off(self._show())
        finally:
            self._is_beating = False

    async def _show(self) -> None:
        if self._is_leaving:
            return
        registry = self._membership.registry
        health = self.system.health()
        await registry.beat(
            is_well=health.ok,
            cause=None if health.worst is None else health.worst.path,
            reason=health.reason,
            report=self._report(),
        )
        if self._membership.clock is not None:
            await self._membership.clock.adjust()
        if self.clock.monotonic() >= self._forget_due_s:
            self._forget_due_s = self.clock.monotonic() + _FORGET_EVERY_S
            await registry.forget_lost()
        self._membership.seen = await registry.list()

    def _report(self) -> bytes | None:
        now_s = self.clock.monotonic()
        if now_s < self._report_due_s:
            return None
        tree = self.system.tree().to_json()
        report = ProcessReport.make(tree, self._member.partitions()).write()
        self._report_due_s = now_s + len(report) / _REPORT_BYTES_PER_S
        return report

    # -- what others did and want --------------------------------------------------------------

    async def _look(self) -> None:
        try:
            await self._unless_cut_off(self._membership.changes.follow(self._apply))
            await self._unless_cut_off(self._take_orders())
        finally:
            self._is_looking = False

    async def _apply(self, change: ConfigurationChange) -> None:
        try:
            await self._member.configuration_changed(what=change.entity, entity_id=change.entity_id)
        except StorageUnavailable:
            raise
        except TingbroError as error:
            # Telling it again would not help, and what comes behind it must not wait.
            log.error(
                events.FLEET_CHANGE_FAIL,
                entity=change.entity,
                entity_id=change.entity_id,
                reason=str(error),
            )

    async def _take_orders(self) -> None:
        membership = self._membership
        for order in await membership.orders.take(keeps_house=membership.keeps_house()):
            log.info(events.FLEET_ORDER_TAKE, kind=order.kind, order_id=order.order_id)
            # A task each: one may be the restart of this very actor, which ends what it does.
            self.create_task(self._carry_out(order))

    async def _carry_out(self, order: Order) -> None:
        try:
            if order.kind == OrderKind.RESTART_ACTOR:
                await self.system.restart(order.body["path"])
            else:
                await self._member.carry_out(order)
        except TingbroError as error:
            log.warning(events.FLEET_ORDER_FAIL, kind=order.kind, reason=str(error))

    async def _unless_cut_off(self, work: Awaitable[None]) -> None:
        """Do it if the database is there, and say once when it is away and once when it is back."""
        try:
            await work
        except StorageUnavailable as error:
            if not self._is_cut_off:
                log.warning(events.FLEET_CUT_OFF, reason=str(error))
            self._is_cut_off = True
        else:
            if self._is_cut_off:
                log.info(events.FLEET_BACK)
            self._is_cut_off = False
