"""What makes a process one of several: who it is, how it is asked, and how it learns of changes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.shared_clock import SharedClock
from storage.configuration_changes import ConfigurationChanges
from storage.database import Database
from storage.process_orders import ProcessOrders
from storage.processes import ProcessIdentity, ProcessRegistry, ProcessRow


@dataclass(slots=True, kw_only=True)
class Membership:
    """Made by the composition root; it outlives the actors that use it."""

    registry: ProcessRegistry
    orders: ProcessOrders
    changes: ConfigurationChanges
    keeps_house: Callable[[], bool]
    """Whether this process is the one that keeps house at present."""
    clock: SharedClock | None = None
    """What tells this process the time, where that is to be kept right."""
    seen: list[ProcessRow] = field(default_factory=list)
    """All processes, as of the last beat; for metrics."""

    @classmethod
    def on(
        cls,
        database: Database,
        identity: ProcessIdentity,
        *,
        keeps_house: Callable[[], bool] = lambda: False,
        clock: SharedClock | None = None,
    ) -> "Membership":
        return cls(
            registry=ProcessRegistry(database, identity),
            orders=ProcessOrders(database, identity.process_id),
            changes=ConfigurationChanges(database),
            keeps_house=keeps_house,
            clock=clock,
        )

    @property
    def process_id(self) -> str:
        return self.registry.identity.process_id
