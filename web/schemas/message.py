"""Messages on the wire: their way, and lists of them."""

from marshmallow import fields, validate

from web.schemas.fields import ApiSchema, Instant
from web.schemas.listing import QueryId, QuerySchema

_LARGEST_PAGE = 1_000
_LONGEST_CURSOR = 100


class NamedSchema(ApiSchema):
    """`name` is null for what is there no more."""

    id = fields.Integer()
    name = fields.String(allow_none=True)


class TargetHeaderSchema(NamedSchema):
    type = fields.String(allow_none=True)


class SetAsideSchema(ApiSchema):
    """Why the database refused what came of the message."""

    at = Instant()
    reason = fields.String()
    error = fields.String()


class JobSchema(ApiSchema):
    """One decoder and what it made of the message; without a decoder it is passed on as it is."""

    payload_decoder = fields.Nested(NamedSchema, allow_none=True)
    decoder_version = fields.String(allow_none=True)
    state = fields.String(metadata={"description": "decoded, failed, no_decoder or deferred"})
    generation = fields.Integer(metadata={"description": "0 live, n for the nth replay"})
    settled_at = Instant()
    result = fields.Raw(allow_none=True, metadata={"description": "as the decoder gave it"})
    warnings = fields.Raw(metadata={"type": "array", "items": {"type": "string"}})
    error_code = fields.String(allow_none=True)
    error = fields.String(allow_none=True)


class MessageAttemptSchema(ApiSchema):
    attempt = fields.Integer(metadata={"description": "1 for the first"})
    at = Instant()
    state = fields.String(metadata={"description": "what became of the delivery by it"})
    status_code = fields.Integer(allow_none=True)
    duration_ms = fields.Float(allow_none=True)
    error_code = fields.String(allow_none=True)
    error = fields.String(allow_none=True)
    response_excerpt = fields.String(allow_none=True)
    next_attempt_at = Instant()
    details = fields.Raw(
        allow_none=True,
        metadata={"type": "object", "description": "what went over the wire, without secrets"},
    )
    is_inferred = fields.Boolean(
        metadata={"description": "a first attempt that succeeded: nothing more is kept of it"}
    )


class MessageDeliverySchema(ApiSchema):
    id = fields.String(metadata={"description": "the webhook-id"})
    data_target = fields.Nested(TargetHeaderSchema)
    payload_decoder = fields.Nested(NamedSchema, allow_none=True)
    state = fields.String()
    generation = fields.Integer()
    is_replay = fields.Boolean()
    created_at = Instant()
    next_attempt_at = Instant()
    expires_at = Instant()
    settled_at = Instant()
    attempts = fields.Integer(metadata={"description": "how many were made"})
    attempt_log = fields.List(fields.Nested(MessageAttemptSchema))
    is_aside = fields.Boolean(metadata={"description": "it waits outside of its order"})
    batch_id = fields.String(allow_none=True)
    leased_until = Instant()


class StepSchema(ApiSchema):
    """One thing that happened; which of the fields it has depends on what it was."""

    at = Instant()
    step = fields.String()
    payload_decoder = fields.Nested(NamedSchema, allow_none=True)
    data_target = fields.Nested(TargetHeaderSchema)
    delivery_id = fields.String()
    attempt = fields.Integer()
    state = fields.String(metadata={"description": "what became of the delivery by the attempt"})
    status_code = fields.Integer(allow_none=True)
    error = fields.String(allow_none=True)


class MessageSchema(ApiSchema):
    """The way of a message."""

    id = fields.String()
    state = fields.String(
        metadata={"description": "pending, set_aside, deferred, on_its_way or settled"}
    )
    received_at = Instant()
    iot_device = fields.Nested(NamedSchema)
    organization_id = fields.Integer()
    application_id = fields.Integer()
    raw_data = fields.Raw(metadata={"description": "as the device sent it"})
    set_aside = fields.Nested(SetAsideSchema, allow_none=True)
    jobs = fields.List(fields.Nested(JobSchema))
    deliveries = fields.List(fields.Nested(MessageDeliverySchema))
    steps = fields.List(fields.Nested(StepSchema), metadata={"description": "in order of time"})


class MessageListQuery(QuerySchema):
    device_id = QueryId(required=True)
    since = Instant(data_key="from", load_default=None)
    until = Instant(data_key="to", load_default=None, metadata={"description": "exclusive"})
    limit = fields.Integer(load_default=100, validate=validate.Range(min=1, max=_LARGEST_PAGE))
    cursor = fields.String(
        load_default=None,
        validate=validate.Length(max=_LONGEST_CURSOR),
        metadata={"description": "nextCursor of the page before"},
    )


class JobHeaderSchema(ApiSchema):
    payload_decoder_id = fields.Integer(allow_none=True)
    state = fields.String()


class MessageSummarySchema(ApiSchema):
    id = fields.String()
    received_at = Instant()
    size_bytes = fields.Integer()
    jobs = fields.List(fields.Nested(JobHeaderSchema))
    deliveries = fields.Raw(
        metadata={
            "type": "object",
            "additionalProperties": {"type": "integer"},
            "description": "how many there are in each state",
        }
    )


class MessagePageSchema(ApiSchema):
    data = fields.List(fields.Nested(MessageSummarySchema))
    next_cursor = fields.String(allow_none=True, metadata={"description": "null on the last page"})
