"""What the repositories promise to those who call them without the API in between."""

from datetime import UTC, datetime

import pytest

from protocols.errors import Conflict, InvalidInput, NotFound
from storage import Database
from storage.database import Reader, Transaction
from storage.instants import microseconds
from storage.repositories import (
    EVERYWHERE,
    Author,
    Page,
    Scope,
    api_keys,
    applications,
    audit,
    connections,
    data_targets,
    decoders,
    devices,
    organizations,
    users,
)
from storage.repositories.api_keys import ApiKeyFields
from storage.repositories.applications import ApplicationFields
from storage.repositories.audit import NewAuditEntry
from storage.repositories.connections import ConnectionFields
from storage.repositories.data_targets import DataTargetFields
from storage.repositories.decoders import DecoderFields
from storage.repositories.devices import DeviceFields, NewDevice
from storage.repositories.users import NewUser

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
AUTHOR = Author(7, NOW)
NOWHERE = Scope(frozenset())


def make_city(transaction: Transaction, name: str) -> tuple[int, int, int]:
    """An organization with an application and a device; returns their ids."""
    organization_id = organizations.create(transaction, name, AUTHOR)
    fields = ApplicationFields(name=f"{name} application", personal_data=False)
    application_id = applications.create(transaction, organization_id, fields, AUTHOR)
    new = NewDevice(
        application_id=application_id,
        type="GENERIC_HTTP",
        api_key=f"key of {name}",
        fields=DeviceFields(name=f"{name} device"),
    )
    return organization_id, application_id, devices.create(transaction, new, AUTHOR)


async def test_stamps_tell_who_made_and_who_changed_a_row(database: Database) -> None:
    later = Author(None, datetime(2026, 2, 1, tzinfo=UTC))

    def unit(transaction: Transaction) -> organizations.Organization:
        organization_id = organizations.create(transaction, "a", AUTHOR)
        organizations.update_name(transaction, organization_id, "b", later)
        return organizations.get(transaction, EVERYWHERE, organization_id)

    found = await database.write(unit)
    assert found.name == "b"
    assert found.open_data_dk_registered is False
    assert (found.stamps.created_by, found.stamps.updated_by) == (7, None)
    assert found.stamps.created_at == microseconds(NOW)
    assert found.stamps.updated_at == microseconds(later.at)


async def test_truth_values_come_back_as_such(database: Database) -> None:
    _, application_id, _ = await database.write(lambda change: make_city(change, "a"))
    found = await database.read(lambda reader: applications.get(reader, EVERYWHERE, application_id))
    assert found.fields.personal_data is False


async def test_what_lies_outside_the_scope_is_not_found(database: Database) -> None:
    organization_id, application_id, device_id = await database.write(
        lambda change: make_city(change, "a")
    )
    inside = Scope(frozenset({organization_id}))
    outside = Scope(frozenset({organization_id + 1}))

    def read(reader: Reader) -> None:
        devices.get(reader, inside, device_id)
        for scope in (outside, NOWHERE):
            with pytest.raises(NotFound):
                organizations.get(reader, scope, organization_id)
            with pytest.raises(NotFound):
                applications.get(reader, scope, application_id)
            with pytest.raises(NotFound):
                devices.get(reader, scope, device_id)
            assert devices.get_many(reader, scope, [device_id]) == []
            assert organizations.list_page(reader, scope, Page()).total == 0

    await database.read(read)


async def test_name_is_free_for_the_one_that_has_it(database: Database) -> None:
    def unit(transaction: Transaction) -> list[bool]:
        organization_id = organizations.create(transaction, "a", AUTHOR)
        return [
            organizations.is_name_taken(transaction, "a"),
            organizations.is_name_taken(transaction, "a", except_id=organization_id),
            organizations.is_name_taken(transaction, "b"),
        ]

    assert await database.write(unit) == [True, False, False]


async def test_database_itself_refuses_a_name_twice(database: Database) -> None:
    await database.write(lambda change: organizations.create(change, "a", AUTHOR))
    with pytest.raises(Conflict):
        await database.write(lambda change: organizations.create(change, "a", AUTHOR))


async def test_list_cannot_be_sorted_on_what_is_not_offered(database: Database) -> None:
    page = Page(order_on="password_hash")
    with pytest.raises(InvalidInput):
        await database.read(lambda reader: organizations.list_page(reader, EVERYWHERE, page))


