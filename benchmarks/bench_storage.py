"""What one message costs the storage engine: accepted, settled with one delivery, delivered.

CPU time of the whole process, since the writer's thread and the loop share the interpreter. Batches of
1, 10 and 100 are what a quiet, a busy and a loaded hub see.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from benchmarks.duration import is_quick
from benchmarks.journal import Collector, running
from benchmarks.row import Row
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
from storage import open_database
from storage.delivery.outbox import DeliveryOutcome, DeliveryState, Outbox, OutboxItem, outbox_items
from storage.embedded_journal import EmbeddedJournal
from storage.journal import EMBEDDED, JournalEntry
from storage.results import DeliveryDraft, JobResult, JobState, MessageResult, ResultStore

_MESSAGES = {1: 2_000, 10: 10_000, 100: 30_000}
BATCH_SIZES = tuple(_MESSAGES)
_DEVICES = 1_000
_PAYLOAD = (
    b'{"temperature":21.5,"humidity":47,"co2":412,"battery":3.6,"rssi":-97,"light":120,"pir":0}'
)
_STATE = bytes(120)
_TARGET = TargetId(1)


def measure() -> Iterator[Row]:
    """Yield a row per batch size: microseconds of CPU for one message's whole way through storage."""
    for batch_size in BATCH_SIZES:
        with tempfile.TemporaryDirectory() as directory:
            spent = message_cost(f"sqlite:///{Path(directory) / 'bench.db'}", batch_size)
        yield Row(
            name=f"storage, one message, batches of {batch_size}",
            value=spent.total_us,
            unit="us CPU",
            ratio=spent.append_us / spent.total_us,
            reference="share of the append alone",
            budget="at most 40" if batch_size == 100 else "",
        )


def message_cost(url: str, batch_size: int) -> "Spent":
    """Send messages through storage on a new database; return what one of them cost."""
    return uvloop.run(_run(url, batch_size, message_count(batch_size)))


def message_count(batch_size: int) -> int:
    """How many messages `message_cost` measures; ten batches before them are for warming up."""
    return batch_size * 10 if is_quick() else _MESSAGES[batch_size]


@dataclass(slots=True)
class Spent:
    """Microseconds of CPU for one message."""

    append_us: float = 0.0
    result_us: float = 0.0
    outcome_us: float = 0.0

    @property
    def total_us(self) -> float:
        return self.append_us + self.result_us + self.outcome_us


@dataclass(slots=True)
class _Stores:
    journal: EmbeddedJournal
    results: ResultStore
    outbox: Outbox
    entries: list[JournalEntry]


@asynccontextmanager
async def _stores(url: str) -> AsyncIterator[_Stores]:
    database = open_database(url)
    await database.open()
    journal = EmbeddedJournal(database)
    collector = Collector()
    async with running(journal, collector):
        results, outbox = ResultStore(database, journal), Outbox(database)
        yield _Stores(journal, results, outbox, collector.entries)
    await database.close()


async def _run(url: str, batch_size: int, messages: int) -> Spent:
    async with _stores(url) as stores:
        await _rounds(stores, batch_size, batch_size * 10)
        return await _rounds(stores, batch_size, messages)


async def _rounds(stores: _Stores, batch_size: int, messages: int) -> Spent:
    spent = Spent()
    for start in range(0, messages, batch_size):
        uplinks = [_uplink(number) for number in range(start, start + batch_size)]
        stores.entries.clear()
        began_s = time.process_time()
        await asyncio.gather(*(stores.journal.append(uplink) for uplink in uplinks))
        appended_s = time.process_time()
        results = [_result(entry) for entry in stores.entries]
        made_s = time.process_time()
        report = await stores.results.commit(
            results, cursors={EMBEDDED: stores.entries[-1].position}
        )
        items = outbox_items(report.written)
        settled_s = time.process_time()
        outcomes = [_outcome(item) for item in items]
        judged_s = time.process_time()
        await stores.outbox.record(outcomes)
        recorded_s = time.process_time()
        spent.append_us += appended_s - began_s
        spent.result_us += settled_s - made_s
        spent.outcome_us += recorded_s - judged_s
    scale = 1e6 / messages
    return Spent(spent.append_us * scale, spent.result_us * scale, spent.outcome_us * scale)


def _uplink(number: int) -> Uplink:
    return Uplink(
        message_id=new_message_id(),
        device_id=DeviceId(1 + number % _DEVICES),
        organization_id=OrganizationId(1),
        application_id=ApplicationId(1),
        device_type=DeviceType.GENERIC_HTTP,
        received_at=datetime.now(UTC),
        payload=_PAYLOAD,
    )


def _result(entry: JournalEntry) -> MessageResult:
    decoder_id = DecoderId(1)
    job = JobResult(
        decoder_id=decoder_id,
        state=JobState.DECODED,
        decoder_version="1",
        body=_PAYLOAD,
        warnings=(),
        error_code=None,
        error=None,
        settled_at=datetime.now(UTC),
    )
    return MessageResult(
        uplink=entry.uplink,
        position=entry.position,
        order=entry.position,
        jobs=(job,),
        deliveries=(DeliveryDraft(new_delivery_id(), _TARGET, decoder_id),),
        device_state=_STATE,
    )


def _outcome(item: OutboxItem) -> DeliveryOutcome:
    return DeliveryOutcome(
        delivery_id=item.delivery_id,
        target_id=item.target_id,
        device_id=item.device_id,
        organization_id=item.organization_id,
        attempt=1,
        was_retrying=False,
        state=DeliveryState.DELIVERED,
        at=datetime.now(UTC),
        next_at=None,
        status_code=200,
        error_code=None,
        error=None,
        duration_s=0.01,
        response_excerpt=None,
    )
