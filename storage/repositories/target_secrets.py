"""The secrets of data targets: the only way to them, with the key that seals them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select, update

from protocols.errors import NotFound, SecretsUnreadable
from storage.database import Reader, Transaction
from storage.sealing import SecretBox, is_all_sealed
from storage.tables.entities import data_target

_NONE = "{}"
_KEPT = select(data_target.c.id, data_target.c.secrets).where(data_target.c.secrets != _NONE)
_OF_TARGET = select(data_target.c.secrets).where(data_target.c.id == bindparam("target_id"))
_SEAL = (
    update(data_target)
    .where(data_target.c.id == bindparam("target_id"), data_target.c.secrets == bindparam("kept"))
    .values(secrets=bindparam("sealed"))
)


def get(reader: Reader, box: SecretBox, target_id: int) -> dict[str, Any]:
    """Return a target's secrets by their names.

    Raises:
        NotFound: there is no such target.
        SecretsUnreadable: they were sealed with another key.
    """
    row = reader.fetch_one(_OF_TARGET, {"target_id": target_id})
    if row is None:
        raise NotFound(f"There is no data target {target_id}.")
    return opened(box, target_id, row.secrets)


def opened(box: SecretBox, target_id: int, kept: str) -> dict[str, Any]:
    """Return the secrets of a row that was read already. Raises SecretsUnreadable."""
    return box.open(kept, place=_place(target_id))


def put(
    transaction: Transaction, box: SecretBox, target_id: int, secrets: Mapping[str, object]
) -> None:
    """Keep these secrets of a target in place of those that it had."""
    sealed = box.seal(secrets, place=_place(target_id))
    transaction.execute(
        update(data_target).where(data_target.c.id == target_id).values(secrets=sealed)
    )


def seal_stored(transaction: Transaction, box: SecretBox) -> int:
    """Seal what earlier versions left in plain; return of how many targets. What is sealed stays.

    A set that is sealed in part is left alone if the key does not open that part.
    """
    sealed = 0
    for row in transaction.fetch_all(_KEPT):
        if is_all_sealed(row.secrets):
            continue
        try:
            secrets = opened(box, row.id, row.secrets)
        except SecretsUnreadable:
            continue
        values = {"target_id": row.id, "kept": row.secrets}
        # Somebody may have changed them through another process since they were read.
        sealed += transaction.execute(
            _SEAL, {**values, "sealed": box.seal(secrets, place=_place(row.id))}
        )
    return sealed


def count_unreadable(reader: Reader, box: SecretBox) -> tuple[int, int]:
    """Return how many targets have secrets, and of how many this key does not open them."""
    unreadable = 0
    rows = reader.fetch_all(_KEPT)
    for row in rows:
        try:
            opened(box, row.id, row.secrets)
        except SecretsUnreadable:
            unreadable += 1
    return len(rows), unreadable


def _place(target_id: int) -> str:
    return f"data_target.secrets/{target_id}"
