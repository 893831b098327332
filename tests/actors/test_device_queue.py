from actors.device_queue import HELD_LIMIT, DeviceQueue
from protocols.decoders import DecodeOutcome
from protocols.errors import DecoderQuarantined, ScriptError
from protocols.messages import DecoderId
from storage.deferred import DeferredMessage
from storage.plans import DevicePlan
from storage.results import JobState, MessageResult
from tests.actors.samples import NOW, outcome, plan, uplink

STATE = b"{}"


class _Driver:
    """Takes messages and finishes jobs, and keeps what the queue wants written."""

    def __init__(self, stored: int = 0) -> None:
        self.queue = DeviceQueue(stored=stored)
        self.tokens: dict[int, int] = {}
        self.written: list[MessageResult] = []

    def take(self, position: int, of: DevicePlan) -> bool:
        slot, results = self.queue.take(position, uplink(), of, now=NOW, state=STATE)
        self.written += results
        if slot is not None:
            self.tokens[position] = slot.token
        return slot is not None

    def finish(self, position: int, job: int = 0, done: DecodeOutcome | None = None) -> None:
        self.written += self.queue.finish(
            self.tokens[position], job, done or outcome(), now=NOW, state=STATE
        )

    def states(self) -> list[tuple[int | None, list[JobState]]]:
        return [(r.position, [job.state for job in r.jobs]) for r in self.written]


def test_message_without_decoder_is_written_at_once_and_passed_on() -> None:
    driver = _Driver()

    driver.take(1, plan(None))

    assert driver.states() == [(1, [JobState.NO_DECODER])]
    assert [d.target_id for d in driver.written[0].deliveries] == [7]


def test_results_leave_in_the_order_of_arrival() -> None:
    driver = _Driver()
    driver.take(1, plan(5))
    driver.take(2, plan(5))

    driver.finish(2)
    assert driver.states() == []
    driver.finish(1)

    assert [position for position, _ in driver.states()] == [1, 2]


def test_message_waits_for_each_of_its_decoders() -> None:
    driver = _Driver()
    driver.take(1, plan(5, 6))

    driver.finish(1, job=1)
    assert driver.states() == []
    driver.finish(1, job=0)

    assert driver.states() == [(1, [JobState.DECODED, JobState.DECODED])]


def test_failed_job_makes_no_delivery_but_the_others_do() -> None:
    driver = _Driver()
    driver.take(1, plan(5, 6))

    driver.finish(1, job=0, done=outcome(error=ScriptError("It threw.")))
    driver.finish(1, job=1, done=outcome(6))

    assert driver.states() == [(1, [JobState.FAILED, JobState.DECODED])]
    assert [d.decoder_id for d in driver.written[0].deliveries] == [6]


def test_late_head_is_deferred_with_all_that_stands_behind_it() -> None:
    driver = _Driver()
    driver.take(1, plan(5))
    driver.take(2, plan(5))
    driver.finish(2)

    driver.written += driver.queue.defer(1, now=NOW, state=STATE)

    assert driver.states() == [(1, [JobState.DEFERRED]), (2, [JobState.DEFERRED])]


def test_deferred_messages_are_settled_in_order_once_the_head_is_done() -> None:
    driver = _Driver()
    driver.take(1, plan(5))
    driver.queue.defer(1, now=NOW, state=STATE)
    driver.take(2, plan(5))
    driver.finish(2)
    driver.written.clear()

    driver.finish(1)

    assert driver.states() == [(None, [JobState.DECODED]), (None, [JobState.DECODED])]
    assert not driver.queue.is_deferring


def test_message_behind_a_deferred_one_is_deferred_at_once() -> None:
    driver = _Driver()
    driver.take(1, plan(5))
    driver.queue.defer(1, now=NOW, state=STATE)

    driver.take(2, plan(None))

    assert driver.states() == [(2, [JobState.DEFERRED])]


def test_memory_of_deferred_messages_is_bounded() -> None:
    driver = _Driver()
    driver.take(0, plan(5))
    driver.queue.defer(0, now=NOW, state=STATE)

    decoding = [driver.take(position, plan(5)) for position in range(1, HELD_LIMIT + 10)]

    assert decoding == [True] * (HELD_LIMIT - 1) + [False] * 10
    assert len(driver.written) == HELD_LIMIT + 9


def test_quarantined_decoder_parks_the_message_in_the_database() -> None:
    driver = _Driver()
    driver.take(1, plan(5))

    driver.finish(1, done=outcome(error=DecoderQuarantined("Three strikes.")))

    assert driver.states() == [(1, [JobState.DEFERRED])]
    assert driver.queue.is_idle
    assert not driver.queue.wants_stored
    driver.queue.drive()
    assert driver.queue.wants_stored


def test_stored_messages_come_back_in_order_before_anything_new() -> None:
    driver = _Driver(stored=1)
    driver.take(9, plan(5))
    old = DeferredMessage(uplink=uplink(), position=3, decoder_ids=(DecoderId(5),))

    slots, _ = driver.queue.refill([old], plan(5), NOW)
    driver.tokens[3] = slots[0].token
    driver.finish(3)

    assert driver.states() == [(9, [JobState.DEFERRED]), (None, [JobState.DECODED])]
    assert driver.queue.wants_stored


def test_message_read_again_before_its_result_was_written_is_not_counted_twice() -> None:
    driver = _Driver(stored=2)
    first, second = (
        DeferredMessage(uplink=uplink(), position=position, decoder_ids=(DecoderId(5),))
        for position in (3, 4)
    )
    slots, _ = driver.queue.refill(driver.queue.not_done([first]), plan(5), NOW)
    driver.tokens[3] = slots[0].token
    driver.finish(3)

    assert driver.queue.not_done([first]) == []
    assert driver.queue.not_done([first, second]) == [second]
    assert driver.queue.is_deferring


def test_deferred_job_whose_decoder_was_disconnected_fails_with_that_reason() -> None:
    driver = _Driver(stored=1)
    old = DeferredMessage(uplink=uplink(), position=3, decoder_ids=(DecoderId(5),))

    _, results = driver.queue.refill([old], plan(None), NOW)

    assert [job.error_code for job in results[0].jobs] == ["decoder_disconnected"]


def test_outcome_of_a_slot_that_was_given_up_is_passed_over() -> None:
    driver = _Driver()

    assert driver.queue.finish(999, 0, outcome(), now=NOW, state=STATE) == []
