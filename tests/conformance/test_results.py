"""What the result store must do, on every database engine that is discovered."""

from dataclasses import replace

import pytest
from sqlalchemy import delete, select, update

from protocols.messages import DecoderId, DeviceId, TargetId
from storage import Database
from storage.delivery.outbox import outbox_items
from storage.device_state import DeviceStates
from storage.journal import EMBEDDED
from storage.results import JobState, MessageResult
from storage.tables.pipeline import ledger, message, message_job, set_aside
from storage.uplinks import uplink_of
from tests.support.pipeline import DECODER, UNSTORABLE, Pipeline, job, result, uplink

OTHER_DECODER = DecoderId(6)


async def test_commit_moves_the_message_from_the_journal_into_messages_and_outbox(
    pipeline: Pipeline, database: Database
) -> None:
    (entry,) = await pipeline.accept(uplink(payload=b'{"t":7}'))
    assert (await pipeline.balance()).jobs.pending == 1
    report = await pipeline.commit(result(entry))
    assert (report.cursors[EMBEDDED], len(report.written)) == (entry.position, 1)
    assert await pipeline.journal.unsettled_after(0, 10) == []
    assert pipeline.journal.waiting == 0
    row = await database.read(lambda reader: reader.fetch_one(select(message)))
    assert row is not None
    assert uplink_of(row) == entry.uplink
    balance = await pipeline.balance()
    assert (balance.jobs.accepted, balance.jobs.decoded, balance.jobs.pending) == (1, 1, 0)
    assert (balance.deliveries.created, balance.deliveries.pending) == (1, 1)


async def test_accepted_message_becomes_as_many_jobs_as_it_has_decoders(
    pipeline: Pipeline,
) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(
        result(entry, job(), job(JobState.FAILED, decoder_id=OTHER_DECODER, error="It threw."))
    )
    jobs = (await pipeline.balance()).jobs
    assert (jobs.accepted, jobs.decoded, jobs.failed) == (2, 1, 1)


async def test_message_without_decoder_pushes_its_payload(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink(payload=b'{"raw":1}'))
    await pipeline.commit(result(entry, job(JobState.NO_DECODER, decoder_id=None)))
    assert [item.body for item in await pipeline.waiting()] == [b'{"raw":1}']
    assert (await pipeline.balance()).jobs.no_decoder == 1


async def test_what_is_announced_of_a_batch_is_what_the_outbox_holds(pipeline: Pipeline) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2, payload=b'{"raw":2}'))
    report = await pipeline.commit(
        result(entries[0], job(), job(decoder_id=OTHER_DECODER, body=b'{"other":1}')),
        result(entries[1], job(JobState.NO_DECODER, decoder_id=None)),
    )
    assert outbox_items(report.written) == await pipeline.waiting()


async def test_second_copy_of_a_result_changes_nothing_and_is_reported(pipeline: Pipeline) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(result(entries[0]), cursor=0)
    report = await pipeline.commit(result(entries[0]), result(entries[1]))
    assert report.repeated == [entries[0].uplink.message_id]
    assert [one.uplink.message_id for one in report.written] == [entries[1].uplink.message_id]
    balance = await pipeline.balance()
    assert (balance.jobs.decoded, balance.deliveries.created) == (2, 2)
    assert pipeline.journal.waiting == 0


async def test_message_that_stands_twice_in_one_batch_is_written_once(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink())
    report = await pipeline.commit(result(entry), result(entry))
    assert (len(report.written), len(report.repeated)) == (1, 1)
    assert (await pipeline.balance()).jobs.accepted == 1


