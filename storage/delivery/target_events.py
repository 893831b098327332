"""What befell a data target, kept for people, and delivered to those targets that want to hear of it.

An event is a delivery like any other: tried again, signed, in the books. Its message is the event
itself. The targets that hear of it are those of the same application that say
`operationalEvents`, but for the one that it is about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy import bindparam, select

from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import TargetId
from storage.database import BulkInsert, Row, Transaction
from storage.delivery.deliveries import EVENT_DECODER, DeliveryState
from storage.instants import microseconds
from storage.ledger_changes import LedgerChanges
from storage.result_rows import DELIVERY_LIFETIME, INSERT_DELIVERIES
from storage.tables.entities import application, data_target
from storage.tables.targets import target_event

_ABOUT = (
    select(
        data_target.c.id,
        data_target.c.name,
        data_target.c.application_id,
        application.c.organization_id,
    )
    .join(application, application.c.id == data_target.c.application_id)
    .where(data_target.c.id == bindparam("target_id"))
)
_NEIGHBOURS = select(data_target.c.id, data_target.c.settings).where(
    data_target.c.application_id == bindparam("application_id"),
    data_target.c.id != bindparam("target_id"),
)
_INSERT_EVENTS = BulkInsert(
    target_event, ("event_id", "target_id", "organization_id", "type", "at", "body")
)

# In order among themselves and before all messages: what has gone wrong is not to wait behind what
# it has held up.
_FIRST_POSITION: Final = -(2**62)


class TargetEventType(StrEnum):
    FAILING = "endpoint.failing"
    RECOVERED = "endpoint.recovered"
    DISABLED = "endpoint.disabled"
    EXHAUSTED = "delivery.exhausted"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """`data` is ready for JSON and in the names of the API."""

    type: TargetEventType
    at: datetime
    data: Mapping[str, Any]


def write_events(
    transaction: Transaction, target_id: TargetId, events: Sequence[NewEvent]
) -> list[TargetId]:
    """Keep what befell a target and make the deliveries of it; return for which targets."""
    about = transaction.fetch_one(_ABOUT, {"target_id": target_id})
    if about is None:
        return []
    rows = [(new_message_id(), event, _body(about, event)) for event in events]
    transaction.insert_many(
        _INSERT_EVENTS,
        [
            (
                event_id,
                target_id,
                about.organization_id,
                event.type.value,
                microseconds(event.at),
                body,
            )
            for event_id, event, body in rows
        ],
    )
    parameters = {"application_id": about.application_id, "target_id": target_id}
    listeners = [
        TargetId(row.id)
        for row in transaction.fetch_all(_NEIGHBOURS, parameters)
        if orjson.loads(row.settings).get("operationalEvents") is True
    ]
    deliveries = [
        _delivery(event_id, event.at, listener, about.organization_id)
        for event_id, event, _ in rows
        for listener in listeners
    ]
    if deliveries:
        transaction.insert_many(INSERT_DELIVERIES, deliveries)
        changes = LedgerChanges()
        changes.add(about.organization_id, "deliveries_created", len(deliveries))
        changes.store(transaction)
    return listeners


def _body(about: Row, event: NewEvent) -> bytes:
    return orjson.dumps(
        {
            "type": event.type.value,
            "timestamp": event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {
                "targetId": about.id,
                "targetName": about.name,
                "applicationId": about.application_id,
                **event.data,
            },
        }
    )


def _delivery(
    event_id: str, at: datetime, target_id: TargetId, organization_id: int
) -> tuple[object, ...]:
    return (
        new_delivery_id(),
        event_id,
        target_id,
        EVENT_DECODER,
        0,
        organization_id,
        microseconds(at) + _FIRST_POSITION,
        0,
        DeliveryState.PENDING.value,
        0,
        microseconds(at),
        microseconds(at + DELIVERY_LIFETIME),
    )
