"""What all fault tests set up before the faults, and what they hold true after them."""

import asyncio
from collections import defaultdict
from itertools import pairwise
from typing import Final

from tests.faults.kept_rows import assert_kept_once
from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.load import Load
from tests.support.receiver_process import ReceiverProcess

DECODER: Final = "function decode(p, m) { return {device: p.device, n: p.n}; }"
SETTLE_TIMEOUT_S: Final = 90


async def set_up_load(
    hub: HubProcess, client: HubClient, receiver: ReceiverProcess, *, device_count: int
) -> tuple[Load, City, list[int]]:
    """Devices under four decoders, all pushed to the receiver; returns the decoders' ids too."""
    city = await City.found(client)
    target_id = await city.target(receiver.url)
    devices = [await city.device() for _ in range(device_count)]
    decoder_ids = [await city.decoder(DECODER) for _ in range(4)]
    for number, decoder_id in enumerate(decoder_ids):
        await client.connect(devices[number::4], target_id, decoder_id)
    return Load(hub.url, devices), city, decoder_ids


async def assert_nothing_lost_nothing_doubled(
    hub: HubProcess, city: City, receiver: ReceiverProcess, load: Load
) -> None:
    """The promises, checked at the receiver, in the database and in the ledger."""
    await city.settled(timeout_s=SETTLE_TIMEOUT_S)
    assert await city.client.imbalance() == 0
    ids: dict[tuple[int, int], set[str]] = defaultdict(set)
    for push in receiver.pushes():
        ids[push.body["device"], push.body["n"]].add(push.webhook_id)
    missing = load.acknowledged - ids.keys()
    assert not missing, f"{len(missing)} acknowledged messages never arrived: {sorted(missing)[:5]}"
    differing = [key for key, webhook_ids in ids.items() if len(webhook_ids) > 1]
    assert not differing, f"repeats under another webhook-id: {differing[:5]}"
    # In a thread, because on the loop may run the proxy that the hub reaches its database through.
    database = hub.database_url or hub.database
    await asyncio.to_thread(assert_kept_once, database, load.acknowledged)


def assert_order_kept(receiver: ReceiverProcess) -> None:
    """Each device's messages were first seen in the order in which it sent them."""
    first_seen: dict[int, list[int]] = defaultdict(list)
    seen: set[tuple[int, int]] = set()
    for push in receiver.pushes():
        key = (push.body["device"], push.body["n"])
        if key not in seen:
            seen.add(key)
            first_seen[key[0]].append(key[1])
    for device, numbers in first_seen.items():
        wrong = [(before, after) for before, after in pairwise(numbers) if before > after]
        assert not wrong, f"device {device}: {wrong[:5]}"
