"""What must hold of a fleet after any faults, checked at the receiver and in PostgreSQL."""

from collections import defaultdict
from collections.abc import Set

from tests.faults.kept_rows import Key, assert_kept_once
from tests.support.city import City
from tests.support.load import Load
from tests.support.receiver_process import ReceivedPush


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
    """Say where a process began to send to a target after another process had taken it over.

    A process that gets the target back later on is none: between the two lies the time that a lease
    takes to move. Of those `frozen`, what they had begun before arrives when they wake.
    """
    found = []
    taken_over_at: dict[int, float] = {}
    current: int | None = None
    for push in pushes:
        sender = push.sender
        if sender is None or sender == current:
            continue
        left_at = taken_over_at.get(sender)
        if left_at is not None and push.at_s - left_at < 0.5 and sender not in frozen:
            found.append(f"{sender} sent {push.at_s - left_at:.2f} s after {current} took over")
        if current is not None:
            taken_over_at[current] = push.at_s
        current = sender
    return found


def _key(push: ReceivedPush) -> Key:
    return push.body["device"], push.body["n"]
