"""What deliveries push, as columns to select: it is kept once, with the message or the event."""

from typing import Any, Final

from sqlalchemy import ColumnElement, case, exists, func, select

from storage.tables.pipeline import delivery, message, message_job
from storage.tables.targets import target_event

EVENT: Final = -1
"""The `decoder_id` of a delivery that tells of an event about a data target."""

_is_raw = delivery.c.decoder_id == 0
_is_event = delivery.c.decoder_id == EVENT
_raw = message.c.message_id == delivery.c.message_id
_event = target_event.c.event_id == delivery.c.message_id
_decoded = (message_job.c.message_id == delivery.c.message_id) & (
    message_job.c.decoder_id == delivery.c.decoder_id
)


def _of_its_kind(
    raw: ColumnElement[Any], event: ColumnElement[Any], decoded: ColumnElement[Any]
) -> ColumnElement[Any]:
    return case(
        (_is_raw, select(raw).where(_raw).correlate(delivery).scalar_subquery()),
        (_is_event, select(event).where(_event).correlate(delivery).scalar_subquery()),
        else_=select(decoded).where(_decoded).correlate(delivery).scalar_subquery(),
    )


body: Final = _of_its_kind(message.c.payload, target_event.c.body, message_job.c.body)
"""The bytes; NULL when they are not kept any more."""

# No engine reads a body to tell its length.
body_size: Final = _of_its_kind(
    func.length(message.c.payload),
    func.length(target_event.c.body),
    func.length(message_job.c.body),
)

has_body: Final = case(
    (_is_raw, exists().where(_raw).correlate(delivery)),
    (_is_event, exists().where(_event).correlate(delivery)),
    else_=exists().where(_decoded, message_job.c.body.is_not(None)).correlate(delivery),
)
