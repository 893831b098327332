"""A receiver that was away for too long gets what it missed: fetched, or sent again. Nothing twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from actors.runtime import ActorSystem, VirtualClock
from storage.ledger import DeliveryBalance
from tests.support.api_client import EMAIL, PASSWORD, Api, Clock, served
from tests.support.decoder_stub import StubPool
from tests.support.fake_hub import FakeHub
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver
from web.administrators import ensure_administrator

MESSAGES = 30
FETCHED = 10
PATIENCE_S = 30.0


class Scene:
    """A hub whose time the test turns, and its API."""

    def __init__(self, hub: HubInProcess, clock: VirtualClock) -> None:
        self.hub = hub
        self.clock = clock

    @asynccontextmanager
    async def api(self) -> AsyncIterator[Api]:
        """The API as the administrator; the session is as old as the block."""
        now = Clock(self.clock.now())
        await ensure_administrator(self.hub.database, EMAIL, PASSWORD, now=now())
        async with (
            served(self.hub.database, self.hub.hub, now) as (port, services),
            aiohttp.ClientSession() as session,
        ):
            api = Api(session, port, services, FakeHub(), now)
            api.sign_in()
            yield api

    async def pass_until(self, is_so: Callable[[DeliveryBalance], bool]) -> DeliveryBalance:
        """Let minutes pass until the books of deliveries are like this."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                (balance,) = await self.hub.ledger.balance()
                if is_so(balance.deliveries):
                    assert balance.imbalance == 0
                    return balance.deliveries
                await self.clock.advance(60)
                await asyncio.sleep(0.01)


async def test_what_a_target_missed_is_fetched_or_sent_again_and_all_counts_agree(
    tmp_path: Path,
) -> None:
    clock = VirtualClock(datetime.now(UTC))  # from which the ids of messages are, too
    system = ActorSystem(clock=clock)
    async with Receiver() as closed:
        """Only to have a port at which nobody listens."""
    async with HubInProcess(tmp_path / "hub.db", StubPool(), system=system) as hub:
        scene = Scene(hub, clock)
        application_id = await hub.application()
        target_id = await hub.target(application_id, closed.url)
        devices = [await hub.device(application_id) for _ in range(3)]
        decoder_id = await hub.decoder()
        await hub.connect(target_id, decoder_id, *(device_id for device_id, _ in devices))
        for number in range(MESSAGES):
            await hub.post(devices[number % 3][1], number)
        await hub.balance_when(lambda balance: balance.jobs.decoded == MESSAGES)
        # The receiver stays away for longer than anything is pursued.
        clock.shift(timedelta(hours=73).total_seconds())
        await scene.pass_until(lambda deliveries: deliveries.expired == MESSAGES)

        async with scene.api() as api:
            path = f"data-target/{target_id}"
            page = await api.get(f"{path}/dead-letters?limit=1000")
            assert len(page["data"]) == MESSAGES
            taken = await api.post(f"{path}/replay", {"sinceFailure": True}, 202)
            assert taken["estimate"] == MESSAGES
            await scene.pass_until(lambda deliveries: deliveries.created == 2 * MESSAGES)
            fetched = await fetch(api, path)

        async with Receiver(port=closed.port) as receiver:
            await scene.pass_until(lambda one: one.delivered == MESSAGES - FETCHED)
            received = [json.loads(request.body)["decoded"]["n"] for request in receiver.requests]
            assert sorted(fetched + received) == list(range(MESSAGES))
            assert {request.headers["tingbro-replay"] for request in receiver.requests} == {"1"}

        deliveries = await scene.pass_until(lambda one: not one.pending and not one.retrying)
        assert (deliveries.expired, deliveries.pulled) == (MESSAGES, FETCHED)
        assert await hub.ledger.audit() == []


async def fetch(api: Api, path: str) -> list[int]:
    """Take some over by the pull API; return which."""
    page: Any = await api.get(f"{path}/unacknowledged?limit={FETCHED}&lease=30s")
    done = await api.post(f"{path}/acknowledge", {"upTo": page["cursor"]}, 200)
    assert done == {"acknowledged": FETCHED, "alreadySettled": 0, "unknown": 0}
    return [item["payload"]["decoded"]["n"] for item in page["data"]]
