"""What the decoder pool logs and reports."""

from collections.abc import Mapping
from dataclasses import dataclass

WORKER_STARTED = "decoder.worker.start"
WORKER_DIED = "decoder.worker.die"
WORKER_KILLED = "decoder.worker.kill"
WORKER_LIED = "decoder.worker.violate_protocol"
ZYGOTE_DIED = "decoder.zygote.die"
ZYGOTE_FAILED = "decoder.zygote.fail_to_start"
TRIAL_CUT = "decoder.trial.cut_short"
STRIKE_GIVEN = "decoder.strike.give"
QUARANTINE_STARTED = "decoder.quarantine.start"
QUARANTINE_LIFTED = "decoder.quarantine.lift"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEvent:
    """Something that happened to the pool or a decoder. `name` is one of this module's constants."""

    name: str
    data: Mapping[str, str | int | float | None]
