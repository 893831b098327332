"""Uplinks, results and outcomes as the tests of storage need them, and the stores together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import (
    ApplicationId,
    DecoderId,
    DeviceId,
    DeviceType,
    OrganizationId,
    TargetId,
    Uplink,
)
from storage import Database
from storage.deferred import DeferredStore
from storage.delivery.outbox import DeliveryOutcome, DeliveryState, Outbox, OutboxItem
from storage.embedded_journal import EmbeddedJournal
from storage.journal import EMBEDDED, Cursors, JournalEntry, JournalLimits, JournalReader
from storage.ledger import Ledger, LedgerBalance
from storage.results import (
    CommitReport,
    DeliveryDraft,
    JobResult,
    JobState,
    MessageResult,
    ResultStore,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DECODER = DecoderId(5)
TARGET = TargetId(7)
UNSTORABLE = "lone \ud800 surrogate"


def uplink(
    device_id: int = 1,
    *,
    payload: bytes = b'{"t":1}',
    source_key: str | None = None,
    received_at: datetime = NOW,
    organization_id: int = 1,
) -> Uplink:
    return Uplink(
        message_id=new_message_id(),
        device_id=DeviceId(device_id),
        organization_id=OrganizationId(organization_id),
        application_id=ApplicationId(1),
        device_type=DeviceType.GENERIC_HTTP,
        received_at=received_at,
        payload=payload,
        source_key=source_key,
    )


def job(
    state: JobState = JobState.DECODED,
    *,
    decoder_id: DecoderId | None = DECODER,
    body: bytes | None = b'{"decoded":1}',
    error: str | None = None,
) -> JobResult:
    return JobResult(
        decoder_id=decoder_id,
        state=state,
        decoder_version="v1",
        body=body if state is JobState.DECODED else None,
        warnings=("careful",),
        error_code=None if error is None else "script_error",
        error=error,
        settled_at=NOW,
    )


def result(
    entry: JournalEntry,
    *jobs: JobResult,
    targets: Sequence[TargetId] = (TARGET,),
    live: bool = True,
    generation: int = 0,
    device_state: bytes | None = None,
) -> MessageResult:
    """A decoded message with one delivery per target for each job that has something to push."""
    jobs = jobs or (job(),)
    return MessageResult(
        uplink=entry.uplink,
        position=entry.position if live else None,
        order=entry.position,
        jobs=jobs,
        deliveries=[
            DeliveryDraft(new_delivery_id(), target_id, one.decoder_id)
            for one in jobs
            if one.state in (JobState.DECODED, JobState.NO_DECODER)
            for target_id in targets
        ],
        device_state=device_state,
        generation=generation,
    )


def outcome(
    item: OutboxItem,
    state: DeliveryState = DeliveryState.DELIVERED,
    *,
    at: datetime = NOW,
    retry_in_s: float | None = None,
) -> DeliveryOutcome:
    failed = state is not DeliveryState.DELIVERED
    return DeliveryOutcome(
        delivery_id=item.delivery_id,
        target_id=item.target_id,
        device_id=item.device_id,
        organization_id=item.organization_id,
        attempt=item.attempts + 1,
        was_retrying=item.attempts > 0,
        state=state,
        at=at,
        next_at=None if retry_in_s is None else at + timedelta(seconds=retry_in_s),
        status_code=503 if failed else 200,
        error_code="delivery_retryable" if failed else None,
        error="It is busy." if failed else None,
        duration_s=0.25,
        response_excerpt="busy" if failed else None,
        lane=None if item.generation else item.device_id,
        lane_due_at=None
        if item.generation or retry_in_s is None
        else at + timedelta(seconds=retry_in_s),
    )


class RecordingListener:
    """Takes everything that a journal tells, and notes it."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.on_appended: Callable[[list[JournalEntry]], None] = self.entries.extend
        self.cursors: Cursors = {}
        self.crashes = 0
        self.is_assigned = asyncio.Event()
        self.revocations = 0

    def assigned(self, cursors: Cursors, *, crashes: int) -> None:
        self.cursors, self.crashes = cursors, crashes
        self.is_assigned.set()

    def appended(self, entries: list[JournalEntry]) -> None:
        self.on_appended(entries)

    async def revoked(self) -> None:
        self.is_assigned.clear()
        self.revocations += 1


@asynccontextmanager
async def running(reader: JournalReader, listener: RecordingListener) -> AsyncIterator[None]:
    """Have the journal run, assigned, for as long as the block takes."""
    run = asyncio.create_task(reader.run(listener))
    assigned = asyncio.create_task(listener.is_assigned.wait())
    await asyncio.wait((run, assigned), return_when=asyncio.FIRST_COMPLETED)
    if run.done():
        assigned.cancel()
        run.result()
    try:
        yield
    finally:
        run.cancel()
        await asyncio.wait((run,))


@dataclass(slots=True)
class Pipeline:
    """The stores on one database; `entries` are what the journal announced."""

    database: Database
    journal: EmbeddedJournal
    results: ResultStore
    outbox: Outbox
    ledger: Ledger
    deferred: DeferredStore
    listener: "RecordingListener"

    @property
    def entries(self) -> list[JournalEntry]:
        return self.listener.entries

    async def accept(self, *uplinks: Uplink) -> list[JournalEntry]:
        """Append one after the other; return the entries."""
        before = len(self.entries)
        for one in uplinks:
            await self.journal.append(one)
        return self.entries[before:]

    async def commit(self, *results: MessageResult, cursor: int | None = None) -> CommitReport:
        known = [one.position for one in results if one.position is not None]
        return await self.results.commit(
            results, cursors={EMBEDDED: max(known, default=0) if cursor is None else cursor}
        )

    async def waiting(self, *, now: datetime = NOW, limit: int = 1_000) -> list[OutboxItem]:
        return await self.outbox.waiting(TARGET, now=now, limit=limit)

    async def balance(self) -> LedgerBalance:
        """The books of organization 1, which must balance and agree with the rows whenever asked."""
        balance = (await self.ledger.balance([1]))[0]
        assert balance.imbalance == 0, balance
        assert await self.ledger.audit() == []
        return balance


@asynccontextmanager
async def pipeline_on(
    database: Database, limits: JournalLimits | None = None
) -> AsyncIterator[Pipeline]:
    journal = EmbeddedJournal(database, limits)
    listener = RecordingListener()
    async with running(journal, listener):
        yield Pipeline(
            database=database,
            journal=journal,
            results=ResultStore(database, journal),
            outbox=Outbox(database, lambda: NOW),
            ledger=Ledger(database),
            deferred=DeferredStore(database),
            listener=listener,
        )
