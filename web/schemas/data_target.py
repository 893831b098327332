"""Data targets on the wire.

Secrets go in and never come out: the field reads null, and `<field>IsSet` beside it says whether
there is one. Who sends null, or leaves it out, keeps it; who sends an empty text removes it.
"""

from enum import StrEnum

from marshmallow import fields, validate

from web.schemas.fields import (
    ApiSchema,
    Flag,
    Id,
    IdAndNameSchema,
    Instant,
    Name,
    OneOf,
    StampedSchema,
    page_of,
)
from web.schemas.open_data import DatasetBody, DatasetSchema


class DataTargetType(StrEnum):
    HTTP_PUSH = "HTTP_PUSH"
    FIWARE = "FIWARE"
    MQTT = "MQTT"
    OPENDATADK = "OPENDATADK"


SETTINGS = (
    "url",
    "timeout",
    "authorizationType",
    "username",
    "secretHeaderName",
    "secretParameterName",
)
SECRETS = ("authorizationHeader", "password", "secretHeaderValue", "secretParameterValue")


def _secret() -> fields.String:
    return fields.String(allow_none=True, load_only=True, validate=validate.Length(max=8192))


def _hidden() -> fields.Constant[None]:
    return fields.Constant(None, metadata={"description": "always null; see the field IsSet"})


class DataTargetBody(ApiSchema):
    """What each kind makes of its settings is checked by that kind."""

    name = Name(required=True)
    application_id = Id(required=True)
    type = OneOf(DataTargetType, required=True)
    url = fields.String(allow_none=True)
    timeout = fields.Integer(strict=True, allow_none=True, metadata={"description": "ms"})
    authorization_type = fields.String(allow_none=True)
    username = fields.String(allow_none=True)
    secret_header_name = fields.String(allow_none=True)
    secret_parameter_name = fields.String(allow_none=True)
    authorization_header = _secret()
    password = _secret()
    secret_header_value = _secret()
    secret_parameter_value = _secret()
    open_data_dk_dataset = fields.Nested(
        DatasetBody,
        load_default=None,
        allow_none=True,
        metadata={"description": "what is published; null or left out: nothing is"},
    )


class DataTargetSchema(StampedSchema):
    name = fields.String()
    type = fields.String()
    application = fields.Nested(IdAndNameSchema)
    last_message_date = Instant()
    has_recent_errors = fields.Boolean()
    open_data_dk_dataset = fields.Nested(DatasetSchema, allow_none=True)
    url = fields.String(allow_none=True)
    timeout = fields.Integer(allow_none=True)
    authorization_type = fields.String(allow_none=True)
    username = fields.String(allow_none=True)
    secret_header_name = fields.String(allow_none=True)
    secret_parameter_name = fields.String(allow_none=True)
    authorization_header = _hidden()
    authorization_header_is_set = Flag()
    password = _hidden()
    password_is_set = Flag()
    secret_header_value = _hidden()
    secret_header_value_is_set = Flag()
    secret_parameter_value = _hidden()
    secret_parameter_value_is_set = Flag()


class DeliveryLogSchema(ApiSchema):
    """One attempt at a delivery."""

    id = fields.Raw()
    created_at = Instant()
    updated_at = Instant(attribute="created_at", dump_only=True)
    type = fields.String()
    status_code = fields.Integer(allow_none=True)
    message = fields.String(allow_none=True)
    iot_device = fields.Nested(IdAndNameSchema, allow_none=True)
    payload_decoder = fields.Nested(IdAndNameSchema, allow_none=True)


DataTargetPage = page_of(DataTargetSchema, "DataTargetPage")
