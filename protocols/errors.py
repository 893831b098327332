"""Every error that Tingbro raises on purpose, in one tree.

The branches are drawn by what the catcher does, not by where the error comes from::

    TingbroError
    |-- InvalidInput          refuse: tell the sender what to mend; trying again cannot help
    |   |-- InvalidPayload        a device's body is not acceptable
    |   |   |-- PayloadTooLarge         it is over the limit of size
    |   |   |-- UnsupportedContentType  it is of another type than the adapter takes
    |   |-- InvalidSettings       the process cannot start with these settings
    |   |-- SecretsUnreadable     what is stored was sealed with another key: a person has to give it
    |-- PortUnavailable       the process cannot start: its port is not to be had
    |-- NotFound              refuse: there is no such thing, or the caller may not know of it
    |-- Conflict              refuse: the state of other things forbids it
    |-- AccessDenied          refuse: known caller, not allowed
    |-- Unauthenticated       refuse: unknown caller
    |-- HubFull               back-pressure: try again after `retry_after_s`
    |-- StorageError
    |   |-- StorageUnavailable    retry the same work; nothing was lost
    |   |   |-- StorageAway           nobody is there, or not yet: it may come back by itself
    |   |-- RowRefused            set this one row aside; the rest of its batch is fine
    |   |-- SchemaMismatch        a person must migrate
    |   |-- ClaimLost             let go of these partitions; another process goes on with them
    |   |-- LeaseLost             let go of this thing; another process goes on with it
    |   |-- JournalMismatch       a person must say what is to become of the journal
    |-- DecodeError           the message failed to decode: keep it raw, with this error
    |   |-- ScriptError           the script threw, returned nothing, or returned what cannot be used
    |   |-- ScriptLimitExceeded   time, memory, stack or result size: counts as a strike
    |   |-- DecoderQuarantined    not run at all: too many strikes
    |   |   |-- DecoderResting        not run, or not to its end: it runs again in a moment
    |   |-- DecoderCrashed        the worker process died while it ran the script
    |   |-- DecoderUnavailable    not run: the pool is not running or is stopping; run it again later
    |-- DeliveryError         an attempt at a data target failed
    |   |-- DeliveryRetryable     try again on the schedule
    |   |-- DeliveryRefused       a deterministic refusal: straight to the dead letters
    |-- ConnectionLost        an expected failure: supervisors back off and do not count it

Each class carries `code`, a stable snake_case name for logs, metrics and APIs, and `retryable`,
which says whether doing the very same thing again may succeed.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from protocols.exchange import Exchange


class TingbroError(Exception):
    """The root. Its text is a sentence a user can act on; it never holds a secret or a payload."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False


class InvalidInput(TingbroError):
    code = "invalid_input"


class InvalidPayload(InvalidInput):
    code = "invalid_payload"


class PayloadTooLarge(InvalidPayload):
    code = "payload_too_large"


class UnsupportedContentType(InvalidPayload):
    code = "unsupported_content_type"


class InvalidSettings(InvalidInput):
    """Every mistake at once: `problems` holds one sentence for each."""

    code = "invalid_settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class SecretsUnreadable(InvalidInput):
    code = "secrets_unreadable"


class PortUnavailable(TingbroError):
    code = "port_unavailable"


class NotFound(TingbroError):
    code = "not_found"


class Conflict(TingbroError):
    code = "conflict"


class AccessDenied(TingbroError):
    code = "access_denied"


class Unauthenticated(TingbroError):
    code = "unauthenticated"


class HubFull(TingbroError):
    """The hub takes nothing more in for now; `retry_after_s` is when to try again."""

    code = "hub_full"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageError(TingbroError):
    code = "storage_error"


class StorageUnavailable(StorageError):
    code = "storage_unavailable"
    retryable = True


class StorageAway(StorageUnavailable):
    code = "storage_away"


class RowRefused(StorageError):
    code = "row_refused"


class SchemaMismatch(StorageError):
    """`is_behind` says that migrating mends it; a schema that is ahead needs a newer program."""

    code = "schema_mismatch"

    def __init__(self, message: str, *, is_behind: bool = False) -> None:
        super().__init__(message)
        self.is_behind = is_behind


class ClaimLost(StorageError):
    """Another process has claimed these partitions of the journal: nothing was written for them."""

    code = "claim_lost"

    def __init__(self, partitions: Iterable[int]) -> None:
        self.partitions = frozenset(partitions)
        named = ", ".join(map(str, sorted(self.partitions)))
        super().__init__(f"Another process has taken over the journal (partition {named}).")


class LeaseLost(StorageError):
    """Another process holds, or may by now hold, what this one wrote for."""

    code = "lease_lost"


class JournalMismatch(StorageError):
    """The journal is not the one that the database has settled: a person has to decide."""

    code = "journal_mismatch"


class DecodeError(TingbroError):
    code = "decode_error"


class ScriptError(DecodeError):
    code = "script_error"


class ScriptLimitExceeded(DecodeError):
    code = "script_limit_exceeded"


class DecoderQuarantined(DecodeError):
    code = "decoder_quarantined"
    retryable = True


class DecoderResting(DecoderQuarantined):
    code = "decoder_resting"

    def __init__(self, message: str, *, rest_s: float) -> None:
        super().__init__(message)
        self.rest_s = rest_s


class DecoderCrashed(DecodeError):
    code = "decoder_crashed"


class DecoderUnavailable(DecodeError):
    code = "decoder_unavailable"
    retryable = True


class DeliveryFault(StrEnum):
    """What an attempt failed on, by what the engine of delivery makes of it."""

    MESSAGE = "message"
    """This message: no other is any worse for it."""
    CONFIGURATION = "configuration"
    """Credentials, address or form: 400, 401, 403, 404, 422, a certificate. The owner has to mend it."""
    CONNECTION = "connection"
    """There is nobody at the other end: refused, unreachable, no such name."""
    THROTTLED = "throttled"
    """It has too much to do: 429, 502, 504, no answer in time. It gets a rest."""
    RECEIVER = "receiver"
    """It failed: 5xx, nonsense, a connection that broke off."""
    GONE = "gone"
    """It wants nothing more, ever: 410."""


class DeliveryError(TingbroError):
    """One attempt failed. `status_code` is the receiver's, if it answered at all."""

    code = "delivery_error"

    def __init__(
        self,
        message: str,
        *,
        fault: DeliveryFault = DeliveryFault.RECEIVER,
        status_code: int | None = None,
        retry_after_s: float | None = None,
        response_excerpt: str | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        self.response_excerpt = response_excerpt
        self.exchange = exchange


class DeliveryRetryable(DeliveryError):
    code = "delivery_retryable"
    retryable = True


class DeliveryRefused(DeliveryError):
    code = "delivery_refused"


class ConnectionLost(TingbroError):
    code = "connection_lost"
    retryable = True
