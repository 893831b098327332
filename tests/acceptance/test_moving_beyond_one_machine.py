"""A hub on SQLite is killed under load, copied, and finished by a web process and two workers."""

import asyncio
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess, free_port
from tests.support.load import Load
from tests.support.procfile import fleet, run
from tests.support.receiver_process import ReceivedPush, ReceiverProcess

DECODER = "function decode(p, m) { return {device: p.device, n: p.n}; }"
# Such a message takes longer than a device's later ones may wait in memory: they are deferred.
SLOW_DECODER = """
function decode(p, m) {
  const end = Date.now() + 20; while (Date.now() < end);
  return {device: p.device, n: p.n};
}
"""
LOAD_S = 2.0
# The hub of another test may still try what it has for a receiver that had this port before.
PATH = "/outgrown"
SETTLE_TIMEOUT_S = 60


@pytest.mark.acceptance
async def test_messages_of_a_killed_hub_reach_their_target_from_the_fleet_it_moved_to(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with ReceiverProcess(tmp_path) as receiver:
        acknowledged, data_dir = await _work_until_killed(tmp_path, receiver)
        database = data_dir / "tingbro.db"
        # What the old hub has sealed is opened with its key alone.
        environment["TINGBRO_SECRET_KEY"] = (data_dir / "secret_key").read_text().strip()

        alone = {
            name: value
            for name, value in environment.items()
            if not name.startswith("TINGBRO_KAFKA")
        }
        await run(alone, "tingbro", "migrate")
        target = environment["TINGBRO_DATABASE_URL"]
        said = await run(
            alone, "tingbro", "copy", "--from", f"sqlite:///{database}", "--to", target
        )
        assert "the books agree" in said
        assert "TINGBRO_SECRET_KEY" in said
        await run(environment, "tingbro", "migrate")

        port = free_port()
        async with (
            fleet(environment, port, tmp_path / "fleet.log"),
            HubClient(f"http://127.0.0.1:{port}") as client,
        ):
            await client.login()
            await _wait_for_all(client, receiver, acknowledged)
            assert await client.imbalance() == 0
        _assert_none_doubled_and_order_kept(receiver)


async def _work_until_killed(
    directory: Path, receiver: ReceiverProcess
) -> tuple[set[tuple[int, int]], Path]:
    """Return what was acknowledged, and where the hub has kept it."""
    with HubProcess(directory / "alone") as hub:
        async with HubClient(hub.url) as client:
            await client.login()
            city = await City.found(client)
            target_id = await city.target(receiver.url + PATH)
            devices = [await city.device() for _ in range(8)]
            for source, part in ((DECODER, devices[::2]), (SLOW_DECODER, devices[1::2])):
                await client.connect(part, target_id, await city.decoder(source))
        load = Load(hub.url, devices)
        load.start()
        await asyncio.sleep(LOAD_S)
        hub.kill()
        await load.stop()
    assert load.acknowledged
    return load.acknowledged, hub.data_dir


async def _wait_for_all(
    client: HubClient, receiver: ReceiverProcess, wanted: set[tuple[int, int]]
) -> None:
    missing = wanted
    try:
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while missing := wanted - _received(receiver):  # noqa: ASYNC110  # it is another process
                await asyncio.sleep(0.2)
    except TimeoutError:
        books = await client.get("ledger")
        raise AssertionError(f"{len(missing)} of {len(wanted)} are missing: {books}") from None


def _received(receiver: ReceiverProcess) -> set[tuple[int, int]]:
    return {(push.body["device"], push.body["n"]) for push in _pushes(receiver)}


def _pushes(receiver: ReceiverProcess) -> list[ReceivedPush]:
    return [push for push in receiver.pushes() if push.path.endswith(PATH)]


def _assert_none_doubled_and_order_kept(receiver: ReceiverProcess) -> None:
    ids: dict[tuple[int, int], set[str]] = defaultdict(set)
    first_seen: dict[int, list[int]] = defaultdict(list)
    for push in _pushes(receiver):
        key = (push.body["device"], push.body["n"])
        if key not in ids:
            first_seen[key[0]].append(key[1])
        ids[key].add(push.webhook_id)
    assert not [key for key, webhook_ids in ids.items() if len(webhook_ids) > 1]
    for numbers in first_seen.values():
        assert all(before < after for before, after in pairwise(numbers))
