"""What the journal must do, on every database engine that is discovered."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from protocols.errors import HubFull, RowRefused
from storage import Database, open_database
from storage.append_unit import AppendUnit
from storage.database import DatabaseHealth
from storage.embedded_journal import EmbeddedJournal
from storage.journal import JournalLimits
from tests.support.pipeline import NOW, Pipeline, pipeline_on, result, uplink


async def test_appended_message_is_there_after_closing_and_opening(
    database: Database, database_url: str
) -> None:
    async with pipeline_on(database) as pipeline:
        kept = uplink(payload="æøå".encode(), source_key="s")
        await pipeline.journal.append(kept)
        await database.close()
    again = open_database(database_url)
    await again.open()
    async with pipeline_on(again) as pipeline:
        entries = await pipeline.journal.unsettled_after(0, 10)
        assert [entry.uplink for entry in entries] == [kept]
        assert pipeline.journal.waiting == 1
    await again.close()


async def test_entries_are_announced_in_order_and_before_their_appends_resolve(
    pipeline: Pipeline,
) -> None:
    announced = pipeline.entries

    async def append(number: int) -> bool:
        appended = await pipeline.journal.append(uplink(number))
        return any(entry.position == appended.position for entry in announced)

    assert all(await asyncio.gather(*(append(number) for number in range(300))))
    positions = [entry.position for entry in announced]
    assert positions == sorted(set(positions))
    assert [entry.uplink.device_id for entry in announced] == list(range(300))
    assert announced == await pipeline.journal.unsettled_after(0, 1_000)


async def test_position_is_never_given_twice_though_the_last_entries_are_settled(
    pipeline: Pipeline,
) -> None:
    first, second = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(result(second), cursor=0)
    (third,) = await pipeline.accept(uplink(3))
    await pipeline.commit(result(first), result(third), cursor=third.position)
    (fourth,) = await pipeline.accept(uplink(4))
    assert first.position < second.position < third.position < fourth.position


async def test_position_is_never_given_twice_after_a_restart_of_an_empty_journal(
    database: Database, database_url: str
) -> None:
    async with pipeline_on(database) as pipeline:
        (first,) = await pipeline.accept(uplink())
        await pipeline.commit(result(first))
    await database.close()
    again = open_database(database_url)
    await again.open()
    async with pipeline_on(again) as pipeline:
        (second,) = await pipeline.accept(uplink())
        assert second.position > first.position
    await again.close()


async def test_source_key_within_the_window_gives_the_first_message_and_keeps_nothing(
    pipeline: Pipeline,
) -> None:
    first = await pipeline.journal.append(uplink(source_key="a"))
    later = uplink(source_key="a", received_at=NOW + timedelta(hours=24))
    again = await pipeline.journal.append(later)
    assert (again.message_id, again.is_duplicate) == (first.message_id, True)
    assert len(pipeline.entries) == pipeline.journal.waiting == 1
    assert (await pipeline.balance()).jobs.accepted == 1


async def test_source_key_is_recognised_also_after_its_message_was_settled(
    pipeline: Pipeline,
) -> None:
    (entry,) = await pipeline.accept(uplink(source_key="a"))
    await pipeline.commit(result(entry))
    again = await pipeline.journal.append(uplink(source_key="a"))
    assert (again.message_id, again.is_duplicate) == (entry.uplink.message_id, True)


async def test_same_source_keys_queued_together_are_kept_once(pipeline: Pipeline) -> None:
    appended = await asyncio.gather(
        *(pipeline.journal.append(uplink(source_key="a")) for _ in range(5))
    )
    assert [one.is_duplicate for one in appended] == [False, True, True, True, True]
    assert {one.message_id for one in appended} == {appended[0].message_id}


async def test_source_key_is_free_again_after_the_window(pipeline: Pipeline) -> None:
    first = await pipeline.journal.append(uplink(source_key="a"))
    later = uplink(source_key="a", received_at=NOW + timedelta(hours=24, seconds=1))
    second = await pipeline.journal.append(later)
    assert not second.is_duplicate
    third = await pipeline.journal.append(uplink(source_key="a", received_at=later.received_at))
    assert third.message_id == second.message_id != first.message_id


async def test_two_devices_may_use_the_same_source_key(pipeline: Pipeline) -> None:
    one = await pipeline.journal.append(uplink(1, source_key="a"))
    other = await pipeline.journal.append(uplink(2, source_key="a"))
    assert not one.is_duplicate
    assert not other.is_duplicate


async def test_uplink_that_cannot_be_stored_is_refused_alone(pipeline: Pipeline) -> None:
    answers = await asyncio.gather(
        pipeline.journal.append(uplink(1)),
        pipeline.journal.append(uplink(2, source_key="\ud800")),
        pipeline.journal.append(uplink(3)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], RowRefused)
    assert [entry.uplink.device_id for entry in pipeline.entries] == [1, 3]
    assert pipeline.journal.waiting == 2


async def test_full_journal_refuses_until_something_is_settled(database: Database) -> None:
    async with pipeline_on(database, JournalLimits(backlog_entries=2)) as pipeline:
        entries = await pipeline.accept(uplink(1), uplink(2))
        with pytest.raises(HubFull):
            await pipeline.journal.append(uplink(3))
        await pipeline.commit(result(entries[0]))
        await pipeline.journal.append(uplink(3))


async def test_journal_is_full_by_bytes_too_and_counts_them_after_a_restart(
    database: Database,
) -> None:
    limits = JournalLimits(backlog_bytes=1_000)
    async with pipeline_on(database, limits) as pipeline:
        await pipeline.accept(uplink(payload=b"1" * 1_000))
    async with pipeline_on(database, limits) as pipeline:
        with pytest.raises(HubFull):
            await pipeline.journal.append(uplink())


async def test_nothing_is_taken_in_while_the_disk_is_nearly_full(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(database), "free_bytes", lambda _: 10)
    async with pipeline_on(database, JournalLimits(free_bytes=11)) as pipeline:
        with pytest.raises(HubFull, match="disk"):
            await pipeline.journal.append(uplink())


async def test_nothing_is_taken_in_while_the_database_cannot_be_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = DatabaseHealth(is_ok=False, reason="The disk is full")
    health: Callable[[Database], DatabaseHealth] = lambda _: outage  # noqa: E731  # for its type
    monkeypatch.setattr(type(database), "health", health)
    journal = EmbeddedJournal(database)
    with pytest.raises(HubFull, match="full"):
        await journal.append(uplink())


async def test_caller_that_gives_up_does_not_take_its_message_back(pipeline: Pipeline) -> None:
    appending = asyncio.ensure_future(pipeline.journal.append(uplink(1)))
    await asyncio.sleep(0)
    appending.cancel()
    await pipeline.accept(uplink(2))
    assert {entry.uplink.device_id for entry in pipeline.entries} == {1, 2}


async def test_unsettled_entries_are_read_in_order_beyond_a_position_and_up_to_a_limit(
    pipeline: Pipeline,
) -> None:
    entries = await pipeline.accept(*(uplink(number) for number in range(5)))
    await pipeline.commit(result(entries[2]), cursor=0)
    found = await pipeline.journal.unsettled_after(entries[0].position, 2)
    assert found == [entries[1], entries[3]]


async def test_messages_that_come_right_after_each_other_are_written_by_one_unit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pipeline_on(database, JournalLimits(burst_s=60)) as pipeline:
        units = _submitted(database, monkeypatch)
        appends = []
        for number in range(20):
            appends.append(asyncio.create_task(pipeline.journal.append(uplink(number))))
            await asyncio.sleep(0)
        await asyncio.gather(*appends)
    assert units[0].taken
    assert len(units[0].taken) == len(appends)


async def test_burst_without_an_end_does_not_keep_its_first_message_waiting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pipeline_on(database, JournalLimits(burst_s=0)) as pipeline:
        units = _submitted(database, monkeypatch)
        appends = []
        while not units:
            appends.append(asyncio.create_task(pipeline.journal.append(uplink(1))))
            await asyncio.sleep(0)
        assert len(appends) <= 3
        await asyncio.gather(*appends)


async def test_message_taken_in_just_before_the_journal_is_given_up_is_written_before_that(
    database: Database,
) -> None:
    async with pipeline_on(database, JournalLimits(burst_s=60)) as pipeline:
        last = asyncio.create_task(pipeline.journal.append(uplink(1)))
        await asyncio.sleep(0)
    async with pipeline_on(database) as pipeline:
        assert pipeline.journal.waiting == 1
        (next_entry,) = await pipeline.accept(uplink(2))
        last_position = (await last).position
        assert last_position is not None
        assert last_position < next_entry.position


def _submitted(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[AppendUnit]:
    """Note the units of the journal that are handed over from now on."""
    units: list[AppendUnit] = []
    submit = database.submit

    def noting(unit: Any) -> Any:
        if isinstance(unit, AppendUnit):
            units.append(unit)
        return submit(unit)

    monkeypatch.setattr(database, "submit", noting)
    return units
