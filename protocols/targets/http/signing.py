"""Signatures by which a receiver knows that a push is the hub's, untouched, and fresh.

What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, byte for byte as it is sent. A target may have
several keys at once: while a receiver changes over from one to the next, each push carries a signature of
both, and the old key ends by itself. The receiver takes a push if any signature fits.

Source: Standard Webhooks 1.0.0, "Signature scheme".
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.errors import InvalidInput

ROTATION_S: Final = 24 * 3600
"""How long the old key goes on signing beside the new one."""

MAX_KEYS: Final = 5

_SECRET: Final = "whsec_"
_PRIVATE: Final = "whsk_"
_PUBLIC: Final = "whpk_"
# "The secret should be between 24 bytes (192 bits) and 64 bytes (512 bits)"; a SHA-256 has no use for more.
_NEW_SECRET_BYTES: Final = 32
_SECRET_BYTES: Final = (24, 64)
_SEED_BYTES: Final = 32
_BLOCK_BYTES: Final = 64


class SigningAlgorithm(StrEnum):
    HMAC_SHA256 = "hmac-sha256"
    """One secret, known to both sides."""
    ED25519 = "ed25519"
    """The receiver has a public key, with which nobody can sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    key_id: str
    """Not secret: the log of attempts names keys by it."""
    sign: Callable[[bytes], str] = field(repr=False)
    """Returns what stands in the header: version, comma, base64."""
    expires_at_s: float | None = None
    """Unix time from which it signs no more; None for never."""


def new_signing_secret(algorithm: SigningAlgorithm) -> str:
    """Return a key that nobody else has: `whsec_...`, which the receiver needs, or `whsk_...`, which it
    must not have (see `public_key_of`)."""
    match algorithm:
        case SigningAlgorithm.HMAC_SHA256:
            return _text(_SECRET, secrets.token_bytes(_NEW_SECRET_BYTES))
        case SigningAlgorithm.ED25519:
            return _text(_PRIVATE, secrets.token_bytes(_SEED_BYTES))


def public_key_of(secret: str) -> str | None:
    """Return the `whpk_...` that goes with a `whsk_...`; None for the other kind, which has none.

    Raises:
        InvalidInput: it is neither. The text does not repeat it.
    """
    if not secret.startswith(_PRIVATE):
        _signature_of(secret)
        return None
    return _text(_PUBLIC, _private_key(secret).public_key().public_bytes_raw())


def parse_signing_keys(value: object) -> tuple[SigningKey, ...]:
    """Read the setting `signingKeys`: a list of `{"id", "secret", "expiresAt"}`, or None for none.

    Raises:
        InvalidInput: one sentence, which repeats no secret.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_KEYS:
        raise InvalidInput(f"`signingKeys` must be a list of at most {MAX_KEYS} keys.")
    keys = tuple(_parse_key(item) for item in value)
    if len({key.key_id for key in keys}) < len(keys):
        raise InvalidInput("`signingKeys` must not hold the same `id` twice.")
    return keys


def _parse_key(value: object) -> SigningKey:
    if not isinstance(value, Mapping):
        raise InvalidInput("`signingKeys` must be a list of objects.")
    key_id, secret, expires_at = (value.get(name) for name in ("id", "secret", "expiresAt"))
    if not isinstance(key_id, str) or not key_id:
        raise InvalidInput("Each of `signingKeys` needs an `id`.")
    if not isinstance(secret, str):
        raise InvalidInput("Each of `signingKeys` needs a `secret`.")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float | None):
        raise InvalidInput("`expiresAt` in `signingKeys` must be Unix time in seconds, or null.")
    return SigningKey(key_id=key_id, sign=_signature_of(secret), expires_at_s=expires_at)


class Signer:
    """Signs with those of its keys that are valid at the moment."""

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = tuple(keys)

    def sign(
        self, push_id: str, timestamp_s: int, body: bytes
    ) -> tuple[str | None, tuple[str, ...]]:
        """Return the value of `webhook-signature`, None if there is no key, and the keys' ids."""
        # By far the most targets have no key, or one.
        if not self._keys:
            return None, ()
        signed = b"%b.%d.%b" % (push_id.encode(), timestamp_s, body)
        valid = [
            key for key in self._keys if key.expires_at_s is None or timestamp_s < key.expires_at_s
        ]
        signatures = " ".join([key.sign(signed) for key in valid])
        return signatures or None, tuple([key.key_id for key in valid])


def _signature_of(secret: str) -> Callable[[bytes], str]:
    if secret.startswith(_PRIVATE):
        private_key = _private_key(secret)
        return lambda signed: _text("v1a,", private_key.sign(signed))
    key = _decoded(_SECRET, secret)
    if not _SECRET_BYTES[0] <= len(key) <= _SECRET_BYTES[1]:
        raise InvalidInput("A `secret` that begins with whsec_ must have 24 to 64 bytes.")
    return _hmac_sha256(key)


def _hmac_sha256(key: bytes) -> Callable[[bytes], str]:
    """RFC 2104 for a key of at most a block, with what depends on the key alone done once.

    `hmac` does the same and looks the algorithm up anew each time: 3.5 microseconds a signature
    against 0.9, on the way of every push.
    """
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def sign(signed: bytes) -> str:
        message, whole = inner.copy(), outer.copy()
        message.update(signed)
        whole.update(message.digest())
        return "v1," + base64.b64encode(whole.digest()).decode()

    return sign


def _private_key(secret: str) -> Ed25519PrivateKey:
    raw = _decoded(_PRIVATE, secret)
    # Some programs keep the public key behind the seed, as libsodium does.
    if len(raw) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        raise InvalidInput("A `secret` that begins with whsk_ must have 32 or 64 bytes.")
    key = Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    if raw[_SEED_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise InvalidInput("A `secret` that begins with whsk_ does not fit its own public key.")
    return key


def _decoded(prefix: str, secret: str) -> bytes:
    if not secret.startswith(prefix):
        raise InvalidInput("A `secret` in `signingKeys` must begin with whsec_ or whsk_.")
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidInput("A `secret` in `signingKeys` must be base64 after its prefix.") from exc


def _text(prefix: str, raw: bytes) -> str:
    return prefix + base64.b64encode(raw).decode()
