"""From a worker's result to what the caller gets."""

import msgspec

from protocols.decoders.frames import Status, WorkResult
from protocols.decoders.job import Job
from protocols.decoders.request import Convention, DecodeOutcome
from protocols.errors import DecodeError, DecoderCrashed, ScriptError, ScriptLimitExceeded

US_PER_S = 1_000_000

_valid_json = msgspec.json.Decoder(msgspec.Raw)
_CONVENTIONS: dict[str | None, Convention] = {each.value: each for each in Convention}


def error_of(result: WorkResult) -> DecodeError | None:
    """None when the call succeeded and its body is what was promised."""
    if result.status is Status.FAILED:
        return ScriptError(result.message)
    if result.status is Status.LIMIT:
        return ScriptLimitExceeded(result.message)
    if not _is_json(result.body):
        return DecoderCrashed("The decoder process returned what is not JSON")
    return None


def outcome_of(job: Job, result: WorkResult | None, error: DecodeError | None) -> DecodeOutcome:
    decoder_id, version = job.version_key
    if result is None:
        return DecodeOutcome(decoder_id=decoder_id, version=version, body=None, error=error)
    return DecodeOutcome(
        decoder_id=decoder_id,
        version=version,
        body=result.body if error is None else None,
        warnings=tuple(result.warnings),
        logs=tuple(result.logs),
        error=error,
        cpu_s=result.cpu_us / US_PER_S,
        wall_s=result.wall_us / US_PER_S,
        convention=_CONVENTIONS.get(result.convention),
    )


def _is_json(body: bytes | None) -> bool:
    """A worker that a script has taken over may send anything."""
    if body is None:
        return False
    try:
        _valid_json.decode(body)
        str(body, "utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
