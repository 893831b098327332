"""The claim of one process on one database, where its journal is a table there.

Two hubs with an embedded journal would each believe themselves alone: both would settle the same entries.
The claim is an advisory lock of the very session that writes: whoever has lost it cannot write
any more, because its session is gone.
"""

import time
from typing import Any, Final

from protocols.errors import StorageUnavailable
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.sessions import end_session

# Ours among all users of advisory locks in the database; the numbers mean nothing.
_LOCK: Final = (1_953_066_599, 1)
# The server may need a moment to see that a hub that was killed is gone.
_PATIENCE_S: Final = 2.0
_POLL_S: Final = 0.05

_TAKE = "SELECT pg_try_advisory_lock(%s, %s)"
_HOLDER = """
    SELECT pid, application_name
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND classid::bigint = %s AND objid::bigint = %s AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND granted
"""


class DatabaseClaim:
    """Taken anew for every session of the writer; the server drops it with the session."""

    def __init__(self, address: DatabaseAddress) -> None:
        self._address = address

    def take(self, connection: Any) -> None:
        """Take the claim for this session.

        Raises:
            StorageUnavailable: another process has it.
        """
        deadline = time.monotonic() + _PATIENCE_S
        with connection.cursor() as cursor:
            while True:
                cursor.execute(_TAKE, _LOCK)
                if cursor.fetchone()[0]:
                    return
                cursor.execute(_HOLDER, _LOCK)
                holder = cursor.fetchone()
                if holder is not None and holder[1] == self._address.application_name:
                    end_session(connection, holder[0], holder[1])
                elif time.monotonic() >= deadline:
                    raise StorageUnavailable(self._sentence(holder))
                else:
                    time.sleep(_POLL_S)

    def _sentence(self, holder: Any) -> str:
        name = holder[1].removeprefix("tingbro ") if holder is not None else "unknown"
        return (
            f"Another hub (process {name}) is running on {self._address}: stop it first, or give "
            "this one a database of its own."
        )
