"""Instants as the database keeps them: whole microseconds since 1970 in UTC, in an integer column.

One integer means the same on every engine, compares and indexes cheaply, and never depends on a
connection's time zone. Above this package only aware UTC datetimes are used.
"""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """Return `at` as integer microseconds UTC, exactly.

    Raises:
        TypeError: `at` is naive; an instant without a zone is no instant.
    """
    elapsed = at - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def instant(us: int) -> datetime:
    """Return integer microseconds UTC as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=us)


def instant_or_none(us: int | None) -> datetime | None:
    """Return the instant of a nullable column."""
    return None if us is None else instant(us)


def microseconds_or_none(at: datetime | None) -> int | None:
    """Return the column's value of an instant that may be missing."""
    return None if at is None else microseconds(at)
