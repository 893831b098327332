"""The write units of the result store.

The plain unit expects that every row is new and fits. When the database objects, the careful one
runs instead: it leaves out what is there already, then writes inside savepoints, halving what is refused
until the one result is found that cannot be stored. That one is set aside: its raw payload
was stored once before, in the journal, so it can be stored again; its error text is made plain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import BindParameter, bindparam, select, union_all

from protocols.errors import Conflict, RowRefused, TingbroError
from protocols.messages import MessageId
from storage.database import BulkInsert, Reader, Transaction
from storage.instants import microseconds
from storage.ledger_changes import LedgerChanges
from storage.message_result import CommitReport, JobState, MessageResult
from storage.result_rows import JobKey, ResultRows, StoredJob
from storage.settling import Settled, Settling
from storage.tables.pipeline import message, message_job, set_aside
from storage.uplinks import UPLINK_COLUMNS, uplink_row

_ids: BindParameter[Any] = bindparam("message_ids", expanding=True)
_SELECT_JOBS = select(
    message_job.c.message_id,
    message_job.c.decoder_id,
    message_job.c.position,
    message_job.c.state,
).where(message_job.c.message_id.in_(_ids))
# Another process may be moving the same jobs: whoever comes second has to see what became of them.
_LOCK_JOBS = _SELECT_JOBS.order_by(
    message_job.c.message_id, message_job.c.decoder_id
).with_for_update()
_SELECT_KNOWN = union_all(
    select(message.c.message_id).where(message.c.message_id.in_(_ids)),
    select(set_aside.c.message_id).where(
        set_aside.c.message_id.in_(bindparam("same_ids", expanding=True))
    ),
)
_INSERT_SET_ASIDE = BulkInsert(set_aside, (*UPLINK_COLUMNS, "reason", "error", "set_aside_at"))


class NeedsCare(Exception):
    """Some of the results may have been committed before."""


class Settlement:
    """One batch of results; its methods are write units and may run more than once."""

    def __init__(
        self, results: Sequence[MessageResult], cursors: Mapping[int, int], settling: Settling
    ) -> None:
        self._results = results
        self._live = [result for result in results if result.position is not None]
        self._cursors = cursors
        self._settling = settling
        self.settled = Settled({}, 0, 0)

    def write_plainly(self, transaction: Transaction) -> CommitReport:
        """Raises NeedsCare when a message has left the journal before."""
        self._settling.begin(transaction, self._results, self._cursors)
        fresh, repeated = self._without_duplicates(transaction)
        written, unchanged = _write(transaction, fresh)
        report = self._finish(transaction, written, repeated + unchanged, [])
        if self.settled.entries < len(self._live):
            raise NeedsCare
        return report

    def write_carefully(self, transaction: Transaction) -> CommitReport:
        self._settling.begin(transaction, self._results, self._cursors)
        fresh, repeated = self._without_duplicates(transaction)
        fresh, known = _without_known(transaction, fresh)
        careful = _Bisection(transaction)
        careful.write(fresh)
        return self._finish(
            transaction, careful.written, repeated + known + careful.repeated, careful.set_aside
        )

    def _without_duplicates(
        self, transaction: Transaction
    ) -> tuple[Sequence[MessageResult], list[MessageId]]:
        live = self._settling.without_duplicates(transaction, self._live)
        if len(live) == len(self._live):
            return self._results, []
        left = {id(result) for result in live}
        fresh = [one for one in self._results if one.position is None or id(one) in left]
        gone = [one.uplink.message_id for one in self._live if id(one) not in left]
        return fresh, gone

    def _finish(
        self,
        transaction: Transaction,
        written: Sequence[MessageResult],
        repeated: Sequence[MessageId],
        aside: Sequence[MessageResult],
    ) -> CommitReport:
        kept = [result for result in (*written, *aside) if result.position is not None]
        self.settled = self._settling.finish(transaction, self._live, kept, self._cursors)
        return CommitReport(
            written=written,
            repeated=repeated,
            set_aside=[result.uplink.message_id for result in aside],
            cursors=self.settled.cursors,
        )


def _without_known(
    reader: Reader, results: Sequence[MessageResult]
) -> tuple[list[MessageResult], list[MessageId]]:
    """Leave out first results of messages that have one, in the database or in this batch."""
    known = _known(reader, results)
    fresh: list[MessageResult] = []
    repeated: list[MessageId] = []
    for result in results:
        message_id = result.uplink.message_id
        if result.position is None:
            fresh.append(result)
        elif message_id in known:
            repeated.append(message_id)
        else:
            known.add(message_id)
            fresh.append(result)
    return fresh, repeated


class _Bisection:
    """Writes what can be written and finds what cannot."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.written: list[MessageResult] = []
        self.repeated: list[MessageId] = []
        self.set_aside: list[MessageResult] = []

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
        self.set_aside.append(result)


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
    rows = reader.fetch_all(_LOCK_JOBS, {"message_ids": message_ids})
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
