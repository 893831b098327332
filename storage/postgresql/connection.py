"""Sessions with the server, and the values that come back over them."""

from typing import Any, Final

import psycopg2
from psycopg2.extensions import new_type, register_type

from protocols.errors import StorageUnavailable
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.errors import fence, unreachable

# `pg_current_xact_id` and its 64-bit transaction ids.
OLDEST_SERVER: Final = 130_000
# Acknowledged means on the disk, whatever the server's default is; the stricter ones stay as they are.
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)
# From this version on the server looks whether a client is still there while it works for it.
_LOOKS_AFTER_CLIENTS: Final = 140_000
_LOOK_AFTER_CLIENT: Final = "SET client_connection_check_interval = '1s'"

_BYTEA_OID: Final = 17
_NUMERIC_OID: Final = 1700


def connect(address: DatabaseAddress) -> Any:
    """Open a session that blocks, without transactions of the driver's own.

    Raises:
        StorageUnavailable: with a sentence for operators; never with a password.
    """
    try:
        connection = psycopg2.connect(**address.parameters())
    except (psycopg2.Error, UnicodeError) as exc:
        # `from None`: what the driver raised may quote what it was given.
        raise unreachable(exc, address) from None
    try:
        connection.autocommit = True
        prepare(connection, address)
        address.follow(connection)
        with connection.cursor() as cursor:
            cursor.execute(f"{_DURABLE}; {session_settings(connection)}")
    except psycopg2.Error as exc:
        connection.close()
        raise unreachable(exc, address) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def find_way(address: DatabaseAddress) -> None:
    """See how the server can be reached now, for `DatabaseAddress.direct_parameters`. Blocks.

    Raises:
        StorageUnavailable: it cannot.
    """
    connect(address).close()


def prepare(connection: Any, address: DatabaseAddress) -> None:
    """Check what the server said of itself, and have its values come as the contract says."""
    if connection.server_version < OLDEST_SERVER:
        raise StorageUnavailable(
            f"The server is PostgreSQL {connection.server_version // 10_000}: 13 or newer is needed."
        )
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StorageUnavailable(
            f"The encoding of {address} is {encoding}: create it with ENCODING 'UTF8'."
        )
    register_type(_BYTES, connection)
    register_type(_WHOLE_NUMBERS, connection)


def session_settings(connection: Any) -> str:
    """Return the statements that make the session's settings, as far as this server has them."""
    return _LOOK_AFTER_CLIENT if connection.server_version >= _LOOKS_AFTER_CLIENTS else "SELECT 1"


def syncs_to_disk(connection: Any) -> bool:
    """Say whether a commit survives a power cut of the server."""
    with fence(), connection.cursor() as cursor:
        cursor.execute("SHOW fsync")
        return bool(cursor.fetchone()[0] == "on")


def _bytes(value: str | None, cursor: Any) -> bytes | None:
    view = psycopg2.BINARY(value, cursor)
    return None if view is None else bytes(view)


def _number(value: str | None, _cursor: Any) -> int | float | None:
    # No column is numeric: it is what the server makes of a sum of big integers.
    if value is None:
        return None
    return float(value) if "." in value else int(value)


_BYTES = new_type((_BYTEA_OID,), "BYTES", _bytes)
_WHOLE_NUMBERS = new_type((_NUMERIC_OID,), "WHOLE_NUMBERS", _number)
