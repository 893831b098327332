"""The keys that a data target's pushes are signed with: made here, rotated here.

A set of keys is kept among the target's secrets, as the target reads it (`Target.secret_names`), and
beside it, among its settings, what anybody may know of the same keys. The receiver's secret leaves once, with
the answer that it was made for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from protocols.targets import ROTATION_S, SigningAlgorithm, new_signing_secret, public_key_of

# Each one signs every push and makes its header longer.
_MOST_KEPT: Final = 3

Key = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """`keys` in place of those there were; `shown` is what may be known of them."""

    keys: Sequence[Key] = field(repr=False)
    shown: Sequence[Key]
    secret: str | None = field(repr=False)
    """What the receiver has to know and nobody else; None where the public key is enough for it."""


def add_key(
    algorithm: SigningAlgorithm, keys: Sequence[Key], *, now: datetime, keeps_old: bool = True
) -> NewKey:
    """Make a new key and let `keys` run out, at once or after the overlap. The newest stands first."""
    old = [
        {**key, "expiresAt": _end(key, now)} for key in keys if keeps_old and _is_valid(key, now)
    ][:_MOST_KEPT]
    secret = new_signing_secret(algorithm)
    new = {"id": _next_id(keys), "secret": secret, "expiresAt": None}
    made = [new, *old]
    return NewKey(
        keys=made,
        shown=[_shown(key) for key in made],
        secret=secret if algorithm is SigningAlgorithm.HMAC_SHA256 else None,
    )


def valid_keys(shown: Sequence[Key], now: datetime) -> list[Key]:
    """Return those of the keys, as they are shown, that sign at this moment."""
    return [key for key in shown if _is_valid(key, now)]


def _shown(key: Key) -> Key:
    public_key = public_key_of(key["secret"])
    algorithm = SigningAlgorithm.ED25519 if public_key else SigningAlgorithm.HMAC_SHA256
    return {
        "id": key["id"],
        "algorithm": algorithm,
        "publicKey": public_key,
        "expiresAt": key["expiresAt"],
    }


def _is_valid(key: Key, now: datetime) -> bool:
    return key["expiresAt"] is None or key["expiresAt"] > now.timestamp()


def _end(key: Key, now: datetime) -> int:
    end = int(now.timestamp()) + ROTATION_S
    return end if key["expiresAt"] is None else min(end, key["expiresAt"])


def _next_id(keys: Sequence[Key]) -> str:
    numbers = [int(key["id"].removeprefix("k")) for key in keys]
    return f"k{max(numbers, default=0) + 1}"
