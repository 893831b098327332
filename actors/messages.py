"""What the hub's actors say to each other.

Facts are named in the past (`UplinksJournaled`), commands in the imperative (`DispatchUplink`).
All are immutable: who receives one may keep it, and nobody may change it. A message never carries
an actor, only an `ActorRef` or, for devices, the device's id.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from protocols.decoders import DecodeOutcome, DecodeRequest
from protocols.messages import DeliveryId, DeviceId, TargetId, Uplink
from storage.deferred import DeferredMessage
from storage.delivery.outbox import OutboxItem
from storage.device_state import DeviceStateRow
from storage.journal import Cursors, JournalEntry
from storage.plans import DevicePlan
from storage.results import MessageResult

# -- journal to router ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UplinksJournaled:
    """These entries are durable, in the order of each partition; each is told once."""

    entries: list[JournalEntry]


@dataclass(frozen=True, slots=True)
class PartitionsAssigned:
    """Settle what stands behind these positions; `crashes` as `JournalListener.assigned` says."""

    cursors: Cursors
    crashes: int


@dataclass(frozen=True, slots=True)
class ForgetUplinks:
    """What was admitted and is not settled is for another process, or another start, to settle.

    Call `on_forgotten` on the loop once no device holds anything of it any more.
    """

    on_forgotten: Callable[[], None]


# -- router to device -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DispatchUplink:
    """Decode this message and pass its result to the writer, in the order of arrival.

    `state` comes with the message that activates the device's actor and is None afterwards.
    """

    entry: JournalEntry
    plan: DevicePlan
    state: DeviceStateRow | None
    epoch: int


@dataclass(frozen=True, slots=True)
class ResumeUplinks:
    """Forget what you hold: these are all the messages of this device that wait for a result."""

    entries: list[JournalEntry]
    plan: DevicePlan
    state: DeviceStateRow
    epoch: int


@dataclass(frozen=True, slots=True)
class DeferUplinks:
    """The message at `position` has waited too long: defer it and all that stand behind it."""

    position: int


@dataclass(frozen=True, slots=True)
class DecodeAgain:
    """The decoders lost what they had in hand: ask them again for what is still to be answered."""


@dataclass(frozen=True, slots=True)
class ResumeDeferred:
    """The database may hold deferred messages of this device that can be decoded now."""

    plan: DevicePlan
    state: DeviceStateRow | None
    epoch: int


# -- device to others -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceCrashed:
    """A device's actor was replaced; `position` is the message it handled, if it handled one."""

    device_id: DeviceId
    position: int | None
    error: str


@dataclass(frozen=True, slots=True)
class DecodeUplink:
    """Run one decoder; `on_done` is called on the loop once and must only tell.

    It is not called when the decoders are replaced meanwhile: watch them, and ask again.
    """

    request: DecodeRequest
    on_done: Callable[[DecodeOutcome], None]


@dataclass(frozen=True, slots=True)
class UplinkDecoded:
    """The outcome of job number `job` of the slot `token`."""

    token: int
    job: int
    outcome: DecodeOutcome


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Commit this result, unless it was made before the admission was last restated.

    Then an earlier result of the same device may be lost, which this one must not overtake; the
    device begins again with the new epoch. None stands outside of the order of its device.
    """

    result: MessageResult
    epoch: int | None


@dataclass(frozen=True, slots=True)
class FetchDeferred:
    """Ask for the oldest deferred messages of a device; answered with `DeferredFetched`."""

    device_id: DeviceId


@dataclass(frozen=True, slots=True)
class DeferredFetched:
    messages: list[DeferredMessage]


# -- router, writer ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UplinksAdmitted:
    """The writer's watermark may pass these positions once each of them is settled."""

    positions: list[int]


@dataclass(frozen=True, slots=True)
class AdmissionRestated:
    """These positions, and none before them, are admitted and not settled, up to those in `last`.

    `last` names one position for each partition that is assigned. It comes first when the router or the writer
    begins, and when partitions are assigned. Until then a writer knows nothing of what was
    admitted, and must not take a gap for settled.
    """

    positions: list[int]
    last: Cursors
    epoch: int


@dataclass(frozen=True, slots=True)
class UplinksSettled:
    """The results of these positions are on disk: their credits return to the router."""

    positions: list[int]


@dataclass(frozen=True, slots=True)
class SetAsideUplink:
    """This message crashed its actor twice: keep it raw, with the reason, and go on."""

    position: int
    uplink: Uplink
    error: str


@dataclass(frozen=True, slots=True)
class AwaitCommit:
    """Call `on_committed` on the loop once all results told before this are on disk."""

    on_committed: Callable[[], None]


@dataclass(frozen=True, slots=True)
class CommitReached:
    """The answer to the `AwaitCommit` of this number, in its place behind what was settled before."""

    number: int


# -- writer to target -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeliveriesCreated:
    """These deliveries of one target are in the outbox."""

    items: list[OutboxItem]


@dataclass(frozen=True, slots=True)
class DeliveriesWithdrawn:
    """These deliveries of one target have come to their end without it: do not send them."""

    delivery_ids: Collection[DeliveryId]


@dataclass(frozen=True, slots=True)
class ClaimsLost:
    """A transaction was refused, because another process has claimed these partitions."""

    partitions: frozenset[int]


@dataclass(frozen=True, slots=True)
class LookIntoOutbox:
    """Another process may have put deliveries of this target into the outbox."""


@dataclass(frozen=True, slots=True)
class DeliveriesDue:
    """A timer of the target's own: something that has failed may be tried again."""


@dataclass(frozen=True, slots=True)
class ResumeSending:
    """The tenure, which was too short to begin anything, may be long enough again."""


# -- processes of one hub ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WakeElsewhere:
    """Deliveries were made for these targets, which have no actor in this process."""

    target_ids: Collection[TargetId]


@dataclass(frozen=True, slots=True)
class SendWakeUps:
    """Wake what has been collected."""


@dataclass(frozen=True, slots=True)
class WokenUp:
    """Some process has made deliveries for these targets."""

    target_ids: Collection[TargetId]


@dataclass(frozen=True, slots=True)
class NextRound:
    """Renew the leases, and see what else is to be done about them."""


@dataclass(frozen=True, slots=True)
class TenuresLapse:
    """The leases have not been renewed in time."""


# -- configuration and operation --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigurationChanged:
    """Somebody changed what plans are made of; `device_id` when it concerns one device only."""

    device_id: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class CancelOrphans:
    """Cancel the deliveries that wait for data targets that are gone."""


@dataclass(frozen=True, slots=True)
class DriveDeferred:
    """Let this device go on with what it has deferred."""

    device_id: DeviceId


@dataclass(frozen=True, slots=True)
class DrainUplinks:
    """Admit nothing more, and call `on_drained` on the loop when nothing admitted is left."""

    on_drained: Callable[[], None]


@dataclass(frozen=True, slots=True)
class ReplayFailed:
    """Decode again what this decoder failed on; the answer is the number of messages queued."""

    decoder_id: int
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Tick:
    """A timer of the actor's own went off."""
