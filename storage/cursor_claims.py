"""Which partitions of the journal this process may settle, and under which epoch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from protocols.errors import ClaimLost
from storage.database import Database, Transaction
from storage.tables.pipeline import journal_cursor


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition's cursor when it was claimed; `crashes` claims before ended without moving it."""

    position: int
    tail: int
    epoch: int
    crashes: int


_SELECT = (
    select(journal_cursor)
    .where(journal_cursor.c.partition.in_(bindparam("partitions", expanding=True)))
    .order_by(journal_cursor.c.partition)
    .with_for_update()
)
_CLAIM = (
    update(journal_cursor)
    .where(journal_cursor.c.partition.in_(bindparam("partitions", expanding=True)))
    .values(
        epoch=journal_cursor.c.epoch + 1,
        starts=journal_cursor.c.starts + 1,
        holder=bindparam("by"),
    )
)
_RELEASE = (
    update(journal_cursor)
    .where(
        journal_cursor.c.partition == bindparam("of_partition"),
        journal_cursor.c.epoch == bindparam("under"),
    )
    .values(starts=0, holder=None)
)

_POSITIONS = select(journal_cursor.c.partition, journal_cursor.c.position).where(
    journal_cursor.c.partition.in_(bindparam("partitions", expanding=True))
)


class CursorClaims:
    """The claims of one process, by partition. `holder` names the process to people."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder
        self._claims: Mapping[int, Claim] = {}

    async def take(self, partitions: Collection[int]) -> Mapping[int, Claim]:
        """Claim exactly these partitions; whoever had them can settle nothing there any more.

        Raises:
            KeyError: the database has no cursor for one of them.
        """
        wanted = sorted(partitions)

        def unit(transaction: Transaction) -> dict[int, Claim]:
            rows = transaction.fetch_all(_SELECT, {"partitions": wanted})
            transaction.execute(_CLAIM, {"partitions": wanted, "by": self._holder})
            return {
                row.partition: Claim(row.position, row.tail, row.epoch + 1, row.starts)
                for row in rows
            }

        claims = await self._database.write(unit)
        if missing := set(wanted) - claims.keys():
            raise KeyError(f"no cursor for partitions {sorted(missing)}")
        self._claims = claims
        return claims

    async def give_up(self) -> None:
        """Settle nothing more, and say that this process let go in order."""
        claims, self._claims = self._claims, {}

        def unit(transaction: Transaction) -> None:
            for partition, claim in claims.items():
                transaction.execute(_RELEASE, {"of_partition": partition, "under": claim.epoch})

        if claims:
            await self._database.write(unit)

    async def positions(self) -> dict[int, int]:
        """Return the cursors of the claimed partitions, as last committed."""
        wanted = sorted(self._claims)
        if not wanted:
            return {}
        rows = await self._database.read(
            lambda reader: reader.fetch_all(_POSITIONS, {"partitions": wanted})
        )
        return {row.partition: row.position for row in rows}

    def epoch_of(self, partition: int) -> int:
        """Raises ClaimLost when this process does not hold the partition."""
        claim = self._claims.get(partition)
        if claim is None:
            raise ClaimLost([partition])
        return claim.epoch
