"""A tree of all strategies under random crashes, kills and restarts always finds back to rest."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime import (
    Actor,
    ActorInfo,
    ActorState,
    ActorSystem,
    Backoff,
    ChildSpec,
    Strategy,
    Supervisor,
    VirtualClock,
)
from protocols.errors import ConnectionLost
from tests.actors.runtime.actors import Boom

_BACKOFF = Backoff(initial_s=0.1, max_s=1.0)
_BRANCHES = tuple(Strategy)
_LEAVES = ("a", "b", "c")


class Leaf(Actor):
    """Counts its living instances; does what it is told."""

    redeliver_once = True
    living: dict[str, int]
    got: dict[str, list[int]]

    async def on_start(self) -> None:
        self.living[self.path] = self.living.get(self.path, 0) + 1
        assert self.living[self.path] == 1, "two instances of one actor at the same time"
        await asyncio.sleep(0)

    async def on_restart(self, error: Exception | None) -> None:
        await asyncio.sleep(0)
        self.living[self.path] -= 1

    async def on_stop(self) -> None:
        self.living[self.path] -= 1

    async def on_receive(self, message: Any) -> None:
        match message:
            case "crash":
                raise Boom("told to")
            case "lose":
                raise ConnectionLost("told to")
            case "wait":
                await self.clock.sleep(0.3)
            case int(number):
                self.got.setdefault(self.path, []).append(number)


def _branch(strategy: Strategy, max_restarts: int) -> ChildSpec:
    leaves = tuple(ChildSpec(name, Leaf, backoff=_BACKOFF) for name in _LEAVES)
    return ChildSpec(
        strategy.value,
        Supervisor,
        (leaves,),
        {"strategy": strategy, "max_restarts": max_restarts, "window_s": 5.0},
        backoff=_BACKOFF,
    )


steps = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["crash", "lose", "wait", "kill", "restart", "tell"]),
            st.sampled_from(_BRANCHES),
            st.sampled_from(_LEAVES),
        ),
        st.tuples(st.just("restart"), st.sampled_from(_BRANCHES), st.just("")),
        st.tuples(st.just("advance"), st.sampled_from(_BRANCHES), st.just("")),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(steps, st.integers(0, 4), st.floats(0.01, 2.0))
def test_every_actor_runs_again_as_one_instance_and_has_got_what_it_was_told(
    script: list[tuple[str, Strategy, str]], max_restarts: int, pause_s: float
) -> None:
    Leaf.living, Leaf.got = {}, {}
    told: dict[str, list[int]] = {}
    asyncio.run(_play(script, max_restarts, pause_s, told))
    assert Leaf.got == told
    assert set(Leaf.living.values()) == {0}


async def _play(
    script: list[tuple[str, Strategy, str]],
    max_restarts: int,
    pause_s: float,
    told: dict[str, list[int]],
) -> None:
    clock = VirtualClock()
    system = ActorSystem(clock=clock, seed=5, max_restarts=1_000)
    await system.start()
    for strategy in _BRANCHES:
        system.spawn("/hub", _branch(strategy, max_restarts))
    await clock.settle()
    refs = {path: system.find(path) for path in _paths()}
    for number, (step, strategy, leaf) in enumerate(script):
        path = f"/hub/{strategy.value}/{leaf}".rstrip("/")
        ref = refs.get(path)
        if step == "advance":
            await clock.advance(pause_s)
        elif step == "restart":
            restarting = asyncio.create_task(system.restart(path))
            await clock.advance(1.0)
            assert restarting.done()
        elif ref is not None and step == "kill":
            ref.kill()
        elif ref is not None and step == "tell":
            told.setdefault(path, []).append(number)
            ref.tell(number)
        elif ref is not None:
            ref.tell(step)
    await clock.advance(120.0)
    assert {path: system.find(path) for path in _paths()} == refs
    assert [info.path for info in _all(system.tree()) if info.state is not ActorState.RUNNING] == []
    assert set(Leaf.living.values()) == {1}
    assert (await system.stop(5.0)).is_clean


def _paths() -> list[str]:
    return [f"/hub/{strategy.value}/{leaf}" for strategy in _BRANCHES for leaf in _LEAVES]


def _all(info: ActorInfo) -> list[ActorInfo]:
    return [info, *(each for child in info.children for each in _all(child))]
