"""Secrets at rest: sealed with a key that is not in the database.

Theory of operation. A set of secrets is kept as one JSON object. Each value in it is *sealed*: an
array of one text, which is base64 of a version byte, a nonce and what AES-256-GCM makes of the value's
JSON. The nonce is random, 96 bits. The key is derived from the operator's secret key by HKDF for this purpose
alone, so that nothing that is signed or encrypted with that key elsewhere is of any use here. A sealed
value is bound to its place (the owner's table and id, and the value's name): moved to another target or
field it cannot be opened, so that whoever may write to the database cannot have it sent elsewhere.

Which secrets there are is seen without the key; what they are is not. Versions before this one kept
them as plain texts, which a sealed value, an array, cannot be mistaken for: those are read as they are,
and `seal_stored` seals them when the hub starts. A secret key that has changed opens nothing: that is said, and what
is stored stays as it is.
"""

import base64
import os
from collections.abc import Mapping
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import SecretsUnreadable

_VERSION: Final = b"\x01"
"""Which key and which cipher; the only one so far."""
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_PURPOSE: Final = b"tingbro: secrets at rest, version 1"


class SecretBox:
    """Seals and opens sets of secrets. Holds no state but the key; may be used on any thread."""

    def __init__(self, secret_key: str) -> None:
        """`secret_key` is the operator's, the same for every process of a hub."""
        derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=_PURPOSE)
        self._cipher = AESGCM(derived.derive(secret_key.encode()))

    def seal(self, secrets: Mapping[str, object], *, place: str) -> str:
        """Return `secrets`, values that JSON has, as the text that is kept at `place`."""
        sealed = {
            name: [self._seal(orjson.dumps(value), _bound(place, name))]
            for name, value in secrets.items()
        }
        return orjson.dumps(sealed).decode()

    def open(self, kept: str, *, place: str) -> dict[str, Any]:
        """Return what `seal` was given, or what an earlier version kept in plain.

        Raises:
            SecretsUnreadable: sealed with another key, or for another place.
        """
        values: dict[str, Any] = orjson.loads(kept)
        return {
            name: self._open(value[0], _bound(place, name)) if _is_sealed(value) else value
            for name, value in values.items()
        }

    def _seal(self, plain: bytes, bound: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, plain, _VERSION + bound)
        return base64.b64encode(_VERSION + nonce + sealed).decode()

    def _open(self, text: str, bound: bytes) -> object:
        try:
            sealed = base64.b64decode(text)
            version, nonce = sealed[:1], sealed[1 : 1 + _NONCE_BYTES]
            if version > _VERSION:
                raise SecretsUnreadable("The secrets were sealed by a newer version of the hub.")
            plain = self._cipher.decrypt(nonce, sealed[1 + _NONCE_BYTES :], version + bound)
        # What was cut short has no nonce, or is no base64.
        except (InvalidTag, ValueError) as exc:
            raise SecretsUnreadable(
                "The secrets were sealed with another secret key: give the hub the TINGBRO_SECRET_KEY "
                "that it had, or the file secret_key."
            ) from exc
        return orjson.loads(plain)


def names_of(kept: str) -> frozenset[str]:
    """Return the names of the secrets in what `SecretBox.seal` returned; no key is needed."""
    return frozenset(orjson.loads(kept))


def is_all_sealed(kept: str) -> bool:
    """Whether nothing in it is plain, as earlier versions left it."""
    return all(_is_sealed(value) for value in orjson.loads(kept).values())


def _is_sealed(value: object) -> bool:
    return isinstance(value, list)


def _bound(place: str, name: str) -> bytes:
    return f"{place}/{name}".encode()
