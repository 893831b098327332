"""The write units of the result store.

The plain unit expects that every row is new and fits. When the database objects, the careful one
runs instead: it leaves out what is there already, then writes inside savepoints, halving what is refused
until the one result is found that cannot be stored. That one is set aside: its raw payload
was stored once before, in the journal, so it can be stored again; its error text is made plain.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    bindparam,
    case,
    delete,
    func,
    select,
    union_all,
    update,
)

from protocols.errors import Conflict, RowRefused, TingbroError
from protocols.messages import MessageId
from storage.database import BulkInsert, Reader, Transaction
from storage.instants import microseconds
from storage.journal import EMBEDDED
from storage.ledger_changes import LedgerChanges
from storage.message_result import CommitReport, CursorClaim, JobState, MessageResult
from storage.result_rows import JobKey, ResultRows, StoredJob
from storage.tables.pipeline import journal, journal_cursor, message, message_job, set_aside
from storage.uplinks import UPLINK_COLUMNS, uplink_row

_ids: BindParameter[Any] = bindparam("message_ids", expanding=True)
_SELECT_JOBS = select(
    message_job.c.message_id,
    message_job.c.decoder_id,
    message_job.c.position,
    message_job.c.state,
).where(message_job.c.message_id.in_(_ids))
_SELECT_KNOWN = union_all(
    select(message.c.message_id).where(message.c.message_id.in_(_ids)),
    select(set_aside.c.message_id).where(
        set_aside.c.message_id.in_(bindparam("same_ids", expanding=True))
    ),
)
_INSERT_SET_ASIDE = BulkInsert(set_aside, (*UPLINK_COLUMNS, "reason", "error", "set_aside_at"))
_DELETE_ENTRIES = delete(journal).where(
    journal.c.position.in_(bindparam("positions", expanding=True))
)

# The cursor never passes an unsettled entry and never goes back, whatever it is told: an entry
# behind it would not be found again after a crash.
_wanted: BindParameter[int] = bindparam("cursor", type_=BigInteger)
_oldest = select(func.min(journal.c.position)).scalar_subquery()
_allowed = case(
    (_wanted <= journal_cursor.c.position, journal_cursor.c.position),
    (_oldest <= _wanted, _oldest - 1),
    else_=_wanted,
)
_MOVE_CURSOR = (
    update(journal_cursor)
    .where(journal_cursor.c.partition == EMBEDDED)
    .values(
        position=_allowed,
        starts=case((_allowed > journal_cursor.c.position, 0), else_=journal_cursor.c.starts),
    )
    .returning(journal_cursor.c.position)
)
_SELECT_CURSOR = select(journal_cursor).where(journal_cursor.c.partition == EMBEDDED)
_COUNT_START = (
    update(journal_cursor)
    .where(journal_cursor.c.partition == EMBEDDED)
    .values(starts=journal_cursor.c.starts + 1)
)
_FORGET_STARTS = update(journal_cursor).where(journal_cursor.c.partition == EMBEDDED).values(starts=0)


def claim_cursor(transaction: Transaction) -> CursorClaim:
    row = transaction.fetch_one(_SELECT_CURSOR)
    assert row is not None, "the migration makes the cursor's row"
    transaction.execute(_COUNT_START)
    return CursorClaim(position=row.position, crashes=row.starts)


def release_cursor(transaction: Transaction) -> None:
    transaction.execute(_FORGET_STARTS)


class NeedsCare(Exception):
    """Some of the results may have been committed before."""


class Settlement:
    """One batch of results; its methods are write units and may run more than once."""

    def __init__(self, results: Sequence[MessageResult], cursor: int) -> None:
        self._results = results
        self._cursor = cursor
        self.released = (0, 0)
        """How many entries, and about how many bytes, left the journal."""

    def write_plainly(self, transaction: Transaction) -> CommitReport:
        """Raises NeedsCare when a message is not in the journal any more."""
        written, repeated = _write(transaction, self._results)
        report = self._finish(transaction, written, repeated, [])
        if self.released[0] < sum(result.position is not None for result in self._results):
            raise NeedsCare
        return report

    def write_carefully(self, transaction: Transaction) -> CommitReport:
        known = _known(transaction, self._results)
        fresh: list[MessageResult] = []
        repeated: list[MessageId] = []
        for result in self._results:
            message_id = result.uplink.message_id
            if result.position is None:
                fresh.append(result)
            elif message_id in known:
                repeated.append(message_id)
            else:
                known.add(message_id)
                fresh.append(result)
        careful = _Bisection(transaction)
        careful.write(fresh)
        return self._finish(
            transaction, careful.written, repeated + careful.repeated, careful.set_aside
        )

    def _finish(
        self,
        transaction: Transaction,
        written: Sequence[MessageResult],
        repeated: Sequence[MessageId],
        aside: Sequence[MessageId],
    ) -> CommitReport:
        live = [result for result in self._results if result.position is not None]
        if live:
            positions = [result.position for result in live]
            gone = transaction.execute(_DELETE_ENTRIES, {"positions": positions})
            size_bytes = sum(len(result.uplink.payload) for result in live)
            self.released = (gone, size_bytes * gone // len(live))
        row = transaction.fetch_one(_MOVE_CURSOR, {"cursor": self._cursor})
        return CommitReport(
            written=written,
            repeated=repeated,
            set_aside=aside,
            cursor=self._cursor if row is None else row.position,
        )


class _Bisection:
    """Writes what can be written and finds what cannot."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.written: list[MessageResult] = []
        self.repeated: list[MessageId] = []
        self.set_aside: list[MessageId] = []

    def write(self, part: Sequence[MessageResult]) -> None:
        if not part:
            return
        try:
            with self._transaction.savepoint():
                written, repeated = _write(self._transaction, part)
        except (Conflict, RowRefused) as error:
            if len(part) == 1:
                self._set_aside(part[0], error)
                return
            middle = len(part) // 2
            self.write(part[:middle])
            self.write(part[middle:])
        else:
            self.written += written
            self.repeated += repeated

    def _set_aside(self, result: MessageResult, error: TingbroError) -> None:
        if result.position is None:
            _write(self._transaction, [_as_set_aside(result, error)])
        else:
            _keep_raw(self._transaction, result, result.position, error)
        self.set_aside.append(result.uplink.message_id)


