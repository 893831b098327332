"""The statements that read the outbox."""

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from protocols.targets.policy import Ordering
from storage.delivery.deliveries import EVENT_DECODER, STRICT_LANE
from storage.tables.entities import data_target
from storage.tables.pipeline import delivery, delivery_lane, is_waiting, message, message_job
from storage.tables.targets import target_event

_target: BindParameter[Any] = bindparam("target_id")
_now: BindParameter[Any] = bindparam("now")


def _is_blocked(lane: ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(
        delivery_lane.c.target_id == delivery.c.target_id,
        delivery_lane.c.device_id == lane,
        delivery_lane.c.due_at > _now,
    )


# Looked up for the rows that are returned only: bodies are large and most rows are left out.
_payload = (
    select(message.c.payload)
    .where(message.c.message_id == delivery.c.message_id)
    .correlate(delivery)
    .scalar_subquery()
)
_decoded = (
    select(message_job.c.body)
    .where(
        message_job.c.message_id == delivery.c.message_id,
        message_job.c.decoder_id == delivery.c.decoder_id,
    )
    .correlate(delivery)
    .scalar_subquery()
)
_is_event = delivery.c.decoder_id == literal_column(str(EVENT_DECODER))
_event = target_event.c.event_id == delivery.c.message_id
_event_body = select(target_event.c.body).where(_event).correlate(delivery).scalar_subquery()
_event_type = select(target_event.c.type).where(_event).correlate(delivery).scalar_subquery()

body_of_delivery = case(
    (delivery.c.decoder_id == 0, _payload), (_is_event, _event_body), else_=_decoded
).label("body")
"""The bytes to push, as a column of a SELECT from `delivery`; NULL where they are not kept any more."""


def _select_due(*further: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            delivery, body_of_delivery, case((_is_event, _event_type), else_=None).label("event")
        )
        .where(
            is_waiting,
            or_(delivery.c.next_at.is_(None), delivery.c.next_at <= _now),
            *further,
            delivery.c.delivery_id.not_in(bindparam("excluding", expanding=True)),
        )
        .order_by(delivery.c.position, delivery.c.decoder_id)
    )


def _select_waiting(*further: ColumnElement[bool]) -> Select[Any]:
    return _select_due(delivery.c.target_id == _target, *further).limit(bindparam("limit"))


_is_in_no_lane = or_(delivery.c.generation > 0, delivery.c.is_aside)
SELECT_WAITING = {
    Ordering.PER_DEVICE: _select_waiting(or_(_is_in_no_lane, ~_is_blocked(delivery.c.device_id))),
    Ordering.STRICT: _select_waiting(
        or_(_is_in_no_lane, ~_is_blocked(literal_column(str(STRICT_LANE))))
    ),
    Ordering.NONE: _select_waiting(),
}
SELECT_REST_OF_BATCHES = _select_due(
    delivery.c.batch_id.is_not(None),
    delivery.c.batch_id.in_(bindparam("batch_ids", expanding=True)),
)
# NULL when nothing is in back-off; an index holds just those rows. A lane may open before its head is
# due, which has stepped aside then. What is due by now is left out: it waits for something else.
SELECT_NEXT_DUE = union_all(
    select(func.min(delivery.c.next_at).label("due_at")).where(
        delivery.c.target_id == _target, delivery.c.next_at > _now
    ),
    select(func.min(delivery_lane.c.due_at).label("due_at")).where(
        delivery_lane.c.target_id == _target, delivery_lane.c.due_at > _now
    ),
)
SELECT_BLOCKED = select(delivery_lane).where(delivery_lane.c.target_id == _target)
SELECT_COUNTS = (
    select(
        delivery.c.state,
        func.count().label("rows"),
        func.min(delivery.c.created_at).label("oldest"),
    )
    .where(delivery.c.target_id == _target, is_waiting)
    .group_by(delivery.c.state)
)
# Of the given ones; each is one look at the index of what waits, however much that is.
SELECT_WAITED_FOR = select(data_target.c.id).where(
    data_target.c.id.in_(bindparam("target_ids", expanding=True)),
    exists().where(delivery.c.target_id == data_target.c.id, is_waiting),
)
# One target per statement: the index is entered anew for each, however much waits for it.
SELECT_NEXT_TARGET = (
    select(
        delivery.c.target_id,
        exists().where(data_target.c.id == delivery.c.target_id).label("is_there"),
    )
    .where(is_waiting, delivery.c.target_id > bindparam("after"))
    .order_by(delivery.c.target_id)
    .limit(1)
)
