"""What people do with a data target beside changing it."""

from typing import Any

import orjson
from marshmallow import ValidationError, fields

from protocols.targets import SigningAlgorithm
from web.schemas.fields import ApiSchema, Flag, Id, OneOf, PlainText


class RotateSecretBody(ApiSchema):
    algorithm = OneOf(
        SigningAlgorithm,
        load_default=SigningAlgorithm.HMAC_SHA256,
        metadata={"description": "hmac-sha256, unless ed25519 is asked for"},
    )
    revoke_previous = Flag(
        load_default=False,
        metadata={"description": "end the old keys now, not in 24 hours: one has become known"},
    )


class DisableBody(ApiSchema):
    reason = PlainText(
        255, load_default=None, allow_none=True, metadata={"description": "shown to everyone"}
    )


class JsonText(fields.String):
    """A text that is JSON in itself: bytes inside."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            orjson.loads(text)
            return text.encode()
        except ValueError as exc:
            raise ValidationError("must be a JSON text") from exc


class TrialBody(ApiSchema):
    iot_device_id = Id(
        load_default=None,
        allow_none=True,
        metadata={"description": "whose latest message is sent, unless there is a dataPackage"},
    )
    payload_decoder_id = Id(
        load_default=None,
        allow_none=True,
        metadata={"description": "what the message or package goes through first"},
    )
    data_package = JsonText(
        load_default=None,
        allow_none=True,
        metadata={"description": "JSON, as a string; without it and a device a sample is sent"},
    )


class TrialOfTargetBody(TrialBody):
    data_target_id = Id(required=True)


class _TrialStatusSchema(ApiSchema):
    status = fields.String(metadata={"description": "OK or ERROR"})
    status_code = fields.Integer(allow_none=True)
    status_text = fields.String(allow_none=True)
    error_message = fields.String(allow_none=True)


class TrialResultSchema(ApiSchema):
    result = fields.Nested(_TrialStatusSchema)
    decoded_payload = fields.Raw(metadata={"description": "what the decoder made, if there is one"})


class _TrialRequestSchema(ApiSchema):
    url = fields.String(allow_none=True, metadata={"description": "without what is secret"})
    address = fields.String(allow_none=True, metadata={"description": "what its name stood for"})
    headers = fields.Dict(metadata={"description": "without what is secret"})
    body = fields.String(allow_none=True)
    sent_bytes = fields.Integer()
    key_ids = fields.List(fields.String(), metadata={"description": "which keys signed it"})


class _TrialResponseSchema(ApiSchema):
    status_code = fields.Integer(allow_none=True)
    status_text = fields.String(allow_none=True)
    headers = fields.Dict(metadata={"description": "those that help to understand the answer"})
    excerpt = fields.String(allow_none=True, metadata={"description": "how the body begins"})


class TrialSchema(ApiSchema):
    """The whole exchange; the parts that did not come about are null or empty."""

    is_delivered = fields.Boolean()
    error = fields.String(allow_none=True, metadata={"description": "a sentence, as in the log"})
    error_code = fields.String(allow_none=True)
    fault = fields.String(
        allow_none=True,
        metadata={"description": "what failed: message, configuration, connection, ..."},
    )
    payload = fields.Raw(allow_none=True, metadata={"description": "what was to be handed over"})
    request = fields.Nested(_TrialRequestSchema)
    response = fields.Nested(_TrialResponseSchema)
    timing_ms = fields.Dict(
        metadata={"description": "dns, connect, tls, firstByte and total, as far as they happened"}
    )