async def test_decoder_that_a_connection_names_is_held_by_the_database(database: Database) -> None:
    def unit(transaction: Transaction) -> int:
        organization_id, application_id, device_id = make_city(transaction, "a")
        target_id = data_targets.create(transaction, application_id, TARGET, AUTHOR)
        fields = DecoderFields(organization_id=organization_id, name="d", decoding_function="x")
        decoder_id = decoders.create(transaction, fields, AUTHOR)
        connections.create(
            transaction,
            ConnectionFields(
                payload_decoder_id=decoder_id, data_target_id=target_id, device_ids=[device_id]
            ),
            AUTHOR,
        )
        return decoder_id

    decoder_id = await database.write(unit)
    assert await database.read(lambda reader: decoders.is_in_use(reader, decoder_id))
    with pytest.raises(Conflict):
        await database.write(lambda change: decoders.remove(change, decoder_id))


TARGET = DataTargetFields(
    name="t",
    type="HTTP_PUSH",
    settings={"url": "https://example.org", "timeout": 5},
)


async def test_decoder_without_organization_is_everyones(database: Database) -> None:
    fields = DecoderFields(organization_id=None, name="shared", decoding_function="x")
    decoder_id = await database.write(lambda change: decoders.create(change, fields, AUTHOR))
    found = await database.read(lambda reader: decoders.get(reader, NOWHERE, decoder_id))
    assert found.name == "shared"


async def test_moved_device_is_in_no_connection(database: Database) -> None:
    def unit(transaction: Transaction) -> int:
        organization_id, application_id, device_id = make_city(transaction, "a")
        target_id = data_targets.create(transaction, application_id, TARGET, AUTHOR)
        fields = ConnectionFields(
            payload_decoder_id=None, data_target_id=target_id, device_ids=[device_id]
        )
        connection_id = connections.create(transaction, fields, AUTHOR)
        goal = ApplicationFields(name="goal")
        goal_id = applications.create(transaction, organization_id, goal, AUTHOR)
        devices.move(transaction, device_id, goal_id, AUTHOR)
        return connection_id

    connection_id = await database.write(unit)
    found = await database.read(lambda reader: connections.get(reader, EVERYWHERE, connection_id))
    assert found.fields.device_ids == []


async def test_account_is_found_however_its_email_is_written(database: Database) -> None:
    new = NewUser(name="n", email=" A@Example.org ", password_hash="h", is_administrator=True)
    user_id = await database.write(lambda change: users.create(change, new, AUTHOR))
    found = await database.read(lambda reader: users.get_by_email(reader, "a@EXAMPLE.org"))
    assert (found.id, found.email) == (user_id, "a@example.org")
    assert (found.is_active, found.is_administrator) == (True, True)
    assert await database.read(users.has_administrator)
    assert "password_hash" not in repr(found)


async def test_new_password_raises_the_version_of_the_credentials(database: Database) -> None:
    new = NewUser(name="n", email="a@example.org", password_hash="h", is_administrator=False)

    def unit(transaction: Transaction) -> users.User:
        user_id = users.create(transaction, new, AUTHOR)
        users.update_password(transaction, user_id, "new", AUTHOR)
        return users.get(transaction, user_id)

    found = await database.write(unit)
    assert (found.password_hash, found.credentials_version) == ("new", 2)
    assert not await database.read(users.has_administrator)


async def test_keys_are_found_by_their_hash(database: Database) -> None:
    fields = ApiKeyFields(name="k", levels=("Read", "OrganizationApplicationAdmin"), expires_at=5)

    def unit(transaction: Transaction) -> api_keys.ApiKey:
        organization_id = organizations.create(transaction, "a", AUTHOR)
        key_id = api_keys.create(transaction, organization_id, "abc", fields, AUTHOR)
        api_keys.note_use(transaction, key_id, NOW)
        return api_keys.get_by_hash(transaction, "abc")

    found = await database.write(unit)
    assert found.fields == fields
    assert found.last_used_at == microseconds(NOW)
    with pytest.raises(NotFound):
        await database.read(lambda reader: api_keys.get_by_hash(reader, "abd"))


async def test_audit_entry_is_undone_with_the_change_that_it_tells_of(database: Database) -> None:
    entry = NewAuditEntry(
        at=NOW,
        actor_type="user",
        actor_id=1,
        actor_name="a@example.org",
        address=None,
        action="CREATE",
        entity="organization",
        entity_id=1,
        entity_name="a",
        organization_id=1,
    )

    def unit(transaction: Transaction) -> None:
        audit.record(transaction, entry)
        raise NotFound("no")

    with pytest.raises(NotFound):
        await database.write(unit)
    await database.write(lambda change: audit.record(change, entry))
    page = await database.read(lambda reader: audit.list_page(reader, EVERYWHERE, Page()))
    assert page.total == 1
    assert (page.rows[0].at, page.rows[0].entity_name) == (microseconds(NOW), "a")
