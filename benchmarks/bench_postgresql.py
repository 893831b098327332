"""What PostgreSQL costs this process: rows by COPY and one by one, and a message's whole way.

CPU time of the client, since the server is usually another machine; what the server spends is told
beside it. The server is the tests' own, on loopback, with fsync on.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.bench_storage import BATCH_SIZES, message_cost, message_count
from benchmarks.duration import times
from benchmarks.row import Row
from protocols.identifiers import new_message_id
from storage.database import BulkInsert, Merge, Transaction
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.writer import PostgresqlDriver
from storage.tables.pipeline import device_state, message
from storage.uplinks import UPLINK_COLUMNS
from tests.support.postgresql import PostgresqlServer
from tests.support.process_tree import cpu_seconds

_BATCH_ROWS = 1_000
_PAYLOAD = (
    b'{"temperature":21.5,"humidity":47,"co2":412,"battery":3.6,"rssi":-97,"light":120,"pir":0}'
)
_MESSAGES = BulkInsert(message, UPLINK_COLUMNS)
_STATES = BulkInsert(
    device_state,
    ("device_id", "state", "last_message_at"),
    {"state": Merge.NEW, "last_message_at": Merge.GREATEST},
)

# In /proc/PID/stat, behind the name: user and system time of children that were waited for.
_ENDED_CHILDREN = slice(13, 15)

Rows = Sequence[Sequence[object]]


def measure() -> Iterator[Row]:
    """Yield rows per client CPU-second, then microseconds of CPU for one message."""
    with PostgresqlServer() as server:
        yield from _rows_per_second(server)
        for batch_size in BATCH_SIZES:
            yield from _message(server, batch_size)


def _rows_per_second(server: PostgresqlServer) -> Iterator[Row]:
    address = DatabaseAddress(server.url(server.create_database()))
    driver = PostgresqlDriver(address, None, ledger_shard=0)
    driver.connect()
    copied, single, merged = [], [], []
    for _ in range(times(7)):
        copied.append(_rate(driver, _message_rows(), _copy))
        single.append(_rate(driver, _message_rows(), _insert_each))
        merged.append(_rate(driver, _state_rows(), _merge))
    driver.close()
    reference = f"single inserts, {median(single):,.0f} rows/CPU-s"
    for name, rates in (("by COPY", copied), ("merged by way of COPY", merged)):
        yield Row(
            name=f"PostgreSQL, {_BATCH_ROWS:,} rows {name}",
            value=median(rates),
            unit="rows/CPU-s",
            ratio=median(a / b for a, b in zip(rates, single, strict=True)),
            reference=reference,
            budget="",
        )


def _message(server: PostgresqlServer, batch_size: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        on_sqlite = message_cost(f"sqlite:///{Path(directory) / 'bench.db'}", batch_size)
    name = server.create_database()
    began_s = _server_seconds(server)
    spent = message_cost(server.url(name), batch_size)
    server.drop_database(name)
    # The ten batches before the measured ones count here too.
    messages = message_count(batch_size) + 10 * batch_size
    on_server_us = (_server_seconds(server) - began_s) * 1e6 / messages
    for where, value in (("", spent.total_us), (", at the server", on_server_us)):
        yield Row(
            name=f"PostgreSQL, one message, batches of {batch_size}{where}",
            value=value,
            unit="us CPU",
            ratio=value / on_sqlite.total_us,
            reference=f"all of it on SQLite, {on_sqlite.total_us:.0f} us",
            budget="",
        )


def _server_seconds(server: PostgresqlServer) -> float:
    """CPU time of the server's processes, also of those that served a session which has ended."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    ended_ticks = sum(map(int, fields[_ENDED_CHILDREN]))
    return cpu_seconds(server.pid) + ended_ticks / os.sysconf("SC_CLK_TCK")


def _rate(
    driver: PostgresqlDriver, rows: Rows, write: Callable[[Transaction, Rows], None]
) -> float:
    """Write `rows` in one transaction; return rows per second of this process's CPU."""
    began_s = time.process_time()
    driver.begin()
    write(driver.transaction, rows)
    driver.commit()
    return len(rows) / (time.process_time() - began_s)


def _copy(transaction: Transaction, rows: Rows) -> None:
    transaction.insert_many(_MESSAGES, rows)


def _merge(transaction: Transaction, rows: Rows) -> None:
    transaction.insert_many(_STATES, rows)


def _insert_each(transaction: Transaction, rows: Rows) -> None:
    for row in rows:
        transaction.insert_many(_MESSAGES, [row])


def _message_rows() -> Rows:
    return [
        (new_message_id(), number, number, 1, 1, "GENERIC_HTTP", number, _PAYLOAD, None)
        for number in range(_BATCH_ROWS)
    ]


def _state_rows() -> Rows:
    return [(number, _PAYLOAD, number) for number in range(_BATCH_ROWS)]
