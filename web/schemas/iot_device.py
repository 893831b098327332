"""IoT devices on the wire."""

from typing import Any

import orjson
from marshmallow import ValidationError, fields, validate

from protocols.messages import DeviceType
from web.error_codes import ErrorCode
from web.schemas.fields import (
    ApiSchema,
    Id,
    IdAndNameSchema,
    Instant,
    Name,
    OneOf,
    PlainText,
    StampedSchema,
    page_of,
)

BATCH_LIMIT = 50


def _check_metadata(text: str) -> None:
    """Metadata is a JSON object of texts, sent as text."""
    try:
        metadata = orjson.loads(text)
    except orjson.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict):
        raise ValidationError("must be the text of a JSON object")
    if any(not key.strip() for key in metadata):
        raise ValidationError(ErrorCode.INVALID_KEY_IN_METADATA)
    if any(not isinstance(value, str) or not value.strip() for value in metadata.values()):
        raise ValidationError(ErrorCode.INVALID_VALUE_IN_METADATA)


class DeviceBody(ApiSchema):
    name = Name(required=True)
    type = OneOf(DeviceType, required=True)
    application_id = Id(required=True)
    longitude = fields.Float(
        load_default=None, allow_none=True, validate=validate.Range(min=-180, max=180)
    )
    latitude = fields.Float(
        load_default=None, allow_none=True, validate=validate.Range(min=-90, max=90)
    )
    comment_on_location = PlainText(1024, load_default=None, allow_none=True)
    comment = PlainText(1024, load_default=None, allow_none=True)
    metadata = fields.String(
        load_default=None,
        allow_none=True,
        validate=[validate.Length(max=65_536), _check_metadata],
    )
    device_model_id = Id(load_default=None, allow_none=True)


class TargetAndDecoderBody(ApiSchema):
    data_target_id = Id(required=True)
    payload_decoder_id = Id(load_default=None, allow_none=True)


class MoveDeviceBody(ApiSchema):
    """The application, and through which decoders to which of its data targets."""

    application_id = Id(required=True)
    organization_id = Id(load_default=None, allow_none=True)
    data_target_to_payload_decoder_ids = fields.List(
        fields.Nested(TargetAndDecoderBody), load_default=list, validate=validate.Length(max=1000)
    )


class BatchBody(ApiSchema):
    """Devices to be created or updated one by one; each is validated by itself."""

    data = fields.List(
        fields.Dict(), required=True, validate=validate.Length(min=1, max=BATCH_LIMIT)
    )


class ReceivedMessageSchema(ApiSchema):
    """The latest message of a device."""

    id = fields.String()
    created_at = Instant(attribute="received_at", dump_only=True)
    updated_at = Instant(attribute="received_at", dump_only=True)
    sent_time = Instant(attribute="received_at", dump_only=True)
    rssi = fields.Float(allow_none=True)
    snr = fields.Float(allow_none=True)
    raw_data = fields.Raw(allow_none=True)


class MessageTimeSchema(ApiSchema):
    id = fields.String()
    created_at = Instant(attribute="received_at", dump_only=True)
    sent_time = Instant(attribute="received_at", dump_only=True)


class LocationSchema(ApiSchema):
    type = fields.String()
    coordinates = fields.List(fields.Float())


class DeviceApplicationSchema(StampedSchema):
    name = fields.String()
    belongs_to = fields.Nested(IdAndNameSchema)


class DeviceSchema(StampedSchema):
    name = fields.String()
    type = fields.String()
    location = fields.Nested(LocationSchema, allow_none=True)
    comment_on_location = fields.String(allow_none=True)
    comment = fields.String(allow_none=True)
    metadata = fields.String(allow_none=True, metadata={"description": "JSON as text"})
    api_key = fields.String(allow_none=True)
    application = fields.Nested(DeviceApplicationSchema)
    device_model = fields.Raw(allow_none=True)
    latest_received_message = fields.Nested(ReceivedMessageSchema, allow_none=True)


class DeviceDetailSchema(DeviceSchema):
    received_messages_metadata = fields.List(fields.Nested(MessageTimeSchema))


class MapDeviceSchema(ApiSchema):
    id = fields.Integer()
    name = fields.String()
    type = fields.String()
    latest_sent_message = Instant()
    location = fields.Nested(LocationSchema, allow_none=True)


class MinimalDeviceSchema(ApiSchema):
    id = fields.Integer()
    name = fields.String()
    can_read = fields.Boolean()
    application_id = fields.Integer()
    organization_id = fields.Integer()
    last_active_time = Instant()


class BatchIdentitySchema(ApiSchema):
    name = fields.String(allow_none=True)
    application_id = fields.Integer(allow_none=True)


class BatchErrorSchema(ApiSchema):
    message = fields.Raw()


class BatchRowSchema(ApiSchema):
    """What became of one device of a batch: `data` or `error`."""

    data = fields.Nested(DeviceSchema)
    id_metadata = fields.Nested(BatchIdentitySchema)
    error = fields.Nested(BatchErrorSchema)


class ApiKeyOfDeviceSchema(ApiSchema):
    api_key = fields.String()


DevicePage = page_of(DeviceSchema, "DevicePage")
MinimalDevicePage = page_of(MinimalDeviceSchema, "MinimalDevicePage")


def location_of(longitude: float | None, latitude: float | None) -> dict[str, Any] | None:
    """A position as GeoJSON, longitude first. Source: RFC 7946, section 3.1.1."""
    if longitude is None or latitude is None:
        return None
    return {"type": "Point", "coordinates": [longitude, latitude]}
