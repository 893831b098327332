import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors import paths
from protocols.errors import DecoderQuarantined, DecoderResting, NotFound, ScriptError
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver, in_turn, status


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def pool() -> StubPool:
    return StubPool()


@pytest.fixture
async def hub(tmp_path: Path, pool: StubPool) -> AsyncIterator[HubInProcess]:
    async with HubInProcess(tmp_path / "hub.db", pool) as hub:
        yield hub
        for balance in await hub.ledger.balance():
            assert balance.imbalance == 0
        assert await hub.ledger.audit() == []


def numbers(receiver: Receiver) -> list[int]:
    """The numbers that were posted, as they came out of the decoder or raw."""
    bodies = [json.loads(request.body) for request in receiver.requests]
    return [body.get("decoded", body)["n"] for body in bodies]


async def test_message_is_pushed_as_its_decoder_returned_it(
    hub: HubInProcess, receiver: Receiver
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    target_id = await hub.target(application_id, receiver.url)
    await hub.connect(target_id, await hub.decoder(), device_id)

    await hub.post(api_key, 7)
    await hub.settled()

    assert [request.body for request in receiver.requests] == [b'{"decoded":{"n":7}}']


async def test_device_and_decoder_and_null_and_two_targets_make_four_pushes(
    hub: HubInProcess, receiver: Receiver
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    decoder_id = await hub.decoder()
    for _ in range(2):
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, decoder_id, device_id)
        await hub.connect(target_id, None, device_id)

    await hub.post(api_key, 1)
    balance = await hub.settled()

    assert sorted(request.body for request in receiver.requests) == (
        [b'{"decoded":{"n":1}}'] * 2 + [b'{"n":1}'] * 2
    )
    assert (balance.jobs.accepted, balance.deliveries.created) == (2, 4)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 4


async def test_message_of_a_device_without_connections_is_kept_and_goes_nowhere(
    hub: HubInProcess,
) -> None:
    _, api_key = await hub.device(await hub.application())

    await hub.post(api_key, 1)
    balance = await hub.settled()

    assert (balance.jobs.no_decoder, balance.deliveries.created) == (1, 0)


async def test_key_of_no_device_is_refused(hub: HubInProcess) -> None:
    with pytest.raises(NotFound):
        await hub.post("00000000-0000-4000-8000-000000000000", 1)


async def test_slow_decoder_defers_its_own_device_and_keeps_its_order(
    hub: HubInProcess, receiver: Receiver, pool: StubPool
) -> None:
    application_id = await hub.application()
    slow_id, slow_key = await hub.device(application_id)
    quick_id, quick_key = await hub.device(application_id)
    slow, quick = await hub.decoder(), await hub.decoder()
    target_id = await hub.target(application_id, receiver.url)
    await hub.connect(target_id, slow, slow_id)
    await hub.connect(target_id, quick, quick_id)
    pool.held.add(slow)

    await hub.post(slow_key, 1)
    await hub.post(quick_key, 101)
    await receiver.wait_for(1)
    await _until_deferred(hub, 1)
    for number in range(2, 150):
        await hub.post(slow_key, number)
    await _until_deferred(hub, 149)
    pool.let_go(slow)
    await hub.settled()

    assert numbers(receiver) == [101, *range(1, 150)]


async def test_quarantined_decoder_keeps_messages_until_it_is_released(
    hub: HubInProcess, receiver: Receiver, pool: StubPool
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    decoder_id = await hub.decoder()
    await hub.connect(await hub.target(application_id, receiver.url), decoder_id, device_id)
    pool.errors[decoder_id] = DecoderQuarantined("Three strikes.")
    for number in range(3):
        await hub.post(api_key, number)
    await _until_deferred(hub, 3)

    pool.release(decoder_id)
    await hub.settled(timeout_s=15.0)

    assert numbers(receiver) == [0, 1, 2]


async def test_what_a_decoder_failed_on_is_decoded_again_by_a_replay(
    hub: HubInProcess, receiver: Receiver, pool: StubPool
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    decoder_id = await hub.decoder()
    await hub.connect(await hub.target(application_id, receiver.url), decoder_id, device_id)
    pool.errors[decoder_id] = ScriptError("It threw.")
    # More than a replay reads at once.
    for number in range(250):
        await hub.post(api_key, number)
    failed = await hub.settled()

    pool.errors.clear()
    queued = await hub.hub.replay(decoder_id, None, None)
    await receiver.wait_for(250)
    balance = await hub.settled()

    assert (failed.jobs.failed, queued, balance.jobs.failed, balance.jobs.decoded) == (
        250,
        250,
        0,
        250,
    )
    assert sorted(numbers(receiver)) == list(range(250))


async def test_replay_waits_for_a_decoder_that_rests(
    hub: HubInProcess, receiver: Receiver, pool: StubPool
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    decoder_id = await hub.decoder()
    await hub.connect(await hub.target(application_id, receiver.url), decoder_id, device_id)
    pool.errors[decoder_id] = ScriptError("It threw.")
    for number in range(3):
        await hub.post(api_key, number)
    await hub.settled()
    pool.held.add(decoder_id)
    await hub.hub.replay(decoder_id, None, None)
    await pool.holds(3)

    pool.errors[decoder_id] = DecoderResting("Its first call took long.", rest_s=0.01)
    pool.let_go(decoder_id)
    pool.errors.clear()
    await receiver.wait_for(3)

    assert sorted(numbers(receiver)) == [0, 1, 2]


async def test_replay_goes_on_when_the_decoders_are_replaced_under_it(
    hub: HubInProcess, receiver: Receiver, pool: StubPool
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    decoder_id = await hub.decoder()
    await hub.connect(await hub.target(application_id, receiver.url), decoder_id, device_id)
    pool.errors[decoder_id] = ScriptError("It threw.")
    for number in range(3):
        await hub.post(api_key, number)
    await hub.settled()
    pool.errors.clear()
    pool.held.add(decoder_id)
    await hub.hub.replay(decoder_id, None, None)
    await pool.holds(3)

    await hub.hub.restart_actor(paths.DECODERS)
    await pool.holds(3)
    pool.let_go(decoder_id)

    await receiver.wait_for(3)
    assert (await hub.settled()).jobs.decoded == 3


async def test_failed_push_is_tried_again_under_the_same_id_and_holds_up_its_device_alone(
    hub: HubInProcess,
) -> None:
    application_id = await hub.application()
    first_id, first_key = await hub.device(application_id)
    other_id, other_key = await hub.device(application_id)
    async with Receiver(in_turn(status(500), status(200))) as receiver:
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, None, first_id, other_id)
        await hub.post(first_key, 1)
        await receiver.wait_for(1)
        await _until_retrying(hub)
        await hub.post(first_key, 2)
        await hub.post(other_key, 3)
        await hub.settled(timeout_s=15.0)

        assert numbers(receiver) == [1, 3, 1, 2]
        ids = [request.headers["webhook-id"] for request in receiver.requests]
        assert ids[0] == ids[2]
        assert len(set(ids)) == 3


@pytest.mark.parametrize("path", [paths.WRITER, paths.DECODERS, paths.ROUTER, paths.DEFERRAL])
async def test_restart_of_an_actor_under_load_loses_and_doubles_nothing(
    hub: HubInProcess, receiver: Receiver, path: str
) -> None:
    application_id = await hub.application()
    keys = []
    target_id = await hub.target(application_id, receiver.url)
    decoder_id = await hub.decoder()
    for _ in range(5):
        device_id, api_key = await hub.device(application_id)
        await hub.connect(target_id, decoder_id, device_id)
        keys.append(api_key)

    for number in range(200):
        await hub.post(keys[number % 5], number)
        if number % 40 == 20:
            await hub.hub.restart_actor(path)
    balance = await hub.settled()

    assert sorted(set(numbers(receiver))) == list(range(200))
    assert (balance.jobs.accepted, balance.jobs.decoded) == (200, 200)
    assert balance.deliveries.created == 200


async def test_restart_of_target_and_device_under_load_keeps_the_order(
    hub: HubInProcess, receiver: Receiver
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    target_id = await hub.target(application_id, receiver.url)
    await hub.connect(target_id, await hub.decoder(), device_id)

    for number in range(200):
        await hub.post(api_key, number)
        if number % 40 == 20:
            await hub.hub.restart_actor(paths.target_path(target_id))
        if number % 40 == 30:
            await hub.hub.restart_actor(f"{paths.DEVICES}/{device_id}")
    await hub.settled()

    received = numbers(receiver)
    firsts = list(dict.fromkeys(received))
    assert firsts == list(range(200))


async def test_what_was_accepted_before_a_stop_goes_on_after_the_next_start(
    tmp_path: Path, receiver: Receiver
) -> None:
    stuck = StubPool()
    async with HubInProcess(tmp_path / "hub.db", stuck) as hub:
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        decoder_id = await hub.decoder()
        await hub.connect(await hub.target(application_id, receiver.url), decoder_id, device_id)
        stuck.held.add(decoder_id)
        for number in range(20):
            await hub.post(api_key, number)

    async with HubInProcess(tmp_path / "hub.db", StubPool()) as hub:
        balance = await hub.settled()

    assert numbers(receiver) == list(range(20))
    assert balance.imbalance == 0


async def _until_deferred(hub: HubInProcess, jobs: int) -> None:
    async with asyncio.timeout(10):
        # The writer's thread settles: it can only be asked, again and again.
        while sum(b.jobs.deferred for b in await hub.ledger.balance()) < jobs:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def _until_retrying(hub: HubInProcess) -> None:
    async with asyncio.timeout(10):
        while not sum(b.deliveries.retrying for b in await hub.ledger.balance()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
