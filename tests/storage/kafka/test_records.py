"""Uplinks as records: what goes in comes out, and nothing else is taken for one."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import RowRefused
from protocols.identifiers import new_message_id
from protocols.messages import (
    ApplicationId,
    DeviceId,
    DeviceType,
    MessageId,
    OrganizationId,
    Uplink,
)
from storage.kafka.records import UnreadableRecord, kafka_partition_of, record_of, uplink_from
from tests.support.pipeline import uplink

_ids = st.integers(0, 2**63 - 1)
_uplinks = st.builds(
    Uplink,
    message_id=st.uuids().map(lambda made: MessageId(str(made))),
    device_id=_ids.map(DeviceId),
    organization_id=_ids.map(OrganizationId),
    application_id=_ids.map(ApplicationId),
    device_type=st.sampled_from(DeviceType),
    received_at=st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    payload=st.binary(),
    source_key=st.none() | st.text(),
)
GOOD = record_of(uplink(source_key="s"))


@given(_uplinks)
def test_what_was_written_is_read_back(sent: Uplink) -> None:
    record = record_of(sent)
    assert uplink_from(record.key, record.value, record.headers) == sent


@given(
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in GOOD.headers]) | st.text(),
            st.none() | st.binary() | st.sampled_from([value for _, value in GOOD.headers]),
        )
    ),
)
def test_whatever_is_read_is_an_uplink_or_unreadable(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    try:
        found = uplink_from(key, value, headers)
    except UnreadableRecord:
        return
    again = record_of(found)
    assert (again.key, again.value) == (key, value)


@pytest.mark.parametrize(
    "key", [None, b"", b"01", b"+1", b"1 ", b"-1", b"x", b"9223372036854775808"]
)
def test_key_that_is_not_a_device_id_as_it_is_written_is_unreadable(key: bytes | None) -> None:
    with pytest.raises(UnreadableRecord, match="key"):
        uplink_from(key, GOOD.value, GOOD.headers)


@pytest.mark.parametrize("name", [name for name, _ in GOOD.headers if name != "source-key"])
def test_record_without_a_header_or_with_it_twice_is_unreadable(name: str) -> None:
    without = [header for header in GOOD.headers if header[0] != name]
    with pytest.raises(UnreadableRecord, match=name):
        uplink_from(GOOD.key, GOOD.value, without)
    with pytest.raises(UnreadableRecord, match="twice"):
        uplink_from(GOOD.key, GOOD.value, [*GOOD.headers, (name, b"1")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tingbro-format", b"2"),
        ("message-id", b"0199A2B0-0000-7000-8000-000000000000"),
        ("message-id", b"{0199a2b0-0000-7000-8000-000000000000}"),
        ("message-id", b"\xff"),
        ("organization-id", b"-1"),
        ("application-id", b"\xd9\xa1"),
        ("device-type", b"SOMETHING"),
        ("received-at", b"2026-01-01"),
        ("received-at", b"253402300800000000"),
        ("source-key", b"\xff"),
    ],
)
def test_header_of_another_spelling_makes_a_record_unreadable(name: str, value: bytes) -> None:
    headers = [header for header in GOOD.headers if header[0] != name]
    with pytest.raises(UnreadableRecord):
        uplink_from(GOOD.key, GOOD.value, [*headers, (name, value)])


def test_record_without_a_value_is_unreadable() -> None:
    with pytest.raises(UnreadableRecord, match="value"):
        uplink_from(GOOD.key, None, GOOD.headers)


def test_headers_that_others_have_added_are_passed_over() -> None:
    headers = [("traceparent", b"00-1"), *GOOD.headers, ("traceparent", None)]
    assert uplink_from(GOOD.key, GOOD.value, headers).source_key == "s"


def test_source_key_that_is_not_text_is_refused_before_it_is_written() -> None:
    with pytest.raises(RowRefused):
        record_of(uplink(source_key="\ud800"))


def test_partition_of_a_device_is_the_one_that_kafkas_own_clients_choose() -> None:
    # From Apache Kafka 3.9: Utils.toPositive(Utils.murmur2(key)) % 12.
    keys = [b"1", b"2", b"17", b"123456", b"9223372036854775807"]
    assert [kafka_partition_of(key, 12) for key in keys] == [3, 8, 0, 0, 9]


def test_devices_spread_over_the_partitions() -> None:
    counts = [0] * 12
    for device_id in range(12_000):
        counts[kafka_partition_of(b"%d" % device_id, 12)] += 1
    assert min(counts) > 800
    assert max(counts) < 1_200


def test_message_ids_stay_in_order() -> None:
    ids = [record_of(uplink()).headers[1][1] for _ in range(3)]
    assert all(one < other for one, other in pairwise(ids))
    assert ids[0].decode() < new_message_id()
