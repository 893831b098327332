"""A hub is copied in the middle of its work, and the hub on the copy brings all of it to its end."""

import json
from collections import defaultdict
from pathlib import Path

from storage import open_database
from storage.copying import copy_database
from storage.ledger import LedgerBalance
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver, status

DEVICES = 4
ROUND = 8


async def test_hub_on_the_copy_finishes_what_the_first_one_began(
    tmp_path: Path, database_url: str
) -> None:
    source, target = f"sqlite:///{tmp_path / 'source.db'}", database_url
    async with Receiver(status(503)) as receiver:
        await _work_until_everything_waits_somewhere(source, receiver)
        empty = open_database(target)
        await empty.open()
        await empty.close()

        await copy_database(source, target, lambda _table, _rows: None)

        receiver.answer = status(200)
        refused = {request.headers["webhook-id"] for request in receiver.requests}
        receiver.requests.clear()
        async with HubInProcess(target, StubPool()) as hub:
            balance = await hub.settled(timeout_s=60)
            assert balance.imbalance == 0
            assert await hub.ledger.audit() == []
        _assert_all_arrived_once_in_order(receiver)
        assert refused <= {request.headers["webhook-id"] for request in receiver.requests}
        assert balance.jobs.decoded == balance.deliveries.delivered == DEVICES * 2 * ROUND


async def _work_until_everything_waits_somewhere(url: str, receiver: Receiver) -> None:
    pool = StubPool()
    async with HubInProcess(url, pool) as hub:
        application_id = await hub.application()
        target_id = await hub.target(application_id, receiver.url)
        deferring, prompt = await hub.decoder(), await hub.decoder()
        pool.held.add(deferring)
        devices = [await hub.device(application_id) for _ in range(DEVICES)]
        await hub.connect(target_id, deferring, *(device_id for device_id, _ in devices[::2]))
        await hub.connect(target_id, prompt, *(device_id for device_id, _ in devices[1::2]))
        await _post_round(hub, devices, range(ROUND))
        await hub.balance_when(_has_deferred_and_retrying)
        hub.results.gate.clear()  # what is accepted from here on stays in the journal
        await _post_round(hub, devices, range(ROUND, 2 * ROUND))
        (balance,) = await hub.ledger.balance()
        assert balance.jobs.pending == DEVICES * ROUND


async def _post_round(hub: HubInProcess, devices: list[tuple[int, str]], numbers: range) -> None:
    for number in numbers:
        for place, (_, key) in enumerate(devices):
            await hub.post(key, place * 1000 + number)


def _has_deferred_and_retrying(balance: LedgerBalance) -> bool:
    half = DEVICES * ROUND // 2
    return (balance.jobs.deferred, balance.jobs.decoded) == (half, half) and bool(
        balance.deliveries.retrying
    )


def _assert_all_arrived_once_in_order(receiver: Receiver) -> None:
    bodies = {request.headers["webhook-id"]: request.body for request in receiver.requests}
    seen: dict[int, list[int]] = defaultdict(list)
    for body in bodies.values():
        number = json.loads(body)["decoded"]["n"]
        seen[number // 1000].append(number % 1000)
    assert dict(sorted(seen.items())) == {
        device: list(range(2 * ROUND)) for device in range(DEVICES)
    }