def _write(
    transaction: Transaction, results: Sequence[MessageResult]
) -> tuple[Sequence[MessageResult], list[MessageId]]:
    rows = ResultRows()
    again = [result.uplink.message_id for result in results if result.position is None]
    stored = _stored_jobs(transaction, again) if again else {}
    written: list[MessageResult] = []
    repeated: list[MessageId] = []
    for result in results:
        if result.position is not None:
            rows.add_live(result, result.position)
            written.append(result)
            continue
        moved = rows.add_again(result, stored)
        if moved is not None:
            written.append(moved)
        if moved is None or len(moved.jobs) < len(result.jobs):
            repeated.append(result.uplink.message_id)
    rows.store(transaction)
    return written, repeated


def _stored_jobs(reader: Reader, message_ids: Sequence[MessageId]) -> dict[JobKey, StoredJob]:
    rows = reader.fetch_all(_SELECT_JOBS, {"message_ids": message_ids})
    return {(row.message_id, row.decoder_id): StoredJob(row.position, row.state) for row in rows}


def _known(reader: Reader, results: Sequence[MessageResult]) -> set[str]:
    ids = [result.uplink.message_id for result in results if result.position is not None]
    rows = reader.fetch_all(_SELECT_KNOWN, {"message_ids": ids, "same_ids": ids})
    return {row.message_id for row in rows}


def _keep_raw(
    transaction: Transaction, result: MessageResult, position: int, error: TingbroError
) -> None:
    settled_at = microseconds(result.jobs[0].settled_at)
    row = (*uplink_row(result.uplink, position), error.code, _plain(str(error)), settled_at)
    transaction.insert_many(_INSERT_SET_ASIDE, [row])
    changes = LedgerChanges()
    changes.add(result.uplink.organization_id, "set_aside")
    changes.store(transaction)


def _as_set_aside(result: MessageResult, error: TingbroError) -> MessageResult:
    jobs = tuple(
        replace(
            job,
            state=JobState.SET_ASIDE,
            decoder_version=None,
            body=None,
            warnings=(),
            error_code=error.code,
            error=_plain(str(error)),
        )
        for job in result.jobs
    )
    return replace(result, jobs=jobs, deliveries=(), device_state=None)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()[:2_000]
