"""Processes that share what must exist once, on one database and in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from actors.runtime import ActorSystem, VirtualClock
from storage import open_database
from storage.leases import LeaseStore, LeaseSurvey
from tests.support.clock_in_database import ClockInDatabase
from tests.support.database_in_virtual_time import DatabaseInVirtualTime
from tests.support.workers import Worker

MOVED_WITHIN_S = 15.0
# Somebody looks just when a lease runs out, and not only in the next round.
USUALLY_MOVED_WITHIN_S = 13.5
SEEN_TO_BE_GONE_S = 6.0
ROUND_S = 1.5
HOUSEKEEPING = "housekeeping"


class Scene:
    def __init__(
        self, database: DatabaseInVirtualTime, clock: VirtualClock, system: ActorSystem
    ) -> None:
        self.database = database
        self.clock = clock
        self.system = system
        self.wanted = {HOUSEKEEPING, *(f"target/{number}" for number in range(1, 10))}
        self.log: list[tuple[str, str, str]] = []

    async def worker(self, name: str) -> Worker:
        worker = Worker(
            name, database=self.database, clock=self.clock, wanted=self.wanted, log=self.log
        )
        await worker.join(self.system)
        await self.clock.settle()
        return worker

    async def advance_until(self, is_so: Callable[[], bool], *, within_s: float) -> float:
        """Let time pass until it is so; return how much that took."""
        began_s = self.clock.monotonic()
        while not is_so():
            assert self.clock.monotonic() - began_s <= within_s, "it took too long"
            await self.clock.advance(0.1)
        return self.clock.monotonic() - began_s

    async def holders(self) -> dict[str, str | None]:
        rows = await LeaseStore(self.database, "-", now=ClockInDatabase.now).list()
        return {row.name: row.holder for row in rows}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    inner = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await inner.open()
    clock = VirtualClock()
    database = DatabaseInVirtualTime(inner, clock)
    await database.open()
    system = ActorSystem(clock=clock)
    await system.start()
    yield Scene(database, clock, system)
    await system.stop(2.0)
    await inner.close()


async def test_first_process_takes_everything_at_once(scene: Scene) -> None:
    a = await scene.worker("a")
    assert a.up == scene.wanted
    assert set((await scene.holders()).values()) == {"a"}
    assert all(a.ownership.holds(name) for name in scene.wanted)


async def test_process_that_joins_gets_its_share_and_never_are_there_two_at_once(
    scene: Scene,
) -> None:
    a = await scene.worker("a")
    b = await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    assert (len(a.up), a.up | b.up) == (5, scene.wanted)
    assert each_is_up_once(scene.log)

    c = await scene.worker("c")
    await scene.advance_until(lambda: len(c.up) == 2, within_s=3 * ROUND_S)
    assert sorted(len(one.up) for one in (a, b, c)) == [2, 4, 4]
    assert each_is_up_once(scene.log)


async def test_shares_rest_once_they_are_fair(scene: Scene) -> None:
    a, b = await scene.worker("a"), await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    moves = len(scene.log)
    await scene.clock.advance(60)
    assert (len(scene.log), len(a.up), len(b.up)) == (moves, 5, 5)


async def test_lease_is_renewed_while_what_acts_under_it_comes_to_its_end(scene: Scene) -> None:
    a = await scene.worker("a")
    a.things.may_end.clear()
    b = await scene.worker("b")
    await scene.clock.advance(60)
    assert b.up == set()
    a.things.may_end.set()
    await scene.advance_until(lambda: len(b.up) == 5, within_s=2 * ROUND_S)
    assert each_is_up_once(scene.log)


@pytest.mark.parametrize("lived_s", [0.0, 0.7, 1.4])
async def test_what_a_dead_process_held_moves_within_fifteen_seconds(
    scene: Scene, lived_s: float
) -> None:
    a, b = await scene.worker("a"), await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    await scene.clock.advance(lived_s)
    a.stop_renewing()

    await scene.clock.advance(SEEN_TO_BE_GONE_S)
    await a.be_missed()
    took_s = await scene.advance_until(lambda: b.up == scene.wanted, within_s=MOVED_WITHIN_S)
    assert took_s + SEEN_TO_BE_GONE_S <= USUALLY_MOVED_WITHIN_S


async def test_process_that_leaves_in_order_is_succeeded_in_the_next_rounds(scene: Scene) -> None:
    a, b = await scene.worker("a"), await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    a.ownership.retire()
    a.things.up.clear()
    await scene.system.stop_child(a.path)
    await a.be_missed()
    await scene.advance_until(lambda: b.up == scene.wanted, within_s=2 * ROUND_S)


async def test_tenure_cannot_be_proved_any_more_before_another_process_has_the_thing(
    scene: Scene,
) -> None:
    a, b = await scene.worker("a"), await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    tenures = tuple(a.things.up.values())
    assert all(tenure.may_begin() for tenure in tenures)
    a.stop_renewing()
    await a.be_missed()

    def is_over() -> bool:
        return not any(tenure.may_begin() for tenure in tenures)

    took_s = await scene.advance_until(is_over, within_s=4)
    # A send that begins in the last moment ends in time, however long it may take.
    left_s = await scene.advance_until(lambda: len(b.up) > 5, within_s=MOVED_WITHIN_S)
    assert took_s < 4
    assert left_s >= 10


async def test_what_does_not_ask_is_put_down_when_its_tenure_lapses_and_the_rest_stays(
    scene: Scene,
) -> None:
    a = await scene.worker("a")
    a.stop_renewing()
    await scene.advance_until(lambda: HOUSEKEEPING not in a.up, within_s=13)
    assert len(a.things.up) == 9
    assert not any(tenure.may_begin() for tenure in a.things.up.values())

    a.go_on()
    await scene.clock.advance(ROUND_S)
    assert a.up == scene.wanted
    assert all(tenure.may_begin() for tenure in a.things.up.values())
    assert [entry for entry in scene.log if entry[1] == "down"] == [("a", "down", HOUSEKEEPING)]


async def test_paused_process_puts_down_what_another_has_taken_meanwhile(scene: Scene) -> None:
    a, b = await scene.worker("a"), await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    a.stop_renewing()
    a.clock.stand_still()
    await a.be_missed()
    await scene.advance_until(lambda: b.up == scene.wanted, within_s=MOVED_WITHIN_S)
    assert all(tenure.may_begin() for tenure in a.things.up.values()), "its clock stood still"

    a.clock.go_on()
    assert not any(tenure.may_begin() for tenure in a.things.up.values())
    a.go_on()
    await scene.clock.settle()
    assert a.up == set()


async def test_refused_tenure_is_over_at_once_and_put_down(scene: Scene) -> None:
    a = await scene.worker("a")
    tenure = a.things.up["target/3"]
    await LeaseStore(scene.database, "a", now=ClockInDatabase.now).forget(["target/3"])
    tenure.refuse()
    assert not tenure.may_begin()
    await scene.clock.settle()
    assert ("a", "down", "target/3") in scene.log
    # It was free, so that this process may have it again, as a new tenure.
    assert a.things.up["target/3"] is not tenure
    assert a.things.up["target/3"].may_begin()


async def test_thing_that_is_new_is_taken_up_and_one_that_is_gone_is_forgotten(
    scene: Scene,
) -> None:
    a = await scene.worker("a")
    scene.wanted.add("target/10")
    scene.wanted.remove("target/1")
    await a.ownership.reconsider()
    await scene.clock.settle()
    assert a.up == scene.wanted
    assert set(await scene.holders()) == scene.wanted


async def test_replaced_thing_is_started_anew_where_it_is_held_and_only_there(
    scene: Scene,
) -> None:
    a, b = await scene.worker("a"), await scene.worker("b")
    await scene.advance_until(lambda: len(b.up) == 5, within_s=3 * ROUND_S)
    name = min(a.things.up)
    before = len(scene.log)
    for worker in (a, b):
        await worker.ownership.reconsider(replaced=name)
    await scene.clock.settle()
    assert scene.log[before:] == [("a", "down", name), ("a", "up", name)]


async def test_process_that_retires_keeps_what_it_has_and_takes_nothing_more(
    scene: Scene,
) -> None:
    a = await scene.worker("a")
    a.ownership.retire()
    scene.wanted.add("target/10")
    await scene.clock.advance(30)
    assert a.up == scene.wanted - {"target/10"}
    assert all(tenure.may_begin() for tenure in a.things.up.values())


async def test_restarted_actor_goes_on_with_what_is_held(scene: Scene) -> None:
    a = await scene.worker("a")
    moves = len(scene.log)
    await scene.system.restart(a.path)
    await scene.clock.advance(30)
    assert (len(scene.log), a.up) == (moves, scene.wanted)


async def test_reads_that_come_to_no_end_do_not_keep_a_process_from_renewing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await scene.worker("a")

    async def never(_store: LeaseStore) -> LeaseSurvey:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(LeaseStore, "survey", never)
    for _ in range(3):
        await scene.clock.advance(ROUND_S)
        # How long it looks around is a matter of real time.
        await asyncio.sleep(1.1)
        await scene.clock.settle()
    await scene.clock.advance(1)
    assert scene.clock.monotonic() > 4
    assert all(tenure.may_begin() for tenure in a.things.up.values())


def each_is_up_once(log: list[tuple[str, str, str]]) -> bool:
    """Whether every thing was put down by its holder before another took it up."""
    of_name: dict[str, list[tuple[str, str]]] = {}
    for worker, move, name in log:
        of_name.setdefault(name, []).append((worker, move))
    return all(
        (before[1], after[1]) in {("up", "down"), ("down", "up")}
        and (after[1] == "up" or before[0] == after[0])
        for moves in of_name.values()
        for before, after in pairwise(moves)
    )
