"""What a hub keeps its messages in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Database
from storage.deferred import DeferredStore
from storage.delivery.outbox import Outbox
from storage.delivery.redelivery_slices import RedeliverySlices
from storage.delivery.target_standing import TargetStandings
from storage.device_keys import DeviceKeys
from storage.device_state import DeviceStates
from storage.journal import JournalAppender, JournalReader
from storage.ledger import Ledger
from storage.plans import PlanStore
from storage.results import ResultStore
from storage.retention import Retention
from storage.sealing import SecretBox
from storage.target_settings import TargetSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Everything on one database, beside the journal, which may be elsewhere."""

    database: Database
    appender: JournalAppender | None
    """None where no messages are taken in."""
    journal: JournalReader
    ledger: Ledger
    results: ResultStore
    outbox: Outbox
    deferred: DeferredStore
    device_states: DeviceStates
    device_keys: DeviceKeys
    plans: PlanStore
    target_settings: TargetSettings
    retention: Retention
    redelivery_slices: RedeliverySlices
    target_standings: TargetStandings

    @classmethod
    def on(
        cls,
        database: Database,
        *,
        journal: JournalReader,
        appender: JournalAppender | None,
        box: SecretBox,
        results: ResultStore | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "Stores":
        """Put them together. `box` opens the secrets of data targets; `results` is for who wants to
        hold commits up; `now` is the clock that the hub goes by."""
        return cls(
            database=database,
            appender=appender,
            journal=journal,
            ledger=Ledger(database),
            results=results or ResultStore(database, journal),
            outbox=Outbox(database, now),
            deferred=DeferredStore(database),
            device_states=DeviceStates(database),
            device_keys=DeviceKeys(database),
            plans=PlanStore(database),
            target_settings=TargetSettings(database, box),
            retention=Retention(database),
            redelivery_slices=RedeliverySlices(database),
            target_standings=TargetStandings(database),
        )
