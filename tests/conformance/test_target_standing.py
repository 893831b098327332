"""How data targets stand, read on every database engine, and as Prometheus is told it."""

from datetime import timedelta

from actors.metrics import target_metrics
from protocols.messages import TargetId
from storage.delivery.outbox import TargetNote
from storage.delivery.target_health import TargetHealth
from storage.delivery.target_standing import TargetStanding, TargetStandings
from tests.support.pipeline import NOW, TARGET, Pipeline, outcome, result, uplink

OTHER = TargetId(8)


async def test_target_that_something_waits_for_or_that_is_in_trouble_is_shown_and_no_other(
    pipeline: Pipeline,
) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(*(result(entry) for entry in entries))
    open_health = TargetHealth(breaker="open", openings=1, open_until=NOW, failures=5)
    await pipeline.outbox.record([], None, TargetNote(OTHER, open_health))
    await pipeline.outbox.record([], None, TargetNote(TargetId(9), TargetHealth()))
    standings = await TargetStandings(pipeline.database).read(NOW)
    assert standings == [
        TargetStanding(
            target_id=TARGET,
            waiting=2,
            oldest_created_at=NOW,
            is_breaker_open=False,
            is_disabled=False,
        ),
        TargetStanding(
            target_id=OTHER,
            waiting=0,
            oldest_created_at=None,
            is_breaker_open=True,
            is_disabled=False,
        ),
    ]
    told = {
        (sample.name, sample.labels["target_id"]): sample.value
        for family in target_metrics(standings, NOW + timedelta(seconds=90))
        for sample in family.samples
    }
    assert told == {
        ("tingbro_target_waiting_deliveries", "7"): 2,
        ("tingbro_target_waiting_deliveries", "8"): 0,
        ("tingbro_target_oldest_waiting_seconds", "7"): 90,
        ("tingbro_target_breaker_open", "7"): 0,
        ("tingbro_target_breaker_open", "8"): 1,
        ("tingbro_target_disabled", "7"): 0,
        ("tingbro_target_disabled", "8"): 0,
    }
    await pipeline.outbox.record([outcome(item) for item in await pipeline.waiting()])
    later = await TargetStandings(pipeline.database).read(NOW)
    assert [standing.target_id for standing in later] == [OTHER]
