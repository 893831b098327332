"""Deliveries as rows, for what reads them without a pipeline that would make them."""

from typing import Any

from protocols.identifiers import new_delivery_id, new_message_id
from storage import Database
from storage.database import Transaction
from storage.instants import microseconds
from storage.result_rows import DELIVERY_LIFETIME
from storage.tables.pipeline import delivery, delivery_attempt, message, message_job
from tests.support.api_client import START

DECODER_ID = 5
_LIFETIME_US = int(DELIVERY_LIFETIME.total_seconds()) * 1_000_000


async def put_delivery(
    database: Database,
    target_id: int,
    *,
    device_id: int = 1,
    organization_id: int = 1,
    state: str = "pending",
    body: bytes = b'{"n":1}',
    **more: Any,
) -> str:
    """Make one with its message, though without any books; return its id."""
    delivery_id, message_id = new_delivery_id(), new_message_id()
    made_at = microseconds(START)
    is_settled = state not in ("pending", "retrying")
    owner = {"device_id": device_id, "organization_id": organization_id}
    row = {
        "delivery_id": delivery_id,
        "message_id": message_id,
        "target_id": target_id,
        "decoder_id": DECODER_ID,
        **owner,
        "position": 1,
        "generation": 0,
        "state": state,
        "attempts": 0,
        "created_at": made_at,
        "expires_at": made_at + _LIFETIME_US,
        "settled_at": made_at if is_settled else None,
        **more,
    }
    uplink = {"application_id": 1, "device_type": "GENERIC_HTTP", "received_at": made_at}
    job = {"generation": 0, "state": "decoded", "body": body, "settled_at": made_at}

    def write(transaction: Transaction) -> None:
        named = {"message_id": message_id, "position": row["position"], **owner}
        transaction.insert(message, {**named, **uplink, "payload": b"{}"})
        transaction.insert(message_job, {**named, "decoder_id": DECODER_ID, **job})
        transaction.insert(delivery, row)

    await database.write(write)
    return delivery_id


async def put_attempt(database: Database, target_id: int, delivery_id: str, **more: Any) -> None:
    """Add a failed attempt to a delivery's log."""
    row = {
        "delivery_id": delivery_id,
        "target_id": target_id,
        "attempt": 1,
        "state": "dead",
        "attempted_at": microseconds(START),
        "status_code": 413,
        "error_code": "delivery_refused",
        "error": "The receiver takes nothing that large.",
        "duration_us": 12_345,
        "response_excerpt": "too large",
        **more,
    }

    def write(transaction: Transaction) -> None:
        transaction.insert(delivery_attempt, row)

    await database.write(write)
