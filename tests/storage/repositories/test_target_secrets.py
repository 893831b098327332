from datetime import UTC, datetime

import orjson
import pytest
from sqlalchemy import select, update

from protocols.errors import NotFound, SecretsUnreadable
from protocols.messages import TargetId
from storage import Database
from storage.database import Transaction
from storage.repositories import Author, data_targets, organizations, target_health, target_secrets
from storage.repositories.applications import ApplicationFields
from storage.repositories.applications import create as create_application
from storage.repositories.data_targets import DataTargetFields
from storage.sealing import SecretBox, is_all_sealed
from storage.tables.entities import data_target
from storage.target_settings import TargetSettings

AUTHOR = Author(None, datetime(2026, 1, 1, tzinfo=UTC))
BOX, OTHER = SecretBox("k" * 32), SecretBox("o" * 32)
FIELDS = DataTargetFields(name="t", type="HTTP_PUSH", settings={"timeout": 5})


async def target(database: Database, secrets: dict[str, object]) -> int:
    def unit(transaction: Transaction) -> int:
        name = str(len(transaction.fetch_all(select(data_target.c.id))))
        organization_id = organizations.create(transaction, name, AUTHOR)
        application_id = create_application(
            transaction, organization_id, ApplicationFields(name=name), AUTHOR
        )
        target_id = data_targets.create(transaction, application_id, FIELDS, AUTHOR)
        target_secrets.put(transaction, BOX, target_id, secrets)
        return target_id

    return await database.write(unit)


async def write_kept(database: Database, target_id: int, kept: str) -> None:
    statement = update(data_target).where(data_target.c.id == target_id).values(secrets=kept)
    await database.write(lambda transaction: transaction.execute(statement))


async def kept(database: Database, target_id: int) -> str:
    statement = select(data_target.c.secrets).where(data_target.c.id == target_id)
    row = await database.read(lambda reader: reader.fetch_one(statement))
    assert row is not None
    text: str = row.secrets
    return text


async def test_secrets_of_a_target_lie_sealed_and_reach_its_actor(database: Database) -> None:
    target_id = await target(database, {"password": "s3cr3t"})
    assert "s3cr3t" not in await kept(database, target_id)
    loaded = await TargetSettings(database, BOX).load(TargetId(target_id))
    assert loaded.settings == {"timeout": 5, "password": "s3cr3t"}
    assert "s3cr3t" not in repr(loaded)


async def test_another_key_is_told_and_changes_nothing(database: Database) -> None:
    target_id = await target(database, {"password": "s3cr3t"})
    before = await kept(database, target_id)
    with pytest.raises(SecretsUnreadable, match="TINGBRO_SECRET_KEY"):
        await TargetSettings(database, OTHER).load(TargetId(target_id))
    assert await database.write(lambda change: target_secrets.seal_stored(change, OTHER)) == 0
    assert await kept(database, target_id) == before
    counts = await database.read(lambda reader: target_secrets.count_unreadable(reader, OTHER))
    assert counts == (1, 1)


async def test_what_earlier_versions_left_in_plain_is_sealed_once(database: Database) -> None:
    old = await target(database, {})
    new = await target(database, {"password": "new"})
    none = await target(database, {})
    await write_kept(database, old, orjson.dumps({"authorizationHeader": "s3cr3t"}).decode())
    untouched = await kept(database, new)
    for expected in (1, 0):
        sealed = await database.write(lambda change: target_secrets.seal_stored(change, BOX))
        assert sealed == expected
    text = await kept(database, old)
    assert is_all_sealed(text)
    assert "s3cr3t" not in text
    assert await database.read(lambda reader: target_secrets.get(reader, BOX, old)) == {
        "authorizationHeader": "s3cr3t"
    }
    assert await kept(database, new) == untouched
    assert await kept(database, none) == "{}"
    counts = await database.read(lambda reader: target_secrets.count_unreadable(reader, BOX))
    assert counts == (2, 0)


async def test_secrets_of_no_target_are_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        await database.read(lambda reader: target_secrets.get(reader, BOX, 99))


async def test_target_is_disabled_and_enabled_again(database: Database) -> None:
    def unit(transaction: Transaction) -> list[target_health.ShownHealth]:
        seen = []
        target_health.disable(transaction, 7, at=5, reason="moved")
        seen.append(target_health.of_targets(transaction, [7])[7])
        target_health.enable(transaction, 7)
        target_health.enable(transaction, 8)
        seen += target_health.of_targets(transaction, [7, 8, 9]).values()
        return seen

    disabled, *enabled = await database.write(unit)
    assert (disabled.disabled_at, disabled.disabled_reason) == (5, "moved")
    assert enabled == [target_health.WELL, target_health.WELL]
