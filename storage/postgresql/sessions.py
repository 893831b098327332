"""Ending sessions of our own that this process has lost and the server has not.

A server that does not know yet that its client is gone goes on with the transaction that the client
left, and keeps its locks. Only sessions that carry this process's own name are ever ended.
"""

import time
from typing import Any, Final

_PATIENCE_S: Final = 2.0
_POLL_S: Final = 0.02

_END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = %s AND application_name = %s AND pid <> pg_backend_pid()
"""
# A process that was stopped in the middle of COPY: the server waits for the rest of it, and none of
# its timeouts ends that.
_END_STALLED = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user
      AND application_name LIKE 'tingbro %%' AND pid <> pg_backend_pid()
      AND state = 'active' AND wait_event = 'ClientRead'
      AND query_start < clock_timestamp() - make_interval(secs => %s)
"""


def end_session(connection: Any, backend_pid: int, application_name: str) -> bool:
    """End a lost session of this process; return whether it is gone. Takes up to 2 s."""
    deadline = time.monotonic() + _PATIENCE_S
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_END, (backend_pid, application_name))
            if cursor.rowcount == 0:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)


def end_stalled_sessions(connection: Any, *, after_s: float) -> int:
    """End sessions of any hub process that have sent half of a COPY and then nothing for so long."""
    with connection.cursor() as cursor:
        cursor.execute(_END_STALLED, (after_s,))
        return int(cursor.rowcount)
