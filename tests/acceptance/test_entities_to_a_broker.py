"""From a sensor's bytes to the entities in a context broker, through a whole hub in this process."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocols.decoders import DecoderPool, DecoderSettings
from storage.repositories.attempts import Attempt, latest_of_target
from storage.tables import entities
from tests.support.hub_in_process import HubInProcess
from tests.support.ngsi_ld_broker import CITY_CONTEXT, NgsiLdBroker, Problem, url_of
from tests.support.receivers import Receiver
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint

DECODER = Path(__file__).parents[2] / "examples" / "decoders" / "elsys_ngsi_ld.js"
ENVIRONMENT, SENSOR = (
    "urn:ngsi-ld:IndoorEnvironmentObserved:tingbro-",
    "urn:ngsi-ld:Device:tingbro-",
)
TIMEOUT_S = 20


class World:
    """One hub with a device of Elsys's, and a broker behind a token endpoint."""

    def __init__(self, hub: HubInProcess) -> None:
        self.hub = hub
        self.tokens = TokenEndpoint.keyrock()
        self.broker = NgsiLdBroker(tokens=self.tokens)
        self.endpoint = Receiver(self.tokens)
        self.receiver = Receiver(self.broker)
        self.device_id = self.target_id = 0
        self._api_key = ""

    async def found(self, decoder: str) -> None:
        application_id = await self.hub.application()
        self.device_id, self._api_key = await self.hub.device(application_id)
        decoder_id = await self.hub.insert(
            entities.payload_decoder, name="decoder", decoding_function=decoder
        )
        self.target_id = await self.hub.target(
            application_id,
            url_of(self.receiver),
            kind="FIWARE",
            context=CITY_CONTEXT,
            tenant="city",
            tokenEndpoint=self.tokens.url_of(self.endpoint),
            clientId=CLIENT_ID,
            clientSecret=CLIENT_SECRET,
        )
        await self.hub.connect(self.target_id, decoder_id, self.device_id)

    async def measure(self, *temperatures: float) -> None:
        for temperature in temperatures:
            value = b"\x01" + round(temperature * 10).to_bytes(2, signed=True)
            payload = {"data": base64.b64encode(value).decode(), "time": "2026-05-04T03:02:01Z"}
            await self.hub.send(self._api_key, payload)

    async def attempts(self) -> list[Attempt]:
        return await self.hub.database.read(
            lambda reader: latest_of_target(reader, self.target_id, 10)
        )

    def temperature(self) -> float:
        entity = self.broker.entities["city"][f"{ENVIRONMENT}{self.device_id}"]
        return float(entity["temperature"]["value"])

    def arrived(self) -> list[list[str]]:
        """The ids in each request."""
        return [
            [entity["id"].rstrip("0123456789") for entity in json.loads(request.body)]
            for request in self.receiver.requests
        ]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    pool = DecoderPool(DecoderSettings(workers=1))
    async with HubInProcess(tmp_path / "hub.db", pool) as hub:
        world = World(hub)
        async with world.endpoint, world.receiver:
            yield world
            for balance in await hub.ledger.balance():
                assert balance.imbalance == 0
            assert await hub.ledger.audit() == []


async def test_bytes_of_a_sensor_become_entities_of_a_broker_in_their_order(world: World) -> None:
    await world.found(DECODER.read_text())
    await world.measure(*range(20), -2.7)
    balance = await world.hub.settled(TIMEOUT_S)
    assert balance.deliveries.delivered == 21
    assert world.temperature() == -2.7
    assert world.arrived() == [[ENVIRONMENT, SENSOR]] * 21
    assert len(world.tokens.issued) == 1
    temperatures = [
        json.loads(request.body)[0]["temperature"]["value"] for request in world.receiver.requests
    ]
    assert temperatures == [*range(20), -2.7]


async def test_entity_that_the_broker_could_not_take_is_sent_again_alone(world: World) -> None:
    await world.found(DECODER.read_text())
    broken = f"{SENSOR}{world.device_id}"
    world.broker.failing[broken] = Problem(500, "InternalError", "Database Error")
    await world.measure(21.5)
    async with asyncio.timeout(TIMEOUT_S):
        await world.receiver.wait_for(1)
    world.broker.failing.clear()
    balance = await world.hub.settled(TIMEOUT_S)
    assert balance.deliveries.delivered == 1
    assert world.arrived() == [[ENVIRONMENT, SENSOR], [SENSOR]]


async def test_token_that_is_no_longer_taken_costs_no_message_and_no_time(world: World) -> None:
    await world.found(DECODER.read_text())
    await world.measure(1)
    await world.hub.settled(TIMEOUT_S)
    world.tokens.revoke_all()
    await world.measure(2, 3)
    balance = await world.hub.settled(TIMEOUT_S)
    assert balance.deliveries.delivered == 3
    assert world.temperature() == 3
    assert [answer.status for answer in world.broker.answers] == [201, 401, 204, 204]


async def test_decoder_that_returns_no_array_is_a_dead_letter_that_says_so(world: World) -> None:
    await world.found("function decode(payload) { return {temperature: 1}; }")
    await world.measure(1)
    balance = await world.hub.settled(TIMEOUT_S)
    assert balance.deliveries.dead == 1
    assert world.receiver.requests == []
    (attempt,) = await world.attempts()
    assert str(attempt.error).startswith("The message is an object")