@pytest.mark.parametrize("bad", [0, 3, 7])
async def test_result_that_the_database_refuses_is_set_aside_alone(
    pipeline: Pipeline, database: Database, bad: int
) -> None:
    entries = await pipeline.accept(*(uplink(number + 1) for number in range(8)))
    results = [result(entry) for entry in entries]
    results[bad] = result(entries[bad], job(JobState.FAILED, error=UNSTORABLE))
    report = await pipeline.commit(*results)
    assert report.set_aside == [entries[bad].uplink.message_id]
    assert len(report.written) == 7
    rows = await database.read(lambda reader: reader.fetch_all(select(set_aside)))
    assert [(row.message_id, bytes(row.payload)) for row in rows] == [
        (entries[bad].uplink.message_id, entries[bad].uplink.payload)
    ]
    assert rows[0].reason == "row_refused"
    balance = await pipeline.balance()
    assert (balance.jobs.decoded, balance.jobs.set_aside) == (7, 1)
    assert (report.cursors[EMBEDDED], pipeline.journal.waiting) == (entries[-1].position, 0)


async def test_message_set_aside_by_the_database_stays_so_when_its_result_comes_again(
    pipeline: Pipeline,
) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry, job(JobState.FAILED, error=UNSTORABLE)))
    report = await pipeline.commit(result(entry))
    assert report.repeated == [entry.uplink.message_id]
    assert (await pipeline.balance()).jobs.set_aside == 1


async def test_cursor_never_passes_an_unsettled_entry_nor_goes_back(pipeline: Pipeline) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2), uplink(3))
    report = await pipeline.commit(result(entries[1]), cursor=entries[2].position)
    assert report.cursors[EMBEDDED] == entries[0].position - 1
    report = await pipeline.commit(result(entries[0]), cursor=entries[1].position)
    assert report.cursors == await pipeline.journal.cursors()
    assert report.cursors[EMBEDDED] == entries[1].position
    report = await pipeline.commit(result(entries[2]), cursor=0)
    assert report.cursors[EMBEDDED] == entries[1].position


async def test_deferred_job_is_settled_once_and_then_makes_its_deliveries(
    pipeline: Pipeline,
) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry, job(JobState.DEFERRED)))
    assert (await pipeline.balance()).jobs.deferred == 1
    found = await pipeline.deferred.deferred_messages(DeviceId(1), limit=10)
    assert [(one.uplink, one.position, one.decoder_ids) for one in found] == [
        (entry.uplink, entry.position, (DECODER,))
    ]
    first = await pipeline.commit(result(entry, live=False))
    second = await pipeline.commit(result(entry, live=False))
    assert (len(first.written), len(second.written)) == (1, 0)
    assert second.repeated == [entry.uplink.message_id]
    balance = await pipeline.balance()
    assert (balance.jobs.deferred, balance.jobs.decoded, balance.deliveries.created) == (0, 1, 1)
    assert [item.position for item in await pipeline.waiting()] == [entry.position]


async def test_of_several_deferred_jobs_only_those_that_move_make_deliveries(
    pipeline: Pipeline,
) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry, job(JobState.DEFERRED), job(decoder_id=OTHER_DECODER)))
    report = await pipeline.commit(result(entry, job(), job(decoder_id=OTHER_DECODER), live=False))
    assert [one.decoder_id for one in report.written[0].jobs] == [DECODER]
    assert [draft.decoder_id for draft in report.written[0].deliveries] == [DECODER]
    assert (await pipeline.balance()).deliveries.created == 2


async def test_replay_moves_failed_jobs_only_and_is_a_new_generation(pipeline: Pipeline) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(
        result(entries[0], job(JobState.FAILED, error="It threw.")), result(entries[1])
    )
    report = await pipeline.commit(*(result(entry, live=False, generation=1) for entry in entries))
    assert report.repeated == [entries[1].uplink.message_id]
    assert outbox_items(report.written) == [
        item for item in await pipeline.waiting() if item.generation == 1
    ]
    jobs = (await pipeline.balance()).jobs
    assert (jobs.accepted, jobs.decoded, jobs.failed) == (2, 2, 0)


