"""Deliveries on the wire: what is unacknowledged, dead letters, replays, attempts and events."""

import re
from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields, pre_load, validate, validates_schema

from storage.delivery.redelivery import (
    DEAD_LETTERS,
    DEFAULT_RATE_PER_S,
    LARGEST_RATE_PER_S,
    SETTLED,
)
from web.schemas.fields import ApiSchema, Flag, Id, IdAndNameSchema, Instant
from web.schemas.listing import QueryId, QuerySchema

LARGEST_PAGE = 1_000
_LEASE = re.compile(r"([0-9]{1,4})(s|m)")
_LEASE_LIMIT_S = 3600
_CURSOR_METADATA = {"description": "what the page before gave, to go on behind it"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class DeliveryIdField(fields.String):
    """The UUID of a delivery or an event, in lower case inside."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs).lower()
        if not _UUID.fullmatch(text):
            raise ValidationError("must be a uuid")
        return text


class Lease(fields.Field[timedelta]):
    """Seconds or minutes, as `30s` or `5m`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> timedelta:
        found = _LEASE.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            lease_s = int(found[1]) * (60 if found[2] == "m" else 1)
            if 1 <= lease_s <= _LEASE_LIMIT_S:
                return timedelta(seconds=lease_s)
        raise ValidationError("must be a time from 1s to 60m, such as 30s")


class States(fields.List[Any]):
    """Some of a set of states; of a query, with commas between them."""

    def __init__(self, choices: frozenset[Any], **options: Any) -> None:
        one = fields.String(validate=validate.OneOf(sorted(choices)))
        super().__init__(one, validate=validate.Length(min=1), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        return super()._deserialize(parts, attr, data, **kwargs)


class _PageQuery(QuerySchema):
    limit = fields.Integer(
        load_default=100,
        validate=validate.Range(min=1, max=LARGEST_PAGE),
        metadata={"description": "how many at most"},
    )


class _PeriodQuery(_PageQuery):
    from_at = Instant(
        data_key="from", load_default=None, metadata={"description": "created then or later"}
    )
    to_at = Instant(
        data_key="to", load_default=None, metadata={"description": "created before then"}
    )


class UnacknowledgedQuery(_PeriodQuery):
    cursor = fields.String(
        load_default=None, validate=validate.Length(max=100), metadata=_CURSOR_METADATA
    )
    lease = Lease(
        load_default=None,
        metadata={
            "type": "string",
            "description": "keep what this page shows from other readings with a lease, such as 30s",
        },
    )


class DeadLetterQuerySchema(_PeriodQuery):
    cursor = DeliveryIdField(load_default=None, metadata=_CURSOR_METADATA)
    device_id = QueryId(load_default=None)
    state = States(DEAD_LETTERS, load_default=sorted(DEAD_LETTERS))


class TargetEventQuery(_PageQuery):
    cursor = DeliveryIdField(load_default=None, metadata=_CURSOR_METADATA)


class AttemptQuery(_PageQuery):
    cursor = fields.Integer(
        load_default=None,
        validate=validate.Range(min=1, max=2**63 - 1),
        metadata={"type": "string", **_CURSOR_METADATA},
    )
    delivery_id = DeliveryIdField(load_default=None)


class AcknowledgementBody(ApiSchema):
    """Exactly one of the two."""

    ids = fields.List(
        DeliveryIdField(),
        load_default=None,
        validate=validate.Length(min=1, max=LARGEST_PAGE),
        metadata={"description": "of deliveries"},
    )
    up_to = fields.String(
        load_default=None,
        validate=validate.Length(max=100),
        metadata={"description": "the cursor of a page that was read with a lease"},
    )

    @validates_schema
    def demand_one(self, data: dict[str, Any], **_: Any) -> None:
        if (data["ids"] is None) == (data["up_to"] is None):
            raise ValidationError("either ids or upTo", "ids")


class AcknowledgedSchema(ApiSchema):
    acknowledged = fields.Integer()
    already_settled = fields.Integer(
        metadata={"description": "named, and delivered, acknowledged or given up before"}
    )
    # Called otherwise here, because a schema's `unknown` is how it treats unknown fields.
    not_known = fields.Integer(
        data_key="unknown",
        metadata={"description": "named, and none of this target's, or not kept any more"},
    )


class RedeliveryBody(ApiSchema):
    """Either some deliveries, or those of a period, or all that died since the target failed."""

    delivery_ids = fields.List(
        DeliveryIdField(), load_default=None, validate=validate.Length(min=1, max=LARGEST_PAGE)
    )
    from_at = Instant(data_key="from", load_default=None, allow_none=True)
    to_at = Instant(data_key="to", load_default=None, allow_none=True)
    since_failure = Flag(load_default=False)
    device_id = Id(load_default=None, allow_none=True)
    states = States(SETTLED, load_default=sorted(DEAD_LETTERS))
    rate_per_second = fields.Integer(
        strict=True,
        load_default=DEFAULT_RATE_PER_S,
        validate=validate.Range(min=1, max=LARGEST_RATE_PER_S),
    )

    @pre_load
    def demand_one(self, data: Any, **_: Any) -> Any:
        if isinstance(data, dict):
            given = (
                data.get("deliveryIds") is not None,
                data.get("from") is not None or data.get("to") is not None,
                data.get("sinceFailure") is True,
            )
            if sum(given) != 1:
                raise ValidationError(
                    "one of deliveryIds, from and to, sinceFailure", "deliveryIds"
                )
            if given[0] and ("states" in data or data.get("deviceId") is not None):
                raise ValidationError("not together with states or deviceId", "deliveryIds")
        return data


class RedeliveryTakenSchema(ApiSchema):
    id = fields.Integer()
    estimate = fields.Integer(
        allow_none=True, metadata={"description": "how many it will be; null if only time can tell"}
    )


class RedeliverySchema(RedeliveryTakenSchema):
    state = fields.String(metadata={"description": "running, finished or stopped"})
    made = fields.Integer(metadata={"description": "deliveries made so far"})
    skipped = fields.Integer(metadata={"description": "wanted, but there is nothing to be sent"})
    states = fields.List(fields.String())
    device_id = fields.Integer(allow_none=True)
    from_at = Instant(data_key="from", allow_none=True)
    to_at = Instant(data_key="to", allow_none=True)
    rate_per_second = fields.Integer()
    created_at = Instant()
    finished_at = Instant(allow_none=True)


class ExchangeSchema(ApiSchema):
    """What went over the wire, secrets taken out. What is not known is left out."""

    url = fields.String()
    address = fields.String()
    sent_bytes = fields.Integer()
    key_ids = fields.List(fields.String())
    response_headers = fields.Dict()
    timing_ms = fields.Dict()


class AttemptSchema(ApiSchema):
    id = fields.Integer()
    delivery_id = fields.String()
    message_id = fields.String(allow_none=True)
    attempt = fields.Integer(metadata={"description": "1 for the delivery's first"})
    state = fields.String(metadata={"description": "what the delivery was after it"})
    at = Instant()
    next_attempt_at = Instant(allow_none=True)
    status_code = fields.Integer(allow_none=True)
    error_code = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
    duration_ms = fields.Float()
    response_excerpt = fields.String(allow_none=True)
    exchange = fields.Nested(ExchangeSchema, allow_none=True)
    iot_device = fields.Nested(IdAndNameSchema, allow_none=True)
    payload_decoder = fields.Nested(IdAndNameSchema, allow_none=True)


class DeliverySchema(ApiSchema):
    """What deliveries show wherever they are listed."""

    id = fields.String(metadata={"description": "the webhook-id of every attempt"})
    message_id = fields.String()
    device = fields.Nested(IdAndNameSchema, allow_none=True)
    state = fields.String()
    generation = fields.Integer(metadata={"description": "above 0: sent again"})
    attempts = fields.Integer()
    received_at = Instant(allow_none=True)
    created_at = Instant()
    expires_at = Instant()


class UnacknowledgedSchema(DeliverySchema):
    next_attempt_at = Instant(allow_none=True)
    leased_until = Instant(allow_none=True)
    last_error = fields.String(allow_none=True)
    content_type = fields.String()
    payload = fields.Raw(metadata={"description": "what would be pushed, as it is"})


class DeadLetterSchema(DeliverySchema):
    died_at = Instant()
    reason = fields.String()
    last_attempt = fields.Nested(AttemptSchema, allow_none=True)


class DeadLetterDetailSchema(DeadLetterSchema):
    content_type = fields.String()
    payload = fields.Raw(allow_none=True, metadata={"description": "null when it is not kept"})


class TargetEventSchema(ApiSchema):
    id = fields.String()
    type = fields.String()
    at = Instant()
    body = fields.Raw()


def cursor_page_of(row: type[ApiSchema], name: str) -> type[Any]:
    """The schema of `{data: [...], cursor, hasMore}` over rows of a schema, called `name`."""
    return ApiSchema.from_dict(
        {
            "data": fields.List(fields.Nested(row)),
            "cursor": fields.String(
                allow_none=True, metadata={"description": "where to go on; null for an empty list"}
            ),
            "has_more": fields.Boolean(),
        },
        name=name,
    )


UnacknowledgedPage = cursor_page_of(UnacknowledgedSchema, "UnacknowledgedPage")
DeadLetterPage = cursor_page_of(DeadLetterSchema, "DeadLetterPage")
AttemptPage = cursor_page_of(AttemptSchema, "AttemptPage")
TargetEventPage = cursor_page_of(TargetEventSchema, "TargetEventPage")
