"""What must hold of a fleet after any faults, checked at the receiver and in PostgreSQL."""

from collections import defaultdict
from itertools import pairwise
from typing import Final

from protocols.targets.policy import MAX_IN_FLIGHT
from tests.faults.kept_rows import Key, assert_kept_once
from tests.support.city import City
from tests.support.load import Load
from tests.support.receiver_process import ReceivedPush

SEND_TIMEOUT_S: Final = 10.0
# To release a lease, claim it and start an actor takes longer than this.
MOVE_S: Final = 0.05


async def assert_fleet_kept_its_promises(
    city: City, database_url: str, load: Load, pushes_by_target: dict[str, list[ReceivedPush]]
) -> None:
    assert await city.client.imbalance() == 0
    assert_kept_once(database_url, load.acknowledged)
    for path, pushes in pushes_by_target.items():
        _assert_complete(path, pushes, load)
        _assert_in_order(path, pushes)


def _assert_complete(path: str, pushes: list[ReceivedPush], load: Load) -> None:
    ids: dict[Key, set[str]] = defaultdict(set)
    for push in pushes:
        ids[_key(push)].add(push.webhook_id)
    missing = load.acknowledged - ids.keys()
    assert not missing, f"{path}: {len(missing)} never arrived, such as {sorted(missing)[:5]}"
    differing = [key for key, webhook_ids in ids.items() if len(webhook_ids) > 1]
    assert not differing, f"{path}: repeats under another webhook-id: {differing[:5]}"


def _assert_in_order(path: str, pushes: list[ReceivedPush]) -> None:
    last: dict[int, int] = {}
    seen: set[Key] = set()
    for push in pushes:
        device, number = key = _key(push)
        if key in seen:
            continue
        seen.add(key)
        assert number > last.get(device, -1), f"{path}: device {device} sent {number} too early"
        last[device] = number


def overlaps(pushes: list[ReceivedPush]) -> list[str]:
    """Say where two processes sent to one target at the same time.

    To move a target takes a moment in which nobody sends. What a process had begun before may
    still arrive among what its successor sends: as much as it may have in flight, once.
    """
    known = [push for push in pushes if push.sender is not None]
    switches = [
        after.at_s
        for before, after in pairwise(known)
        if before.sender != after.sender and after.at_s - before.at_s < MOVE_S
    ]
    found = []
    for first, at_s in enumerate(switches):
        soon = [later for later in switches[first:] if later - at_s <= SEND_TIMEOUT_S]
        if len(soon) > 2 * MAX_IN_FLIGHT:
            found.append(f"{len(soon)} changes of sender within {SEND_TIMEOUT_S:g} s")
    return found


def _key(push: ReceivedPush) -> Key:
    return push.body["device"], push.body["n"]