async def test_replay_that_fails_again_counts_once(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink())
    failed = job(JobState.FAILED, error="It threw.")
    await pipeline.commit(result(entry, failed))
    await pipeline.commit(result(entry, failed, live=False, generation=1))
    found = await pipeline.deferred.failed_jobs(
        DECODER, since=None, until=None, after_message_id=None, limit=10
    )
    assert [one.generation for one in found] == [1]
    assert (await pipeline.balance()).jobs.failed == 1


async def test_deferred_job_whose_result_is_refused_is_set_aside_in_its_row(
    pipeline: Pipeline, database: Database
) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry, job(JobState.DEFERRED)))
    report = await pipeline.commit(
        result(entry, job(JobState.FAILED, error=UNSTORABLE), live=False)
    )
    assert report.set_aside == [entry.uplink.message_id]
    row = await database.read(lambda reader: reader.fetch_one(select(message_job)))
    assert row is not None
    assert (row.state, row.error_code) == ("set_aside", "row_refused")
    assert (await pipeline.balance()).jobs.set_aside == 1


async def test_result_of_a_message_that_is_gone_is_reported_and_makes_nothing(
    pipeline: Pipeline,
) -> None:
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry))
    gone = MessageResult(
        uplink=uplink(),
        position=None,
        order=99,
        jobs=(job(),),
        deliveries=result(entry).deliveries,
        device_state=None,
    )
    report = await pipeline.commit(gone)
    assert report.repeated == [gone.uplink.message_id]
    assert (await pipeline.balance()).deliveries.created == 1


async def test_last_state_of_a_device_wins_and_none_leaves_it(
    pipeline: Pipeline, database: Database
) -> None:
    entries = await pipeline.accept(uplink(1), uplink(1), uplink(1), uplink(2))
    states: list[bytes | None] = [b"first", b"second", None, None]
    await pipeline.commit(
        *(
            replace(result(entry), device_state=state)
            for entry, state in zip(entries, states, strict=True)
        )
    )
    rows = await DeviceStates(database).load([DeviceId(1), DeviceId(2), DeviceId(3)])
    assert [row.state for row in rows.values()] == [b"second", None, None]


async def test_device_with_deferred_messages_says_how_many(
    pipeline: Pipeline, database: Database
) -> None:
    entries = await pipeline.accept(uplink(1), uplink(1))
    await pipeline.commit(
        *(
            result(entry, job(JobState.DEFERRED), job(JobState.DEFERRED, decoder_id=OTHER_DECODER))
            for entry in entries
        )
    )
    rows = await DeviceStates(database).load([DeviceId(1)])
    assert rows[DeviceId(1)].deferred == 2
    assert [count.jobs for count in await pipeline.deferred.counts()] == [2, 2]


async def test_result_without_jobs_is_a_mistake_of_the_caller(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink())
    with pytest.raises(ValueError, match="at least one job"):
        await pipeline.commit(replace(result(entry), jobs=()))
    assert (await pipeline.balance()).jobs.pending == 1


async def test_each_organization_has_books_of_its_own(pipeline: Pipeline) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2, organization_id=2))
    await pipeline.commit(*(result(entry, targets=(TargetId(1),)) for entry in entries))
    balances = await pipeline.ledger.balance()
    assert [(one.organization_id, one.jobs.decoded, one.imbalance) for one in balances] == [
        (1, 1, 0),
        (2, 1, 0),
    ]


async def test_audit_names_what_the_books_do_not_say_of_the_rows(pipeline: Pipeline) -> None:
    first, second = await pipeline.accept(uplink(), uplink(organization_id=2))
    await pipeline.commit(result(first), result(second))
    await pipeline.database.write(
        lambda transaction: transaction.execute(
            update(ledger).where(ledger.c.organization_id == 1).values(decoded=3)
        )
    )
    await pipeline.database.write(
        lambda transaction: transaction.execute(delete(ledger).where(ledger.c.organization_id == 2))
    )

    assert await pipeline.ledger.audit() == [
        "Organization 1: 3 decoded in the books, 1 in the rows.",
        "Organization 2: 0 decoded in the books, 1 in the rows.",
    ]
