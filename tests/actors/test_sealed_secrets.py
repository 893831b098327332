"""A hub and targets whose secrets lie sealed in its database."""

from pathlib import Path

from sqlalchemy import update

from storage.database import Transaction
from storage.repositories import target_secrets
from storage.sealing import SecretBox
from storage.tables.entities import data_target
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import SECRET_KEY, HubInProcess
from tests.support.receivers import Receiver

SECRETS = {"authorizationHeader": "Bearer s3cr3t"}


async def seal(hub: HubInProcess, target_id: int, secret_key: str) -> None:
    box = SecretBox(secret_key)

    def unit(transaction: Transaction) -> None:
        target_secrets.put(transaction, box, target_id, SECRETS)

    await hub.database.write(unit)
    await hub.hub.configuration_changed(what="data_target", entity_id=target_id)


async def test_target_with_secrets_of_another_key_keeps_its_messages_until_the_key_is_right(
    tmp_path: Path,
) -> None:
    async with (
        Receiver() as receiver,
        Receiver() as other,
        HubInProcess(tmp_path / "hub.db", StubPool()) as hub,
    ):
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, None, device_id)
        await hub.connect(await hub.target(application_id, other.url), None, device_id)
        await seal(hub, target_id, "another key, of another hub, long enough")

        await hub.post(api_key, 1)
        await other.wait_for(1)
        balance = await hub.balance_when(lambda balance: balance.deliveries.delivered == 1)
        assert (balance.deliveries.pending, receiver.requests) == (1, [])

        await seal(hub, target_id, SECRET_KEY)
        await hub.settled()
        (request,) = receiver.requests
        assert request.headers["Authorization"] == "Bearer s3cr3t"


async def test_secrets_that_an_earlier_version_left_in_plain_are_used(tmp_path: Path) -> None:
    async with Receiver() as receiver, HubInProcess(tmp_path / "hub.db", StubPool()) as hub:
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, None, device_id)
        plain = '{"authorizationHeader":"Bearer s3cr3t"}'
        statement = update(data_target).values(secrets=plain)
        await hub.database.write(lambda transaction: transaction.execute(statement))
        await hub.hub.configuration_changed(what="data_target", entity_id=target_id)

        await hub.post(api_key, 1)
        await hub.settled()
        (request,) = receiver.requests
        assert request.headers["Authorization"] == "Bearer s3cr3t"
