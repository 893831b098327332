"""Following what people change, on every engine."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from protocols.errors import StorageUnavailable
from storage import Database, open_database
from storage.configuration_changes import ConfigurationChange, ConfigurationChanges
from storage.database import Transaction
from storage.instants import microseconds
from storage.repositories.audit import NewAuditEntry, record
from storage.tables.entities import audit_entry

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATIENCE_S = 10.0
LONGER_THAN_ANY_TRANSACTION_S = 1_000.0


@pytest.fixture
async def other_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    """The same database, as another process has it open."""
    opened = open_database(database_url, is_shared=True, migrate=False)
    await opened.open()
    yield opened
    await opened.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def entry(
    entity_id: int | None, entity: str = "iot_device", action: str = "UPDATE"
) -> NewAuditEntry:
    return NewAuditEntry(
        at=NOW,
        actor_type="user",
        actor_id=1,
        actor_name="admin",
        address=None,
        action=action,
        entity=entity,
        entity_id=entity_id,
        entity_name=None,
        organization_id=None,
    )


async def change(database: Database, entity_id: int | None, **fields: str) -> int:
    """Write a line; return its number."""
    return await database.write(lambda transaction: record(transaction, entry(entity_id, **fields)))


async def change_numbered(database: Database, number: int, entity_id: int) -> None:
    """Write a line under this number, as one that got it earlier and is committed now."""

    def unit(transaction: Transaction) -> None:
        values = {"actor_type": "user", "actor_name": "admin", "at": microseconds(NOW)}
        described = {"action": "UPDATE", "entity": "iot_device", "entity_id": entity_id}
        transaction.insert(audit_entry, {"id": number, **values, **described})

    await database.write(unit)


async def news(changes: ConfigurationChanges) -> list[ConfigurationChange]:
    told: list[ConfigurationChange] = []

    async def tell(change: ConfigurationChange) -> None:
        told.append(change)

    await changes.follow(tell)
    return told


async def ids(changes: ConfigurationChanges) -> list[int]:
    return [change.entity_id for change in await news(changes)]


async def test_what_changes_after_the_beginning_is_told_once_and_in_order(
    database: Database,
) -> None:
    await change(database, 1)
    changes = ConfigurationChanges(database)
    await changes.begin()
    await change(database, 2)
    await change(database, 3, entity="data_target", action="DELETE")
    for action in ("DISABLE", "ENABLE", "ROTATE"):
        await change(database, 4, entity="data_target", action=action)

    assert await news(changes) == [
        ConfigurationChange("iot_device", 2, "UPDATE"),
        ConfigurationChange("data_target", 3, "DELETE"),
        *(
            ConfigurationChange("data_target", 4, action)
            for action in ("DISABLE", "ENABLE", "ROTATE")
        ),
    ]
    assert await news(changes) == []


async def test_change_that_could_not_be_told_is_told_again_and_no_other(
    database: Database,
) -> None:
    changes = ConfigurationChanges(database)
    await changes.begin()
    for entity_id in (1, 2, 3):
        await change(database, entity_id)
    told: list[int] = []

    async def tell(told_change: ConfigurationChange) -> None:
        told.append(told_change.entity_id)
        if told == [1, 2]:
            raise StorageUnavailable("Not now.")

    with pytest.raises(StorageUnavailable):
        await changes.follow(tell)
    await change(database, 4)
    await changes.follow(tell)

    assert told == [1, 2, 2, 3, 4]


async def test_changes_by_another_process_are_told(
    database: Database, other_database: Database
) -> None:
    changes = ConfigurationChanges(database)
    await changes.begin()
    await change(other_database, 4)

    assert await ids(changes) == [4]


async def test_lines_about_what_no_message_depends_on_are_passed_over(database: Database) -> None:
    changes = ConfigurationChanges(database)
    await changes.begin()
    await change(database, 1, entity="api_key")
    await change(database, None, entity="actor", action="RESTART")
    await change(database, 2, entity="payload_decoder", action="REPLAY")
    await change(database, 2, entity="data_target", action="TEST")
    await change(database, 3)

    assert await ids(changes) == [3]


async def test_line_that_is_committed_after_a_later_one_is_told(database: Database) -> None:
    number = await change(database, 1)
    changes = ConfigurationChanges(database)
    await changes.begin()
    await change_numbered(database, number + 3, 30)
    assert await ids(changes) == [30]
    await change_numbered(database, number + 1, 10)
    assert await ids(changes) == [10]
    await change_numbered(database, number + 2, 20)
    await change_numbered(database, number + 4, 40)

    assert await ids(changes) == [20, 40]
    assert await ids(changes) == []


async def test_line_that_was_under_way_at_the_beginning_is_told(database: Database) -> None:
    number = await change(database, 1)
    await change_numbered(database, number + 2, 3)
    changes = ConfigurationChanges(database)
    await changes.begin()
    await change_numbered(database, number + 1, 2)

    assert await ids(changes) == [2]


async def test_number_of_a_transaction_that_was_rolled_back_is_looked_for_only_for_a_while(
    database: Database,
) -> None:
    clock = Clock()
    number = await change(database, 1)
    changes = ConfigurationChanges(database, monotonic=clock)
    await changes.begin()
    await change_numbered(database, number + 2, 3)
    assert await ids(changes) == [3]
    clock.now_s = LONGER_THAN_ANY_TRANSACTION_S
    assert await ids(changes) == []

    # Nobody commits that late: this only shows that it is not asked for any more.
    await change_numbered(database, number + 1, 2)

    assert await ids(changes) == []


async def test_more_changes_than_are_read_at_once_are_all_told(database: Database) -> None:
    changes = ConfigurationChanges(database)
    await changes.begin()

    def unit(transaction: Transaction) -> None:
        for entity_id in range(1, 2_501):
            record(transaction, entry(entity_id))

    await database.write(unit)
    told: list[int] = []
    while ids_told := await ids(changes):
        told += ids_told

    assert told == list(range(1, 2_501))


async def test_two_transactions_at_once_are_both_told_whichever_is_committed_first(
    database: Database, other_database: Database
) -> None:
    changes = ConfigurationChanges(database)
    await changes.begin()
    loop = asyncio.get_running_loop()
    has_written, may_commit = asyncio.Event(), threading.Event()

    def slow(transaction: Transaction) -> None:
        record(transaction, entry(1))
        loop.call_soon_threadsafe(has_written.set)
        may_commit.wait(PATIENCE_S)

    async with asyncio.timeout(PATIENCE_S):
        slow_one = asyncio.ensure_future(other_database.submit(slow))
        await has_written.wait()
        quick_one = asyncio.create_task(change(database, 2))
        # On an engine with one writer it waits for the slow one, elsewhere it is through at once.
        await asyncio.wait((quick_one,), timeout=0.3)
        told = await ids(changes)
        may_commit.set()
        await asyncio.gather(slow_one, quick_one)
        told += await ids(changes)

    assert sorted(told) == [1, 2]
    assert await ids(changes) == []
