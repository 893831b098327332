"""What devices have sent lately, as the management API shows it beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, true

from storage.database import Reader


class StatusCheck(StrEnum):
    """Whether an application is in order: `alert` without a data target or a message for a day."""

    STABLE = "stable"
    ALERT = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """The latest message of a device; its payload only where it was asked for."""

    id: str
    device_id: int
    received_at: int
    raw_data: bytes | None


def latest(reader: Reader, device_ids: Sequence[int]) -> Mapping[int, Reception]:
    return {}


def latest_with_payload(reader: Reader, device_id: int) -> Reception | None:
    return None


def recent(reader: Reader, device_id: int, limit: int) -> list[Reception]:
    return []


def has_status(status: StatusCheck) -> ColumnElement[bool]:
    return true()
