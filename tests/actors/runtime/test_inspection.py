import json

from actors.runtime import (
    Actor,
    ActorState,
    ActorSystem,
    ChildSpec,
    DropReason,
    Supervisor,
    VirtualClock,
)
from actors.runtime.dead_letters import DeadLetters
from actors.runtime.log_limiter import LogLimiter
from actors.runtime.statistics import ActorStatistics
from tests.actors.runtime.actors import Calling, Diary, worker


async def test_the_tree_describes_every_supervised_actor_and_is_json(
    system: ActorSystem, clock: VirtualClock
) -> None:
    nested = ChildSpec("sup", Supervisor, ((worker("x", Diary()),),))
    system.spawn("/hub", worker("a", Diary()))
    system.spawn("/hub", nested)
    directory = system.directory("devices", lambda key: Calling())
    directory.tell(17, lambda actor: None)
    await clock.settle()
    tree = system.tree()
    assert [child.path for child in tree.children] == ["/hub/a", "/hub/sup", "/hub/devices"]
    assert tree.children[1].children[0].path == "/hub/sup/x"
    assert tree.children[2].active == 1
    text = json.loads(json.dumps(tree.to_json()))
    assert text["state"] == "running"
    assert text["children"][0]["actor_class"] == "Worker"
    assert text["children"][0]["since"].startswith("2030-01-01T")


async def test_handled_messages_and_their_times_are_counted(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", ChildSpec("calling", Calling))
    for duration_s in [0.001] * 90 + [0.02] * 10:
        ref.tell(lambda actor, duration_s=duration_s: clock.shift(duration_s))
        await clock.settle()
    info = system.info("/hub/calling")
    assert info.handled == 100
    assert info.p50_s is not None
    assert info.p99_s is not None
    assert 0.0007 < info.p50_s < 0.0015
    assert 0.014 < info.p99_s < 0.03
    assert info.slow_handlers == 0


async def test_slow_handlers_are_counted_and_a_stall_is_flagged_in_health(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Sync(Actor):
        def on_receive(self, message: float) -> None:
            clock.shift(message)

    sync = system.spawn("/hub", ChildSpec("sync", Sync))
    suspending = system.spawn("/hub", ChildSpec("suspending", Calling))

    async def hold_after_waiting(actor: Calling) -> None:
        await clock.sleep(10.0)
        clock.shift(0.06)

    sync.tell(0.04)
    sync.tell(0.06)
    suspending.tell(hold_after_waiting)
    await clock.advance(20.0)
    assert system.info("/hub/sync").slow_handlers == 1
    assert system.info("/hub/suspending").slow_handlers == 1
    assert system.health().worst is None
    sync.tell(1.5)
    await clock.settle()
    ok, worst, reason = system.health()
    assert ok
    assert worst is not None
    assert worst.path == "/hub/sync"
    assert "held up" in reason
    await clock.advance(61.0)
    assert system.health().worst is None


async def test_find_and_info_know_paths(system: ActorSystem, clock: VirtualClock) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    assert system.find("/hub/a") == ref
    assert system.find("/hub") is not None
    assert system.find("/elsewhere/a") is None
    assert system.find("/hub/a/b") is None
    await clock.settle()
    assert system.info("/hub/a").state is ActorState.RUNNING


def test_percentiles_are_within_a_factor_of_the_truth_over_the_whole_range() -> None:
    clock = VirtualClock()
    for took_s in (0.0, 2e-6, 1e-3, 0.7, 30.0, 1e6):
        statistics = ActorStatistics(clock.now())
        for _ in range(1_000):
            statistics.sample(took_s)
        percentile_s = statistics.percentile_s(0.99)
        assert percentile_s is not None
        if 1e-6 <= took_s <= 60:
            assert took_s <= percentile_s <= took_s * 1.5
    assert ActorStatistics(clock.now()).percentile_s(0.5) is None


def test_only_a_share_of_the_messages_is_sampled_once_an_actor_is_known() -> None:
    statistics = ActorStatistics(VirtualClock().now())
    for handled in range(100_000):
        statistics.handled = handled
        if handled >= statistics.next_sample:
            statistics.sample(1e-5)
    assert 5_000 < statistics.samples < 7_000


async def test_dead_letters_are_counted_by_reason_and_the_latest_kept() -> None:
    letters = DeadLetters(VirtualClock(), keep=3)
    for number in range(5):
        letters.add("/hub/a", number, DropReason.STOPPED)
    letters.add("/hub/b", {"secret": 1}, DropReason.FAILED, ValueError("no"))
    assert letters.total == 6
    assert letters.counts == {DropReason.STOPPED: 5, DropReason.FAILED: 1}
    assert [letter.message for letter in letters.recent()] == [{"secret": 1}, 4, 3]
    assert [letter.message for letter in letters.recent(1)] == [{"secret": 1}]
    text = json.dumps(letters.recent()[0].to_json())
    assert "secret" not in text
    assert "ValueError" in text


def test_the_log_is_spared_after_the_first_ten_for_five_minutes() -> None:
    limiter = LogLimiter()
    assert sum(limiter.allows(now_s / 10) for now_s in range(1_000)) == 10
    assert limiter.suppressed == 990
    assert limiter.allows(301.0)
    assert limiter.take_suppressed() == 990
    assert limiter.take_suppressed() == 0
