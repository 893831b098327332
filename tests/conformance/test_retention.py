"""What retention must do, on every database engine that is discovered."""

from datetime import UTC, datetime, timedelta

import pytest

from protocols.messages import DeviceId, TargetId
from storage import Database, retention
from storage.database import Transaction
from storage.delivery import redelivery
from storage.delivery.outbox import DeliveryState
from storage.delivery.redelivery import Wish
from storage.repositories import attempts
from storage.results import JobState
from storage.retention import Retention, RetentionKind
from tests.support.pipeline import NOW, TARGET, Pipeline, job, outcome, result, uplink

OTHER = TargetId(8)


def later() -> datetime:
    """After everything that a test has made: ids tell the real time."""
    return datetime.now(UTC) + timedelta(minutes=1)


async def delete_all(database: Database, kind: RetentionKind) -> int:
    store, total = Retention(database), 0
    while deleted := await store.delete_slice(kind, older_than=later()):
        total += deleted
    return total


async def test_what_is_deleted_moves_in_the_books(pipeline: Pipeline, database: Database) -> None:
    entries = await pipeline.accept(*(uplink(number + 1) for number in range(120)))
    await pipeline.commit(*(result(entry) for entry in entries))
    items = await pipeline.waiting()
    await pipeline.outbox.record([outcome(item) for item in items])
    assert await delete_all(database, RetentionKind.DELIVERIES) == 120
    assert await delete_all(database, RetentionKind.MESSAGES) == 120
    balance = await pipeline.balance()
    assert (balance.jobs.accepted, balance.jobs.decoded, balance.jobs.deleted) == (120, 0, 120)
    assert (balance.deliveries.delivered, balance.deliveries.deleted) == (0, 120)


async def test_what_is_still_on_its_way_is_kept(pipeline: Pipeline, database: Database) -> None:
    waiting, retrying, deferred, unsettled = await pipeline.accept(
        *(uplink(number) for number in range(1, 5))
    )
    await pipeline.commit(
        result(waiting),
        result(retrying),
        result(deferred, job(JobState.DEFERRED)),
        cursor=deferred.position,
    )
    item = (await pipeline.waiting())[1]
    await pipeline.outbox.record([outcome(item, DeliveryState.RETRYING, retry_in_s=60)])
    for kind in RetentionKind:
        assert await delete_all(database, kind) == 0
    assert [one.body for one in await pipeline.waiting()] == [b'{"decoded":1}']
    assert await pipeline.deferred.deferred_messages(DeviceId(3), limit=5)
    assert await pipeline.journal.unsettled_after(0, 9) == [unsettled]
    await pipeline.balance()


async def test_what_is_newer_is_kept(pipeline: Pipeline, database: Database) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry, job(JobState.FAILED, error="It threw.")))
    earlier = datetime.now(UTC) - timedelta(minutes=1)
    deleted = await Retention(database).delete_slice(RetentionKind.MESSAGES, older_than=earlier)
    assert deleted == 0
    assert (await pipeline.balance()).jobs.failed == 1


async def test_source_key_that_was_deleted_is_free_again(
    pipeline: Pipeline, database: Database
) -> None:
    await pipeline.accept(uplink(source_key="a"))
    assert await delete_all(database, RetentionKind.SOURCE_KEYS) == 1
    assert not (await pipeline.journal.append(uplink(source_key="a"))).is_duplicate


async def test_old_attempts_go_but_for_the_last_of_each_target(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LAST_ATTEMPTS", 2)
    entries = await pipeline.accept(*(uplink(number) for number in range(1, 6)))
    await pipeline.commit(*(result(entry, targets=(TARGET, OTHER)) for entry in entries))
    for target_id, count in ((TARGET, 5), (OTHER, 2)):
        items = (await pipeline.outbox.waiting(target_id, now=NOW))[:count]
        await pipeline.outbox.record([outcome(item, DeliveryState.DEAD) for item in items])
    assert await delete_all(database, RetentionKind.ATTEMPTS) == 3
    left = await database.read(lambda reader: attempts.latest_of_target(reader, TARGET, 9))
    assert [attempt.device for attempt in left] == [None, None]
    assert len(await database.read(lambda reader: attempts.latest_of_target(reader, OTHER, 9))) == 2
    earlier = NOW - timedelta(days=1)
    assert await Retention(database).delete_slice(RetentionKind.ATTEMPTS, older_than=earlier) == 0


async def test_replay_that_came_to_its_end_long_ago_is_forgotten(
    pipeline: Pipeline, database: Database
) -> None:
    def take(transaction: Transaction) -> int:
        return redelivery.create(transaction, TARGET, Wish(), NOW)

    redelivery_id = await database.write(take)
    assert await delete_all(database, RetentionKind.REDELIVERIES) == 0
    await database.write(lambda transaction: redelivery.stop(transaction, redelivery_id, NOW))
    assert await delete_all(database, RetentionKind.REDELIVERIES) == 1
