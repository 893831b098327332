"""The actors that keep house: one process has them, for the whole hub."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final

from actors import paths
from actors.delivery.redelivery import RedeliveryActor
from actors.housekeeping import HousekeepingActor
from actors.ownership import Keeper, Tenure
from actors.replay import ReplayActor
from actors.runtime import ActorRef, ActorSystem, ChildSpec
from actors.stores import Stores
from protocols.messages import TargetId
from storage.delivery.target_standing import TargetStanding
from storage.retention import ATTEMPTS_KEPT, RetentionKind

HOUSEKEEPING: Final = "housekeeping"
"""The name under which keeping house is owned."""


class House(Keeper):
    """Starts and stops them together.

    They ask for no tenure: what they do is right however often it is done, and one that is put
    down late has deleted a few rows that its successor would have.
    """

    kind: ClassVar = HOUSEKEEPING
    asks_before_acting: ClassVar = False

    def __init__(self, system: ActorSystem, specs: Sequence[ChildSpec]) -> None:
        self._system = system
        self._specs = specs

    @classmethod
    def with_stores(
        cls,
        system: ActorSystem,
        stores: Stores,
        kept: timedelta,
        *,
        decoding: ActorRef[Any],
        writer: ActorRef[Any],
        wake: Callable[[Collection[TargetId]], None],
        on_standings: Callable[[Sequence[TargetStanding]], None],
    ) -> "House":
        """The replays, and deleting what has been kept for longer than `kept`.

        `wake` has targets read their outbox, see `RedeliveryActor`; for `on_standings` see
        `HousekeepingActor`.
        """
        replay = {
            "deferred": stores.deferred,
            "plans": stores.plans,
            "decoding": decoding,
            "writer": writer,
        }
        housekeeping = {
            "retention": stores.retention,
            "keep": {
                RetentionKind.DELIVERIES: kept,
                RetentionKind.MESSAGES: kept,
                RetentionKind.SOURCE_KEYS: stores.journal.source_key_window,
                RetentionKind.ATTEMPTS: ATTEMPTS_KEPT,
                RetentionKind.REDELIVERIES: kept,
                RetentionKind.TARGET_EVENTS: kept,
            },
            "outbox": stores.outbox,
            "standings": stores.target_standings,
            "on_standings": on_standings,
        }
        redelivery = {"slices": stores.redelivery_slices, "wake": wake}
        specs = (
            ChildSpec("replay", ReplayActor, (), replay),
            ChildSpec("redelivery", RedeliveryActor, (), redelivery),
            ChildSpec("housekeeping", HousekeepingActor, (), housekeeping),
        )
        return cls(system, specs)

    async def wanted(self) -> Collection[str]:
        return (HOUSEKEEPING,)

    def take_up(self, _name: str, _tenure: Tenure) -> None:
        for spec in self._specs:
            self._system.spawn(paths.HUB, spec)

    async def put_down(self, _name: str) -> None:
        # One that took too long was interrupted, which it says as an error: it has ended all the same.
        await asyncio.gather(
            *(self._system.stop_child(f"{paths.HUB}/{spec.name}") for spec in self._specs),
            return_exceptions=True,
        )
