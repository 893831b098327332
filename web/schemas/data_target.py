"""Data targets on the wire.

Secrets go in and never come out: the field reads null, and `<field>IsSet` beside it says whether
there is one. Who sends null, or leaves it out, keeps it; who sends an empty text removes it.

The fields are those of all kinds together: each kind keeps what it has a use for and ignores the rest
(`Target.setting_names`, `Target.secret_names`), and says itself what is wrong with their values.
"""

from enum import StrEnum
from typing import Any, Final

from marshmallow import fields, validate

from protocols.targets.policy import HeadOfLine, Ordering
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
    KAFKA = "KAFKA"


def _described(description: str) -> dict[str, Any]:
    return {"allow_none": True, "metadata": {"description": description}}


def _secret() -> fields.String:
    return fields.String(allow_none=True, load_only=True, validate=validate.Length(max=8192))


def _hidden() -> fields.Constant[None]:
    return fields.Constant(None, metadata={"description": "always null; see the field IsSet"})


class SettingFields(ApiSchema):
    """What is kept of a data target as it was sent, by the kinds that use it."""

    url = fields.String(
        **_described("where to push; null for a target that is only pulled from (HTTP_PUSH)")
    )
    timeout = fields.Integer(strict=True, **_described("ms"))
    authorization_type = fields.String(
        **_described(
            "NO_AUTHORIZATION, HEADER_BASED_AUTHORIZATION, HTTP_BASIC_AUTHORIZATION, SECRET_HEADER, "
            "SECRET_URL_PARAMETER or OAUTH_AUTHORIZATION"
        )
    )
    username = fields.String(**_described("with HTTP_BASIC_AUTHORIZATION; for SASL with KAFKA"))
    secret_header_name = fields.String(**_described("with SECRET_HEADER"))
    secret_parameter_name = fields.String(**_described("with SECRET_URL_PARAMETER"))
    client_id = fields.String(**_described("with OAUTH_AUTHORIZATION"))
    token_endpoint = fields.String(**_described("with OAUTH_AUTHORIZATION: where tokens are given"))
    scope = fields.String(
        **_described("with OAUTH_AUTHORIZATION: what the token shall be good for")
    )
    client_authentication = fields.String(
        **_described("with OAUTH_AUTHORIZATION: `body` or `basic`, how the client names itself")
    )
    envelope = fields.Boolean(
        truthy={True}, falsy={False}, **_described("push `{type, timestamp, data}` (HTTP_PUSH)")
    )
    batch_size = fields.Integer(
        strict=True, **_described("messages in one push, 1 to 500 (HTTP_PUSH with `envelope`)")
    )
    tenant = fields.String(**_described("NGSILD-Tenant (FIWARE)"))
    context = fields.String(**_described("address of the JSON-LD context (FIWARE)"))
    bootstrap_servers = fields.String(**_described("`host:port`, with commas between (KAFKA)"))
    topic = fields.String(**_described("what to write to (KAFKA)"))
    key = fields.String(**_described("what records are keyed by (KAFKA)"))
    security_protocol = fields.String(**_described("of the brokers (KAFKA)"))
    ca_certificate = fields.String(**_described("PEM, who the brokers are vouched for by (KAFKA)"))
    client_certificate = fields.String(**_described("PEM, with `clientKey` (KAFKA)"))
    sasl_mechanism = fields.String(**_described("how to log in to the brokers (KAFKA)"))
    ordering = fields.String(**_described(f"one of {', '.join(Ordering)}; by default per_device"))
    head_of_line_policy = fields.String(
        **_described(
            f"one of {', '.join(HeadOfLine)}: what becomes of a message that holds others up"
        )
    )
    head_of_line_max_seconds = fields.Float(
        **_described("for how long a message may hold others up by failing itself; by default 3600")
    )
    max_rate_per_second = fields.Float(**_described("no more deliveries than that; null for any"))
    max_in_flight = fields.Integer(strict=True, **_described("attempts at once; by default 8"))
    operational_events = fields.Boolean(
        truthy={True},
        falsy={False},
        **_described("also push what befalls the data targets of this application"),
    )


class DataTargetBody(SettingFields):
    """What each kind makes of its settings is checked by that kind."""

    name = Name(required=True)
    application_id = Id(required=True)
    type = OneOf(DataTargetType, required=True)
    authorization_header = _secret()
    password = _secret()
    secret_header_value = _secret()
    secret_parameter_value = _secret()
    client_secret = _secret()
    client_key = _secret()
    forget_secrets = Flag(
        load_default=False,
        metadata={"description": "drop what is stored, also when it cannot be read"},
    )
    open_data_dk_dataset = fields.Nested(
        DatasetBody,
        load_default=None,
        allow_none=True,
        metadata={"description": "what is published; null or left out: nothing is"},
    )


class SigningKeySchema(ApiSchema):
    """What may be known of a key; the one that is secret is shown once."""

    id = fields.String()
    algorithm = fields.String()
    public_key = fields.String(allow_none=True, metadata={"description": "of ed25519: `whpk_...`"})
    expires_at = Instant(metadata={"description": "null for the one in use"})


class TargetHealthSchema(ApiSchema):
    """How deliveries to a target fare; the counts are since the last that succeeded."""

    breaker = fields.String(metadata={"description": "closed, open or half_open"})
    open_until = Instant(metadata={"description": "until then, nothing is tried"})
    failing_since = Instant()
    failures = fields.Integer()
    last_error = fields.String(allow_none=True)


class DataTargetSchema(StampedSchema, SettingFields):
    name = fields.String()
    type = fields.String()
    application = fields.Nested(IdAndNameSchema)
    last_message_date = Instant()
    has_recent_errors = fields.Boolean()
    open_data_dk_dataset = fields.Nested(DatasetSchema, allow_none=True)
    enabled = fields.Boolean(metadata={"description": "while false nothing is pushed; it waits"})
    disabled_reason = fields.String(allow_none=True)
    disabled_at = Instant()
    health = fields.Nested(TargetHealthSchema)
    signing_public_key = fields.String(
        allow_none=True, metadata={"description": "of the key in use, if it is ed25519"}
    )
    signing_keys = fields.List(fields.Nested(SigningKeySchema))
    authorization_header = _hidden()
    authorization_header_is_set = Flag()
    password = _hidden()
    password_is_set = Flag()
    secret_header_value = _hidden()
    secret_header_value_is_set = Flag()
    secret_parameter_value = _hidden()
    secret_parameter_value_is_set = Flag()
    client_secret = _hidden()
    client_secret_is_set = Flag()
    client_key = _hidden()
    client_key_is_set = Flag()


class DataTargetDetailSchema(DataTargetSchema):
    configuration_error = fields.String(
        allow_none=True,
        metadata={"description": "why nothing can be sent with these settings, as a sentence"},
    )


class SignedDataTargetSchema(DataTargetSchema):
    """The answer that makes a target, or a new key for one: the only one with the secret in it."""

    signing_secret = fields.String(
        allow_none=True,
        metadata={
            "description": "`whsec_...`, shown this once; null where nothing is signed, or the "
            "receiver needs `signingPublicKey` alone"
        },
    )


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


def _secret_names() -> tuple[str, ...]:
    body = DataTargetBody()
    return tuple(str(field.data_key) for field in body.fields.values() if field.load_only)


SETTINGS: Final = tuple(str(field.data_key) for field in SettingFields().fields.values())
SECRETS: Final = _secret_names()
DataTargetPage = page_of(DataTargetSchema, "DataTargetPage")
