"""Jobs of many decoders, in turn."""

from protocols.decoders.fair_queue import FairQueue
from protocols.decoders.job import Job
from tests.protocols.decoders.asking import request, source


def job(decoder_id: int, sequence: int, payload: object = None) -> Job:
    return Job(sequence, request(source("", decoder_id), payload), lambda outcome: None, None)


def filled(*decoder_ids: int) -> FairQueue:
    """Jobs of these decoders, in this order; their sequences count up from 1."""
    queue = FairQueue()
    for sequence, decoder_id in enumerate(decoder_ids, start=1):
        queue.push(job(decoder_id, sequence))
    return queue


def take(queue: FairQueue, max_items: int = 64, alone: tuple[int, ...] = ()) -> list[int]:
    """The sequences of the next batch."""
    batch = queue.take(
        max_items=max_items, max_bytes=1 << 20, travels_alone=lambda job: job.sequence in alone
    )
    return [job.sequence for job in batch]


def test_batch_takes_one_job_of_each_decoder_in_turn() -> None:
    assert take(filled(1, 1, 1, 1, 2, 2, 3)) == [1, 5, 7, 2, 6, 3, 4]


def test_turn_goes_on_where_the_last_batch_ended() -> None:
    queue = filled(1, 1, 1, 2, 2, 3)
    assert [take(queue, 2), take(queue, 2), take(queue, 2)] == [[1, 4], [6, 2], [5, 3]]
    assert not queue
    assert take(queue) == []


def test_job_that_travels_alone_is_a_batch_of_its_own() -> None:
    queue = filled(1, 2, 3)
    assert [take(queue, alone=(2,)) for _ in range(3)] == [[1], [2], [3]]


def test_batch_is_bounded_in_bytes_but_never_empty() -> None:
    queue = FairQueue()
    for sequence in (1, 2, 3):
        queue.push(job(sequence, sequence, "x" * 600))
    batches = [
        queue.take(max_items=64, max_bytes=1000, travels_alone=lambda job: False) for _ in range(3)
    ]
    assert [[job.sequence for job in batch] for batch in batches] == [[1], [2], [3]]
    queue.push(job(1, 1, "x" * 6000))
    assert len(queue.take(max_items=64, max_bytes=1000, travels_alone=lambda job: False)) == 1


def test_jobs_put_back_return_to_their_places() -> None:
    queue = filled(1, 1, 1, 1, 1)
    taken = queue.take(max_items=3, max_bytes=1 << 20, travels_alone=lambda job: False)
    queue.put_back([taken[0], taken[2]])
    queue.put_back([taken[1]])
    assert len(queue) == 5
    assert take(queue) == [1, 2, 3, 4, 5]


def test_discard_takes_out_only_what_is_unwanted() -> None:
    queue = filled(1, 1, 2, 1)
    out = queue.discard(1, lambda job: job.sequence != 2)
    assert [job.sequence for job in out] == [1, 4]
    assert len(queue) == 2
    assert [job.sequence for job in queue.discard(1, lambda job: True)] == [2]
    assert queue.discard(1, lambda job: True) == []
    assert take(queue) == [3]
    assert len(queue) == 0


def test_drain_takes_out_everything() -> None:
    queue = filled(1, 2, 1)
    assert sorted(job.sequence for job in queue.drain()) == [1, 2, 3]
    assert not queue
    assert take(queue) == []
