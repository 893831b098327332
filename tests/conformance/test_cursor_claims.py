"""Who may settle a partition: claims, on every database engine that is discovered."""

import asyncio

import pytest

from protocols.errors import ClaimLost, JournalMismatch
from storage import Database
from storage.cursor_claims import CursorClaims
from storage.embedded_journal import EmbeddedJournal
from storage.journal import EMBEDDED
from storage.results import ResultStore
from tests.support.pipeline import RecordingListener, pipeline_on, result, running, uplink


async def test_claims_count_as_crashes_until_the_cursor_moves(database: Database) -> None:
    claims = CursorClaims(database, "a")
    assert [(await claims.take([EMBEDDED]))[EMBEDDED].crashes for _ in range(3)] == [0, 1, 2]
    async with pipeline_on(database) as pipeline:
        assert pipeline.listener.crashes == 3
        (first, second) = await pipeline.accept(uplink(1), uplink(2))
        await pipeline.commit(result(first), result(second))
        claim = (await CursorClaims(database, "b").take([EMBEDDED]))[EMBEDDED]
        assert (claim.crashes, claim.position) == (0, second.position)


async def test_orderly_end_is_not_taken_for_a_crash(database: Database) -> None:
    for _ in range(2):
        async with pipeline_on(database) as pipeline:
            assert pipeline.listener.crashes == 0


async def test_epoch_rises_with_every_claim(database: Database) -> None:
    one, other = CursorClaims(database, "one"), CursorClaims(database, "other")
    epochs = [(await claims.take([EMBEDDED]))[EMBEDDED].epoch for claims in (one, other, one)]
    assert epochs == sorted(set(epochs))
    assert one.epoch_of(EMBEDDED) == epochs[-1]


async def test_partition_that_is_not_claimed_has_no_epoch(database: Database) -> None:
    claims = CursorClaims(database, "one")
    with pytest.raises(ClaimLost):
        claims.epoch_of(EMBEDDED)
    await claims.take([EMBEDDED])
    await claims.give_up()
    with pytest.raises(ClaimLost):
        claims.epoch_of(EMBEDDED)


async def test_claiming_a_partition_without_a_cursor_is_refused_whole(database: Database) -> None:
    claims = CursorClaims(database, "one")
    with pytest.raises(KeyError):
        await claims.take([EMBEDDED, 99])
    with pytest.raises(ClaimLost):
        claims.epoch_of(EMBEDDED)


async def test_results_of_one_who_lost_the_claim_are_refused_and_change_nothing(
    database: Database,
) -> None:
    async with pipeline_on(database) as pipeline:
        (entry,) = await pipeline.accept(uplink())
        await CursorClaims(database, "another").take([EMBEDDED])
        with pytest.raises(ClaimLost) as caught:
            await pipeline.commit(result(entry))
        assert caught.value.partitions == {EMBEDDED}
        assert await pipeline.waiting() == []
        balance = await pipeline.balance()
        assert (balance.jobs.pending, balance.jobs.decoded) == (1, 0)
        # The new holder goes on with it.
        journal = EmbeddedJournal(database)
        async with running(journal, RecordingListener()):
            (again,) = await journal.unsettled_after(0, 10)
            cursors = {EMBEDDED: again.position}
            report = await ResultStore(database, journal).commit([result(again)], cursors=cursors)
            assert len(report.written) == 1


async def test_giving_up_an_older_claim_leaves_the_newer_one_alone(database: Database) -> None:
    older, newer = CursorClaims(database, "older"), CursorClaims(database, "newer")
    await older.take([EMBEDDED])
    await newer.take([EMBEDDED])
    await older.give_up()
    # Still counted as under way: the next claim sees both as ended without a word.
    assert (await CursorClaims(database, "third").take([EMBEDDED]))[EMBEDDED].crashes == 2


async def test_embedded_journal_that_is_told_of_a_lost_claim_ends_for_good(
    database: Database,
) -> None:
    journal, listener = EmbeddedJournal(database), RecordingListener()
    run = asyncio.create_task(journal.run(listener))
    await listener.is_assigned.wait()
    # `assigned` is told just before the journal begins to wait for its end.
    await asyncio.sleep(0)
    journal.lose([EMBEDDED])
    with pytest.raises(JournalMismatch, match="Another hub"):
        await run
    assert listener.revocations == 1
