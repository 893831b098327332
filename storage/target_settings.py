"""The settings of data targets as their actors need them, secrets included."""

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, select

from protocols.errors import NotFound
from protocols.messages import TargetId
from storage.database import Database
from storage.repositories import target_secrets
from storage.sealing import SecretBox
from storage.tables.entities import data_target

_IDS = select(data_target.c.id).order_by(data_target.c.id)
_LOAD = select(data_target.c.type, data_target.c.settings, data_target.c.secrets).where(
    data_target.c.id == bindparam("target_id")
)


@dataclass(frozen=True, slots=True)
class StoredTarget:
    """`kind` is the type's name in the API; `settings` are in the API's names, camelCase."""

    kind: str
    settings: dict[str, Any] = field(repr=False)


class TargetSettings:
    """Never logged and never shown: for the actors alone."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._database = database
        self._box = box

    async def ids(self) -> list[TargetId]:
        """Return all data targets."""
        rows = await self._database.read(lambda reader: reader.fetch_all(_IDS))
        return [TargetId(row.id) for row in rows]

    async def load(self, target_id: TargetId) -> StoredTarget:
        """Return one target's settings.

        Raises:
            NotFound: there is no such target.
            SecretsUnreadable: its secrets were sealed with another key.
        """
        row = await self._database.read(
            lambda reader: reader.fetch_one(_LOAD, {"target_id": target_id})
        )
        if row is None:
            raise NotFound(f"There is no data target {target_id}.")
        secrets = target_secrets.opened(self._box, target_id, row.secrets)
        return StoredTarget(row.type, json.loads(row.settings) | secrets)
