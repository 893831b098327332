"""How the writer's thread drives its one session, and what it does when the session is lost.

Theory of operation. Every transaction asks for its id in the round trip that begins it. A session that is
lost before COMMIT was sent has written nothing, and the group runs again on the next one. A session
that is lost afterwards leaves the commit in doubt: the next session asks the server what became
of that id. "In progress" means that the old session still lives on the server, where the COMMIT may yet
arrive, so it is ended first; from then on the answer cannot change.
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import psycopg2
import structlog
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from protocols.errors import RowRefused, StorageUnavailable
from storage import events
from storage.group_commit import CommitInDoubt, Contended, TransactionSpoiled
from storage.postgresql.address import LOCK_TIMEOUT_S, DatabaseAddress
from storage.postgresql.claim import DatabaseClaim
from storage.postgresql.connection import connect
from storage.postgresql.errors import fence
from storage.postgresql.sessions import end_session, end_stalled_sessions
from storage.postgresql.transaction import PostgresqlTransaction

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_current_xact_id()::text"
_OUTCOME: Final = "SELECT pg_xact_status(%s::xid8)"
# No server of the hub's has this many transactions: the id is from one that had more.
_UNKNOWN_ID: Final = "22023"
_READ_ONLY: Final = "25006"

_log = structlog.get_logger(__name__)


class PostgresqlDriver:
    """Implements `WriteDriver`. `connect` first, from any thread; the rest on the writer's."""

    def __init__(
        self, address: DatabaseAddress, claim: DatabaseClaim | None, *, ledger_shard: int
    ) -> None:
        self._address = address
        self._claim = claim
        self._connection: Any = None
        # The one that is being prepared, until it is the writer's.
        self._newcomer: Any = None
        self._pid: int | None = None
        self._lost_pid: int | None = None
        self._transaction_id: str | None = None
        self._was_contended = False
        self.transaction = PostgresqlTransaction(ledger_shard)

    @property
    def outage(self) -> StorageUnavailable | None:
        return self.transaction.outage

    def connect(self, prepare: Callable[[Any], None] | None = None) -> None:
        """Open a session, take the claim, then let `prepare` look at it; on failure nothing stays open."""
        self._newcomer = connection = connect(self._address)
        try:
            with self.transaction.waiting, fence():
                if self._claim is not None:
                    self._claim.take(connection)
                if self._lost_pid is not None:
                    end_session(connection, self._lost_pid, self._address.application_name)
            if prepare is not None:
                prepare(connection)
            self._pid = connection.info.backend_pid
        except BaseException:
            connection.close()
            raise
        finally:
            self._newcomer = None
        self._lost_pid = None
        self._connection = connection
        self.transaction.attach(connection)

    def begin(self) -> None:
        self.transaction.began()
        if self._connection is None:
            self.connect()
        try:
            self._begin()
        except StorageUnavailable:
            if not self._connection.closed:
                raise
            # It was lost while nobody used it: no reason to speak of an outage.
            self.roll_back()
            self.connect()
            self.transaction.began()
            self._begin()

    def commit(self) -> None:
        self.transaction.check_sound()
        try:
            tag = self.transaction.run("COMMIT").statusmessage
        except StorageUnavailable as exc:
            if self._connection.closed:
                raise CommitInDoubt(str(exc)) from exc
            raise
        if tag != "COMMIT":
            raise TransactionSpoiled(f"The server answered COMMIT with {tag}.")
        self.transaction.committed()

    def roll_back(self) -> None:
        connection = self._connection
        if connection is None:
            return
        outage = self.transaction.outage
        self._was_contended = isinstance(outage, Contended)
        if not connection.closed and not _is_idle(connection):
            with suppress(StorageUnavailable, psycopg2.Error):
                self.transaction.run("ROLLBACK")
        if connection.closed or not _is_idle(connection) or _is_read_only(outage):
            self._drop()

    def was_committed(self) -> bool:
        if self._connection is None:
            self.connect()
        status = self._outcome()
        if status == "in progress":
            # Its session was ended when this one began, so that this takes a moment at the most.
            raise CommitInDoubt("The server has not ended the session yet that was lost.")
        _log.info(events.DATABASE_COMMIT_RESOLVE, outcome=status)
        return status == "committed"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def interrupt(self) -> None:
        """Cut the session from another thread, so that whoever waits for its answer is told of a loss."""
        connection = self._newcomer or self._connection
        if connection is None or connection.closed:
            return
        with (
            suppress(OSError, psycopg2.Error),
            socket.socket(fileno=os.dup(connection.fileno())) as same,
        ):
            same.shutdown(socket.SHUT_RDWR)

    def _begin(self) -> None:
        if self._was_contended:
            self._was_contended = False
            with fence():
                if end_stalled_sessions(self._connection, after_s=LOCK_TIMEOUT_S):
                    _log.warning(events.DATABASE_SESSION_END, reason="It sent half of its rows.")
        (self._transaction_id,) = self.transaction.run(_BEGIN).fetchone()

    def _outcome(self) -> str | None:
        try:
            (status,) = self.transaction.run(_OUTCOME, (self._transaction_id,)).fetchone()
        except RowRefused as exc:
            if getattr(exc.__cause__, "pgcode", None) != _UNKNOWN_ID:
                raise
            # A server that knows less than the one that was lost never saw the commit.
            return "aborted"
        except StorageUnavailable:
            self.roll_back()
            raise
        return str(status)

    def _drop(self) -> None:
        self._lost_pid = self._pid
        with suppress(psycopg2.Error):
            self._connection.close()
        self._connection = None


def _is_idle(connection: Any) -> bool:
    return bool(connection.get_transaction_status() == TRANSACTION_STATUS_IDLE)


def _is_read_only(outage: StorageUnavailable | None) -> bool:
    # A standby: the next session may find the server that took over.
    return getattr(getattr(outage, "__cause__", None), "pgcode", None) == _READ_ONLY
