"""Signals over PostgreSQL when the server goes away, freezes, or says what nobody of ours has said."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

import pytest

from protocols.errors import StorageUnavailable
from protocols.messages import TargetId
from storage.postgresql.signals import CHANNEL, PostgresqlSignals
from tests.support.postgresql import PostgresqlServer

PATIENCE_S = 20.0
READY = TargetId(999)


@asynccontextmanager
async def listening(
    signals: PostgresqlSignals, heard: list[TargetId]
) -> AsyncIterator[asyncio.Task[None]]:
    """Listen within the block, which begins when signals are heard."""
    task = asyncio.create_task(signals.listen(heard.extend))
    while READY not in heard:
        assert not task.done(), task
        with suppress(StorageUnavailable):
            await signals.notify([READY])
        await asyncio.sleep(0.01)
    heard.clear()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def refusal_of(task: "asyncio.Task[None]") -> StorageUnavailable:
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StorageUnavailable) as raised:
            await task
    return raised.value


async def test_listener_learns_that_the_server_is_gone_and_can_begin_again(
    own_postgresql: PostgresqlServer,
) -> None:
    signals = PostgresqlSignals(own_postgresql.url(own_postgresql.create_database()))
    heard: list[TargetId] = []
    async with listening(signals, heard) as task:
        own_postgresql.kill()
        await refusal_of(task)
        with pytest.raises(StorageUnavailable):
            await signals.notify([TargetId(1)])
        with pytest.raises(StorageUnavailable):
            await signals.listen(heard.extend)
    own_postgresql.start()
    async with listening(signals, heard):
        await signals.notify([TargetId(2)])
        await until_heard(heard, TargetId(2))


async def test_server_that_freezes_holds_up_a_signal_for_seconds_only(
    own_postgresql: PostgresqlServer,
) -> None:
    signals = PostgresqlSignals(own_postgresql.url(own_postgresql.create_database()))
    async with listening(signals, []) as task:
        own_postgresql.pause()
        try:
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(StorageUnavailable):
                    await signals.notify([TargetId(1)])
            await refusal_of(task)
        finally:
            own_postgresql.resume()


@pytest.mark.parametrize(
    ("payload", "named"),
    [("", []), ("x", []), ("1;2", []), ("-4", []), ("\u0663", []), ("1.5", []), ("17,", [17])],
)
async def test_what_others_write_to_the_channel_is_heard_as_far_as_it_names_targets(
    postgresql: PostgresqlServer, postgresql_url: str, payload: str, named: list[int]
) -> None:
    signals = PostgresqlSignals(postgresql_url)
    heard: list[TargetId] = []
    async with listening(signals, heard):
        with postgresql.administration(postgresql_url.rpartition("/")[2]) as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
        await signals.notify([TargetId(7)])
        await until_heard(heard, TargetId(7))
    assert set(heard) - {READY} == {7, *named}


async def until_heard(heard: Collection[TargetId], target_id: TargetId) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if target_id in heard:
                return
            await asyncio.sleep(0.01)
