"""Settling entries of the embedded journal: its rows go with the transaction that settles them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, BindParameter, bindparam, case, delete, func, select, update

from protocols.errors import ClaimLost
from storage.cursor_claims import CursorClaims
from storage.database import Transaction
from storage.journal import EMBEDDED
from storage.message_result import MessageResult
from storage.settling import Settled
from storage.tables.pipeline import journal, journal_cursor

_DELETE_ENTRIES = delete(journal).where(
    journal.c.position.in_(bindparam("positions", expanding=True))
)

# The cursor never passes an unsettled entry and never goes back, whatever it is told: an entry
# behind it would not be found again after a crash.
_wanted: BindParameter[int] = bindparam("cursor", type_=BigInteger)
_last: BindParameter[int] = bindparam("last", type_=BigInteger)
_oldest = select(func.min(journal.c.position)).scalar_subquery()
_allowed = case(
    (_wanted <= journal_cursor.c.position, journal_cursor.c.position),
    (_oldest <= _wanted, _oldest - 1),
    else_=_wanted,
)
_is_ours = (journal_cursor.c.partition == EMBEDDED, journal_cursor.c.epoch == bindparam("under"))
_MOVE_CURSOR = (
    update(journal_cursor)
    .where(*_is_ours)
    .values(
        position=_allowed,
        tail=case((_last > journal_cursor.c.tail, _last), else_=journal_cursor.c.tail),
        starts=case((_allowed > journal_cursor.c.position, 0), else_=journal_cursor.c.starts),
    )
    .returning(journal_cursor.c.position)
)


class EmbeddedSettling:
    """Implements `Settling`. There is one partition, and its rows are few: the backlog."""

    def __init__(self, claims: CursorClaims) -> None:
        self._claims = claims

    def partition(self, result: MessageResult) -> int | None:
        return EMBEDDED if result.position is not None else None

    def begin(
        self,
        _transaction: Transaction,
        _results: Sequence[MessageResult],
        _cursors: Mapping[int, int],
    ) -> None:
        """The claim is checked by the statement that moves the cursor."""

    def without_duplicates(
        self, _transaction: Transaction, live: Sequence[MessageResult]
    ) -> Sequence[MessageResult]:
        """They were left out when they were appended."""
        return live

    def finish(
        self,
        transaction: Transaction,
        live: Sequence[MessageResult],
        _kept: Sequence[MessageResult],
        cursors: Mapping[int, int],
    ) -> Settled:
        entries = size_bytes = last = 0
        if live:
            positions: list[Any] = [result.position for result in live]
            last = max(positions)
            entries = transaction.execute(_DELETE_ENTRIES, {"positions": positions})
            size_bytes = sum(len(result.uplink.payload) for result in live) * entries // len(live)
        elif not cursors:
            return Settled({}, 0, 0)
        row = transaction.fetch_one(
            _MOVE_CURSOR,
            {
                "cursor": cursors.get(EMBEDDED, 0),
                "last": last,
                "under": self._claims.epoch_of(EMBEDDED),
            },
        )
        if row is None:
            raise ClaimLost([EMBEDDED])
        return Settled({EMBEDDED: row.position}, entries, size_bytes)
