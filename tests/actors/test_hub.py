"""What the hub as a whole answers for, beside the way of a message."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from actors import paths
from actors.hub import HubSettings
from actors.messages import CancelOrphans
from actors.runtime import ActorSystem, VirtualClock
from protocols.decoders import DecodeOutcome, DecodeRequest
from protocols.errors import HubFull, PayloadTooLarge
from protocols.messages import TargetId
from storage.tables import entities
from storage.tables.pipeline import message, source_key
from storage.target_settings import TargetSettings
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver, never

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("limit_bytes", [MEBIBYTE // 2, 2 * MEBIBYTE])
async def test_message_of_as_many_bytes_as_the_operator_allows_is_taken_in_and_no_longer_one(
    tmp_path: Path, limit_bytes: int
) -> None:
    settings = HubSettings(max_body_bytes=limit_bytes)
    async with HubInProcess(tmp_path / "hub.db", StubPool(), settings) as hub:
        _, api_key = await hub.device(await hub.application())
        longest = b'["' + b"x" * (limit_bytes - 4) + b'"]'

        await hub.hub.accept_http(api_key, longest, "application/json", None)
        with pytest.raises(PayloadTooLarge):
            await hub.hub.accept_http(api_key, longest + b" ", "application/json", None)


async def test_what_is_decoded_for_a_target_after_its_deletion_is_cancelled(
    tmp_path: Path,
) -> None:
    pool = StubPool()
    async with HubInProcess(tmp_path / "hub.db", pool) as hub:
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        decoder_id = await hub.decoder()
        target_id = await hub.target(application_id, "http://127.0.0.1:9/")
        await hub.connect(target_id, decoder_id, device_id)
        pool.held.add(decoder_id)
        await hub.post(api_key, 1)
        await hub.balance_when(lambda balance: balance.jobs.deferred == 1)
        statement = delete(entities.data_target).where(entities.data_target.c.id == target_id)
        await hub.database.write(lambda transaction: transaction.execute(statement))
        await hub.hub.configuration_changed(what="data_target", entity_id=target_id)

        pool.let_go(decoder_id)
        await hub.balance_when(lambda balance: balance.deliveries.created == 1)
        await hub.hub.configuration_changed(what="organization", entity_id=1)
        balance = await hub.settled()

    assert (balance.deliveries.created, balance.deliveries.cancelled) == (1, 1)


async def test_change_that_has_read_an_older_list_of_targets_does_not_stop_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_ids = TargetSettings.ids
    has_read, may_go_on = asyncio.Event(), asyncio.Event()

    async def first_one_dawdles(settings: TargetSettings) -> list[TargetId]:
        ids = await read_ids(settings)
        if not has_read.is_set():
            has_read.set()
            await may_go_on.wait()
        return ids

    async with HubInProcess(tmp_path / "hub.db", StubPool()) as hub:
        application_id = await hub.application()
        monkeypatch.setattr(TargetSettings, "ids", first_one_dawdles)
        older = asyncio.create_task(
            hub.hub.configuration_changed(what="organization", entity_id=application_id)
        )
        await has_read.wait()
        newer = asyncio.create_task(hub.target(application_id, "http://127.0.0.1:9/"))
        # It may have to wait for the older one, and then this takes all of its time.
        await asyncio.wait((newer,), timeout=0.2)
        may_go_on.set()
        await older

        target = await hub.hub.actor(paths.target_path(await newer))
        assert target is not None


async def test_hub_stops_in_its_time_although_the_database_cannot_be_written(
    tmp_path: Path,
) -> None:
    hub = HubInProcess(tmp_path / "hub.db", StubPool())
    await hub.__aenter__()
    with closing(sqlite3.connect(tmp_path / "hub.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(5):
            await hub.hub.stop(timeout_s=0.5)
    await hub.close()


async def test_targets_that_are_deleted_together_stop_together(tmp_path: Path) -> None:
    async with Receiver(never()) as receiver, HubInProcess(tmp_path / "hub.db", StubPool()) as hub:
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        for _ in range(3):
            target_id = await hub.target(application_id, receiver.url, timeout_ms=60_000)
            await hub.connect(target_id, None, device_id)
        await hub.post(api_key, 1)
        await receiver.wait_for(3)
        await hub.database.write(
            lambda transaction: transaction.execute(delete(entities.data_target))
        )

        # Each of them waits three seconds for its receiver.
        async with asyncio.timeout(6):
            await hub.hub.configuration_changed(what="application", entity_id=application_id)

        assert hub.hub.system.children(paths.TARGETS) == []


async def test_key_of_a_message_is_forgotten_when_it_is_of_no_use_long_before_the_message(
    tmp_path: Path,
) -> None:
    clock = VirtualClock(datetime.now(UTC))  # from which the ids of messages are, too
    system = ActorSystem(clock=clock)
    async with HubInProcess(tmp_path / "hub.db", StubPool(), system=system) as hub:
        _, api_key = await hub.device(await hub.application())
        await hub.hub.accept_http(api_key, b"{}", None, "once")
        await hub.settled()

        clock.shift(timedelta(hours=25).total_seconds())
        await clock.advance(61)
        housekeeping = system.find(paths.HOUSEKEEPING)
        assert housekeeping is not None
        await housekeeping.ask(CancelOrphans())  # answered when the round is through

        assert [await hub.count(table) for table in (source_key, message)] == [0, 1]


class SlowTrials(StubPool):
    """Answers no trial before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def test(self, request: DecodeRequest) -> DecodeOutcome:
        await self.may_answer.wait()
        return DecodeOutcome(
            decoder_id=0, version=request.source.version, body=request.payload, error=None
        )


async def test_trials_of_decoders_are_refused_while_too_many_wait(tmp_path: Path) -> None:
    pool = SlowTrials()
    async with HubInProcess(tmp_path / "hub.db", pool) as hub:
        trials = [asyncio.create_task(hub.hub.test_decoder("", b"{}", b"{}")) for _ in range(200)]
        done, waiting = await asyncio.wait(trials, return_when=asyncio.FIRST_EXCEPTION)
        pool.may_answer.set()
        answered = await asyncio.gather(*waiting)

        assert all(isinstance(trial.exception(), HubFull) for trial in done)
        assert {trial.body for trial in answered} == {b"{}"}
        assert (await hub.hub.test_decoder("", b"[]", b"{}")).body == b"[]"
