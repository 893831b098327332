"""The whole way through a fleet, with one and with two workers in turns, and what each part costs."""

from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Final

from benchmarks.duration import times
from benchmarks.fleet_rounds import TARGETS, Part, Round, Rounds
from benchmarks.fleet_stage import PARTITIONS, PartsCpu, running_fleet
from benchmarks.percentiles import median_ratio
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row

ROUNDS: Final = 2
# Time for the second worker to be there before the first is given everything.
REBALANCE_DELAY_MS: Final = 1_500

_PARTS: Final[dict[str, Callable[[PartsCpu], float]]] = {
    "web": lambda cpu: cpu.web,
    "workers without decoders": lambda cpu: cpu.workers,
    "decoders": lambda cpu: cpu.decoders,
    "PostgreSQL": lambda cpu: cpu.postgresql,
    "Kafka": lambda cpu: cpu.kafka,
}


async def throughput() -> list[Row]:
    one: list[Round] = []
    two: list[Round] = []
    with ReceiverProcess() as receiver:
        async with running_fleet(workers=2, rebalance_delay_ms=REBALANCE_DELAY_MS) as stage:
            rounds = await Rounds.warmed_up(stage, receiver)
            for _ in range(times(ROUNDS)):
                one.append(await rounds.round(1))
                two.append(await rounds.round(2))
            size_bytes = rounds.message_bytes()
            twice = await rounds.drain_to_two_targets()
    return [
        *_speed(one, two),
        *_costs(one, two),
        _push(one, twice),
        Row("fleet: one message in PostgreSQL", size_bytes, "bytes", None, "one delivery", ""),
    ]


def _speed(one: list[Round], two: list[Round]) -> Iterator[Row]:
    count = one[0].live.messages
    context = f"{count:,} messages, {TARGETS} targets, {PARTITIONS} partitions; the same 2 cores"
    drained = "backlog drained"
    yield from _pair(drained, one, two, lambda r: r.drain.per_s, "messages/s", context)
    yield from _pair(
        f"{drained}, the hub's time",
        one,
        two,
        lambda r: r.drain.per_hub_cpu_s,
        "messages/CPU-s",
        "workers and their decoders; nothing is taken in",
    )
    shared = "and load, receiver, PostgreSQL and Kafka on the same 2 cores"
    yield from _pair("whole way", one, two, lambda r: r.live.per_s, "messages/s", shared)
    yield from _pair(
        "whole way, the hub's time",
        one,
        two,
        lambda r: r.live.per_hub_cpu_s,
        "messages/CPU-s",
        "web, workers, decoders; not the servers",
        budget="2,500",
    )


def _pair(
    name: str,
    one: list[Round],
    two: list[Round],
    figure: Callable[[Round], float],
    unit: str,
    context: str,
    *,
    budget: str = "",
) -> Iterator[Row]:
    """A figure with one worker, and with two against it."""
    ones, twos = [figure(one_round) for one_round in one], [figure(two_round) for two_round in two]
    yield Row(f"fleet: {name}, 1 worker", median(ones), unit, None, context, budget)
    yield Row(
        f"fleet: {name}, 2 workers",
        median(twos),
        unit,
        median_ratio(twos, ones),
        "1 worker, in turns",
        budget,
    )


def _costs(one: list[Round], two: list[Round]) -> Iterator[Row]:
    for name, cpu_s in _PARTS.items():
        intake = _per_thousand((r.intake for r in two), cpu_s)
        drain = _per_thousand((r.drain for r in two), cpu_s)
        live_one = _per_thousand((r.live for r in one), cpu_s)
        live_two = _per_thousand((r.live for r in two), cpu_s)
        yield Row(
            f"fleet: {name}, for 1,000 messages, 2 workers",
            live_two,
            "CPU-s",
            live_two / live_one,
            f"{live_one:.3f} with 1 worker; taking in {intake:.3f}, draining {drain:.3f}",
            "",
        )


def _push(one: list[Round], twice: Part) -> Row:
    """What a second target adds to a message, in the workers."""
    once_s = _per_thousand((r.drain for r in one), lambda cpu: cpu.workers)
    twice_s = _per_thousand([twice], lambda cpu: cpu.workers)
    once_pg = _per_thousand((r.drain for r in one), lambda cpu: cpu.postgresql)
    twice_pg = _per_thousand([twice], lambda cpu: cpu.postgresql)
    return Row(
        "fleet: 1,000 pushes more, in a worker",
        twice_s - once_s,
        "CPU-s",
        None,
        f"draining: {twice_s:.3f} with two targets, {once_s:.3f} with one; "
        f"PostgreSQL {twice_pg:.3f} and {once_pg:.3f}",
        "",
    )


def _per_thousand(parts: Iterable[Part], cpu_s: Callable[[PartsCpu], float]) -> float:
    return median(1_000 * cpu_s(part.cpu) / part.messages for part in parts)
