"""What Prometheus learns about the hub's actors, read from them when it asks."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from actors.runtime import ActorInfo, ActorState, ActorSystem
from protocols.decoders import DecoderPool
from storage.delivery.target_standing import TargetStanding
from storage.journal import JournalReader
from storage.processes import ProcessRow


def hub_metrics(system: ActorSystem, journal: JournalReader, pool: DecoderPool) -> Iterator[Metric]:
    """Yield one family after the other; a few hundred microseconds for a hundred actors."""
    partitions = journal.status()
    yield GaugeMetricFamily(
        "tingbro_journal_backlog_messages",
        "Messages that are acknowledged and not yet settled.",
        value=sum(partition.lag for partition in partitions),
    )
    lag = GaugeMetricFamily(
        "tingbro_journal_lag",
        "Messages of a partition of the journal that this process has to settle and has not.",
        labels=["partition"],
    )
    for partition in partitions:
        lag.add_metric([str(partition.partition)], partition.lag)
    yield lag
    yield from actor_metrics(system)
    yield from decoder_metrics(pool)


def fleet_metrics(processes: Iterable[ProcessRow]) -> Iterator[Metric]:
    """Yield what is known of the hub's processes."""
    counts = Counter((row.role, "lost" if row.is_lost else "living") for row in processes)
    family = GaugeMetricFamily(
        "tingbro_processes",
        "Processes of the hub, by whether they were heard of lately.",
        labels=["role", "state"],
    )
    for (role, state), count in counts.items():
        family.add_metric([role, state], count)
    yield family


def actor_metrics(system: ActorSystem) -> Iterator[Metric]:
    """Yield what the actors of this process count."""
    actors = list(_flat(system.tree()))
    running = GaugeMetricFamily(
        "tingbro_actor_running", "1 if the actor runs, 0 if it does not.", labels=["actor"]
    )
    mailbox = GaugeMetricFamily(
        "tingbro_actor_mailbox_messages", "Messages that wait for the actor.", labels=["actor"]
    )
    handled = CounterMetricFamily(
        "tingbro_actor_handled_messages", "Messages handled.", labels=["actor"]
    )
    restarts = CounterMetricFamily(
        "tingbro_actor_restarts", "Times the actor was replaced.", labels=["actor"]
    )
    for actor in actors:
        labels = [actor.path]
        running.add_metric(labels, float(actor.state is ActorState.RUNNING))
        mailbox.add_metric(labels, actor.mailbox_length)
        handled.add_metric(labels, actor.handled)
        restarts.add_metric(labels, actor.restarts)
    yield from (running, mailbox, handled, restarts)
    letters = CounterMetricFamily(
        "tingbro_dead_letters", "Messages that no actor took.", labels=["reason"]
    )
    for reason, count in system.dead_letters.counts.items():
        letters.add_metric([str(reason)], count)
    yield letters


def decoder_metrics(pool: DecoderPool) -> Iterator[Metric]:
    """Yield what the decoders of this process count."""
    calls = CounterMetricFamily("tingbro_decoder_calls", "Decodes run.", labels=["decoder_id"])
    failures = CounterMetricFamily(
        "tingbro_decoder_failures", "Decodes that failed.", labels=["decoder_id"]
    )
    for statistics in pool.all_statistics():
        labels = [str(statistics.decoder_id)]
        calls.add_metric(labels, statistics.calls)
        failures.add_metric(labels, statistics.failures)
    yield from (calls, failures)


def target_metrics(standings: Iterable[TargetStanding], now: datetime) -> Iterator[Metric]:
    """Yield how the data targets stand that something waits for or that are in trouble."""
    waiting = GaugeMetricFamily(
        "tingbro_target_waiting_deliveries",
        "Deliveries that wait for a data target, counted up to a thousand and one.",
        labels=["target_id"],
    )
    oldest = GaugeMetricFamily(
        "tingbro_target_oldest_waiting_seconds",
        "How long ago the oldest delivery was made that waits for a data target.",
        labels=["target_id"],
    )
    broken = GaugeMetricFamily(
        "tingbro_target_breaker_open",
        "1 while a data target is left alone because it fails.",
        labels=["target_id"],
    )
    disabled = GaugeMetricFamily(
        "tingbro_target_disabled", "1 if a data target is disabled.", labels=["target_id"]
    )
    for standing in standings:
        labels = [str(standing.target_id)]
        waiting.add_metric(labels, standing.waiting)
        if standing.oldest_created_at is not None:
            oldest.add_metric(labels, (now - standing.oldest_created_at).total_seconds())
        broken.add_metric(labels, float(standing.is_breaker_open))
        disabled.add_metric(labels, float(standing.is_disabled))
    yield from (waiting, oldest, broken, disabled)


def _flat(actor: ActorInfo) -> Iterator[ActorInfo]:
    yield actor
    for child in actor.children:
        yield from _flat(child)
