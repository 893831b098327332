"""What people do with a data target beside changing it."""

from protocols.targets import SigningAlgorithm
from web.schemas.fields import ApiSchema, Flag, OneOf, PlainText


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
