"""What must hold of a fleet after any faults, checked at the receiver and in PostgreSQL."""

from collections import defaultdict
from collections.abc import Set
from typing import Final

from actors.target import MAX_IN_FLIGHT
from tests.faults.kept_rows import Key, assert_kept_once
from tests.support.city import City
from tests.support.load import Load
from tests.support.receiver_process import ReceivedPush

SEND_TIMEOUT_S: Final = 10.0


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


def overlaps(pushes: list[ReceivedPush], *, frozen: Set[int] = frozenset()) -> list[str]:
    """Say where a process went on to send to a target although another one had taken it over.

    What a process had begun before arrives a little later: as much as it may have in flight, within the
    time that a send may take. Of those `frozen` it arrives when they wake.
    """
    found = []
    current: int | None = None
    for place, push in enumerate(pushes):
        if push.sender is None or push.sender == current:
            continue
        before, current = current, push.sender
        if before is None or before in frozen:
            continue
        late = _sent_between_others(pushes[place:], before, push.at_s + SEND_TIMEOUT_S)
        if late > MAX_IN_FLIGHT:
            found.append(f"{before} sent {late} more after {current} had taken over")
    return found


def _sent_between_others(pushes: list[ReceivedPush], sender: int, until_s: float) -> int:
    """How many of `sender` come before the last of somebody else: not those after it got the target back."""
    soon = [push.sender for push in pushes if push.at_s <= until_s]
    others = [place for place, one in enumerate(soon) if one not in {sender, None}]
    return soon[: others[-1]].count(sender) if others else 0


def _key(push: ReceivedPush) -> Key:
    return push.body["device"], push.body["n"]
