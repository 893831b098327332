"""Whether a copy may begin: nobody works on the source, and the target is new."""

from collections.abc import Sequence

from sqlalchemy import literal, select

from protocols.errors import Conflict, StorageUnavailable
from storage.copying.engines import EngineKind
from storage.copying.tables import CopiedTable
from storage.database import Reader
from storage.database_clock import database_now
from storage.processes import LOST_AFTER_S
from storage.tables.fleet import journal_topic, process
from storage.tables.pipeline import journal_cursor

_ONE = literal(1).label("one")
_LIVING = select(process.c.role, process.c.host, process.c.pid).where(
    process.c.seen_at > database_now() - int(LOST_AFTER_S * 1_000_000)
)
_USED_CURSOR = select(_ONE).where((journal_cursor.c.partition > 0) | (journal_cursor.c.tail > 0))


def check_source(reader: Reader, target_kind: EngineKind) -> None:
    """See that nobody works on the source, and that all of the hub is there.

    Raises:
        StorageUnavailable: processes of the hub run.
        Conflict: a part of the hub would stay behind in Kafka.
    """
    living = reader.fetch_all(_LIVING)
    if living:
        names = ", ".join(f"{row.role} on {row.host}, process {row.pid}" for row in living)
        raise StorageUnavailable(
            f"Processes of the hub run on the source ({names}): stop them first. One that was "
            f"killed is forgotten {LOST_AFTER_S:g} s later."
        )
    has_topic = reader.fetch_one(select(_ONE).select_from(journal_topic).limit(1)) is not None
    if has_topic and target_kind is EngineKind.SQLITE:
        raise Conflict(
            "The journal of this hub is a topic of Kafka, which a hub on SQLite does not read: what "
            "waits there would stay behind. Copy to PostgreSQL instead."
        )


def check_vacant(reader: Reader, tables: Sequence[CopiedTable], place: str) -> None:
    """Raises Conflict when anything was ever written into the target."""
    for table in tables:
        used = (
            _USED_CURSOR if table.is_made_by_migrations else select(_ONE).select_from(table.table)
        )
        if reader.fetch_one(used.limit(1)) is not None:
            raise Conflict(
                f"{place} is not empty (there are rows in {table.name}), and a copy never mixes two "
                "hubs. Make a new database, run `tingbro migrate` on it, and start no hub there "
                "before the copy is done."
            )
