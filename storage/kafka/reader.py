"""Reading the topic: what a worker's router sees of its membership in the consumer group."""

from collections.abc import Collection
from datetime import timedelta

from protocols.errors import ClaimLost, ConnectionLost
from protocols.messages import DeviceId
from storage.cursor_claims import CursorClaims
from storage.database import Database
from storage.journal import (
    Cursors,
    JournalEntry,
    JournalListener,
    JournalReader,
    PartitionStatus,
    partition_of,
)
from storage.kafka.agreement import check_readable
from storage.kafka.cluster import cluster_view
from storage.kafka.membership import Membership
from storage.kafka.registration import Registration, read_registration
from storage.kafka.settings import KafkaSettings
from storage.log_settling import LogSettling
from storage.settling import Settling


class KafkaReader(JournalReader):
    """See `JournalReader`. `holder` names this process to people."""

    def __init__(self, database: Database, settings: KafkaSettings, *, holder: str) -> None:
        self._database = database
        self._settings = settings
        self._claims = CursorClaims(database, holder)
        self._settling = LogSettling(
            self._claims, self._partition_for, settings.limits.source_key_window
        )
        self._registration: Registration | None = None
        self._membership: Membership | None = None

    async def run(self, listener: JournalListener) -> None:
        registration = await read_registration(self._database)
        async with cluster_view(self._settings) as view:
            await check_readable(view, registration)
        self._registration = registration
        self._membership = Membership(
            database=self._database,
            settings=self._settings,
            registration=registration,
            claims=self._claims,
            listener=listener,
        )
        try:
            await self._membership.run()
        finally:
            self._membership = None

    async def unsettled_after(self, position: int, limit: int) -> list[JournalEntry]:
        """What was settled is not read again: everything else is held, or still to be told."""
        membership = self._membership
        if membership is None or not membership.is_assigned:
            return []
        held = membership.held.get(partition_of(position))
        return [] if held is None else held.after(position, limit)

    async def cursors(self) -> Cursors:
        return await self._claims.positions()

    @property
    def settling(self) -> Settling:
        return self._settling

    def holds(self, device_id: DeviceId) -> bool:
        membership = self._membership
        return (
            membership is not None
            and membership.is_assigned
            and self._partition_for(device_id) in membership.held
        )

    def lose(self, partitions: Collection[int]) -> None:
        if self._membership is not None and not self._membership.held.keys().isdisjoint(partitions):
            self._membership.fail(ConnectionLost(str(ClaimLost(partitions))))

    def release(self, *, entries: int, size_bytes: int, cursors: Cursors) -> None:
        if self._membership is None:
            return
        for partition, cursor in cursors.items():
            if (held := self._membership.held.get(partition)) is not None:
                held.release(cursor)
        self._membership.pause_or_resume()

    def status(self) -> list[PartitionStatus]:
        if self._membership is None:
            return []
        return [
            PartitionStatus(partition=partition, cursor=held.cursor, lag=held.lag)
            for partition, held in sorted(self._membership.held.items())
        ]

    @property
    def source_key_window(self) -> timedelta:
        return self._settings.limits.source_key_window

    def _partition_for(self, device_id: DeviceId) -> int:
        registration = self._registration
        assert registration is not None, "nothing is settled before the first run"
        return registration.journal_partition(registration.kafka_partition_for(device_id))
