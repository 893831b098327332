"""The keys that pushes are signed with.

Source: Standard Webhooks 1.0.0, "Signature scheme".
"""

import base64
import secrets
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SECRET_BYTES = 32


class SigningAlgorithm(StrEnum):
    HMAC_SHA256 = "hmac-sha256"
    ED25519 = "ed25519"


def new_signing_secret(algorithm: SigningAlgorithm) -> str:
    """Return a new key: `whsec_...` for both sides, or `whsk_...`, which stays with the sender."""
    key = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    return f"whsk_{key}" if algorithm is SigningAlgorithm.ED25519 else f"whsec_{key}"


def public_key_of(secret: str) -> str | None:
    """Return the `whpk_...` that belongs to a `whsk_...`, None for other keys."""
    if not secret.startswith("whsk_"):
        return None
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret.removeprefix("whsk_")))
    return "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode()
