import itertools
import re
import threading
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInput
from protocols.identifiers import (
    Uuid7Source,
    first_uuid7,
    new_delivery_id,
    new_message_id,
    uuid7_time,
)

CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LAST_MS = (1 << 48) - 1


class Clock:
    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms * 1_000_000


def test_identifiers_are_canonical_uuids_of_version_7_with_the_rfc_variant() -> None:
    for identifier in (new_message_id(), new_delivery_id()):
        parsed = uuid.UUID(identifier)
        assert CANONICAL.fullmatch(identifier)
        assert (str(parsed), parsed.version, parsed.variant) == (identifier, 7, uuid.RFC_4122)


def test_hundred_thousand_identifiers_of_one_process_strictly_increase() -> None:
    made = [new_message_id() for _ in range(100_000)]
    assert all(earlier < later for earlier, later in itertools.pairwise(made))


@given(st.lists(st.integers(min_value=0, max_value=10_000_000), min_size=2, max_size=50))
def test_identifiers_increase_whatever_the_clock_does(times_ms: list[int]) -> None:
    clock = Clock(0)
    source = Uuid7Source(clock)
    made = []
    for now_ms in times_ms:
        clock.now_ms = now_ms
        made.append(source.next())
    assert made == sorted(set(made))


def test_forty_thousand_identifiers_in_one_millisecond_increase_and_keep_its_time() -> None:
    source = Uuid7Source(Clock(1_700_000_000_123))
    made = [source.next() for _ in range(40_000)]
    assert made == sorted(set(made))
    assert {uuid7_time(identifier) for identifier in made} == {
        datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    }


def test_counter_that_runs_out_takes_the_next_millisecond() -> None:
    source = Uuid7Source(Clock(1000), lambda count: b"\xff" * count, counter_start_bits=26)
    made = [source.next() for _ in range(3)]
    assert made == sorted(set(made))
    assert uuid7_time(made[0]) < uuid7_time(made[2])


def test_identifiers_from_many_threads_are_all_different() -> None:
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda own=own: own.extend(new_message_id() for _ in range(5_000)))
        for own in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({identifier for own in made for identifier in own}) == 20_000


@given(st.integers(min_value=0, max_value=LAST_MS))
def test_time_reads_back_to_the_millisecond_or_is_refused_beyond_the_calendar(now_ms: int) -> None:
    identifier = Uuid7Source(Clock(now_ms)).next()
    if now_ms > 253_402_300_799_999:
        with pytest.raises(InvalidInput):
            uuid7_time(identifier)
    else:
        elapsed = uuid7_time(identifier) - datetime(1970, 1, 1, tzinfo=UTC)
        assert elapsed.total_seconds() == pytest.approx(now_ms / 1000, abs=1e-4)


def test_example_of_the_rfc_reads_as_the_time_it_was_made_from() -> None:
    # RFC 9562, appendix A.6: Tuesday, February 22, 2022 2:22:22.00 PM GMT-05:00.
    assert uuid7_time("017f22e2-79b0-7cc3-98c4-dc0c0c07398f") == datetime(
        2022, 2, 22, 19, 22, 22, tzinfo=UTC
    )


@given(st.text(max_size=40))
def test_text_that_is_no_uuid7_is_refused_with_our_error(text: str) -> None:
    with pytest.raises(InvalidInput):
        uuid7_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "c232ab00-9414-4cc1-a9d6-b1f3c5d0a7de",
        "017f22e2-79b0-7cc3-08c4-dc0c0c07398f",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "017f22e2+79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
    ],
)
def test_uuids_of_other_kinds_and_spellings_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        uuid7_time(text)


@given(st.integers(0, 7_000_000_000), st.integers(0, 999_999))
def test_first_identifier_of_an_instant_sorts_before_all_made_from_then_on(
    unix_s: int, microsecond: int
) -> None:
    at = datetime.fromtimestamp(unix_s, UTC).replace(microsecond=microsecond)
    now_ns = int(at.timestamp()) * 1_000_000_000
    source = Uuid7Source(clock_ns=lambda: now_ns)

    assert first_uuid7(at.replace(microsecond=0)) < source.next()
    assert uuid7_time(first_uuid7(at)) == at.replace(microsecond=at.microsecond // 1000 * 1000)
