"""What there is to push of deliveries, as columns to select beside `body_of_delivery`, without reading it."""

from typing import Any, Final

from sqlalchemy import ColumnElement, case, exists, func, literal_column, select

from storage.delivery.deliveries import EVENT_DECODER
from storage.tables.pipeline import delivery, message, message_job
from storage.tables.targets import target_event

_is_raw = delivery.c.decoder_id == 0
_is_event = delivery.c.decoder_id == literal_column(str(EVENT_DECODER))
_raw = message.c.message_id == delivery.c.message_id
_event = target_event.c.event_id == delivery.c.message_id
_decoded = (message_job.c.message_id == delivery.c.message_id) & (
    message_job.c.decoder_id == delivery.c.decoder_id
)


def _length(body: ColumnElement[Any], of: ColumnElement[bool]) -> ColumnElement[Any]:
    return select(func.length(body)).where(of).correlate(delivery).scalar_subquery()


# No engine reads a body to tell its length.
size_of_body: Final = case(
    (_is_raw, _length(message.c.payload, _raw)),
    (_is_event, _length(target_event.c.body, _event)),
    else_=_length(message_job.c.body, _decoded),
)
"""In bytes; NULL when it is not kept any more."""

has_body: Final = case(
    (_is_raw, exists().where(_raw).correlate(delivery)),
    (_is_event, exists().where(_event).correlate(delivery)),
    else_=exists().where(_decoded, message_job.c.body.is_not(None)).correlate(delivery),
)
