"""Payload decoders on the wire."""

from typing import Any

import orjson
from marshmallow import ValidationError, fields, validate

from web.error_codes import ErrorCode
from web.schemas.fields import (
    ApiSchema,
    Id,
    IdAndNameSchema,
    Instant,
    Name,
    StampedSchema,
    page_of,
)

LARGEST_SCRIPT_CHARACTERS = 512 * 1024


class EncodedText(fields.String):
    """A text inside a text: clients send scripts through JSON.stringify before they send JSON."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        encoded = super()._deserialize(value, attr, data, **kwargs)
        try:
            text = orjson.loads(encoded or "")
        except orjson.JSONDecodeError:
            text = None
        if not isinstance(text, str):
            raise ValidationError(ErrorCode.BAD_ENCODING)
        return text


class DecoderBody(ApiSchema):
    name = Name(required=True)
    organization_id = Id(required=True)
    decoding_function = EncodedText(
        required=True, validate=validate.Length(min=1, max=LARGEST_SCRIPT_CHARACTERS)
    )


class DecoderSchema(StampedSchema):
    name = fields.String()
    decoding_function = fields.String()
    organization = fields.Nested(IdAndNameSchema, allow_none=True)


class DecoderDetailSchema(DecoderSchema):
    """With what it fails on, until that has been decoded again."""

    failed_messages = fields.Integer()
    last_error = fields.String(allow_none=True)
    last_error_at = Instant()


class MinimalDecoderSchema(ApiSchema):
    id = fields.Integer()
    name = fields.String()
    organization_id = fields.Integer(allow_none=True)


class ReplayBody(ApiSchema):
    """Which messages; without bounds all that are kept."""

    since = Instant(data_key="from", load_default=None, allow_none=True)
    until = Instant(data_key="to", load_default=None, allow_none=True)


class QueuedSchema(ApiSchema):
    queued = fields.Integer()


class TestDecoderBody(ApiSchema):
    # Not a test: pytest collects by name.
    __test__ = False

    code = EncodedText(required=True, validate=validate.Length(max=LARGEST_SCRIPT_CHARACTERS))
    iot_device_json_string = EncodedText(required=True)
    raw_payload_json_string = EncodedText(required=True)


DecoderPage = page_of(DecoderSchema, "DecoderPage")
MinimalDecoderPage = page_of(MinimalDecoderSchema, "MinimalDecoderPage")
