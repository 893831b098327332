"""Connections between devices, decoders and data targets on the wire."""

from marshmallow import fields, validate

from web.schemas.fields import ApiSchema, Id, IdAndNameSchema, StampedSchema, distinct, page_of

_DEVICES_LIMIT = 10_000


class ConnectionBody(ApiSchema):
    iot_device_ids = fields.List(
        Id(), required=True, validate=[validate.Length(min=1, max=_DEVICES_LIMIT), distinct]
    )
    payload_decoder_id = Id(load_default=None, allow_none=True)
    data_target_id = Id(required=True)


class AppendDeviceBody(ApiSchema):
    device_id = Id(required=True)


class ConnectedDeviceSchema(IdAndNameSchema):
    type = fields.String()
    application_id = fields.Integer()


class ConnectedTargetSchema(IdAndNameSchema):
    type = fields.String()


class ConnectionSchema(StampedSchema):
    iot_devices = fields.List(fields.Nested(ConnectedDeviceSchema))
    payload_decoder = fields.Nested(IdAndNameSchema, allow_none=True)
    data_target = fields.Nested(ConnectedTargetSchema)


ConnectionPage = page_of(ConnectionSchema, "ConnectionPage")
