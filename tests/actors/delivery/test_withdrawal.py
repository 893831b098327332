"""What somebody fetched is not pushed any more, and keeps nothing waiting, wherever the target is held."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from actors.membership import Membership
from actors.runtime import ActorSystem, VirtualClock
from protocols.messages import DeliveryId
from storage.delivery.acknowledgement import Acknowledgements
from storage.delivery.pull_cursor import PullCursor
from storage.delivery.unacknowledged import PullQuery, Unacknowledged
from storage.process_orders import OrderKind
from storage.processes import ProcessIdentity, ProcessRole
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import ReceivedRequest, Receiver, status

HEAD, NEXT = b'{"decoded":{"n":1}}', b'{"decoded":{"n":2}}'

Tell = Callable[[HubInProcess, int, tuple[DeliveryId, ...]], Awaitable[None]]


async def fail_for_the_head(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
    await status(500 if request.body == HEAD else 200)(request, writer)


async def tell_the_hub(hub: HubInProcess, target_id: int, ids: tuple[DeliveryId, ...]) -> None:
    await hub.hub.deliveries_withdrawn(target_id, ids)


async def order_it(hub: HubInProcess, target_id: int, ids: tuple[DeliveryId, ...]) -> None:
    assert hub.membership is not None
    body = {"targetId": target_id, "deliveryIds": list(ids)}
    process_id = hub.membership.registry.identity.process_id
    await until_it_is_seen(hub.membership)
    await hub.membership.orders.ask(process_id, OrderKind.WITHDRAW_DELIVERIES, body)


async def until_it_is_seen(membership: Membership) -> None:
    async with asyncio.timeout(5.0):
        while True:
            if await membership.registry.list():
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("tell", [tell_the_hub, order_it])
async def test_head_that_was_fetched_keeps_its_device_waiting_no_longer(
    tmp_path: Path, tell: Tell
) -> None:
    clock = VirtualClock(datetime.now(UTC))
    identity = ProcessIdentity.of_this_process(ProcessRole.WORKER, version="1")
    async with (
        Receiver(fail_for_the_head) as receiver,
        HubInProcess(
            tmp_path / "hub.db", StubPool(), system=ActorSystem(clock=clock), identity=identity
        ) as hub,
    ):
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, await hub.decoder(), device_id)
        await hub.post(api_key, 1)
        await hub.balance_when(lambda balance: balance.deliveries.retrying == 1)
        # The process says that it lives, and can be asked from then on.
        await clock.advance(0.0)
        await hub.post(api_key, 2)
        await hub.balance_when(lambda balance: balance.deliveries.created == 2)

        query = PullQuery(cursor=PullCursor.beginning(), limit=1)
        page = await Unacknowledged(hub.database).read(target_id, query, clock.now())
        ids = [row.delivery_id for row in page.items]
        done = await Acknowledgements(hub.database).of_deliveries(target_id, ids, clock.now())
        await tell(hub, target_id, done.delivery_ids)
        # Less than the head would have been in back-off for.
        for _ in range(6):
            await clock.advance(0.5)
        balance = await hub.balance_when(lambda one: one.deliveries.delivered == 1)

        assert (balance.deliveries.pulled, balance.imbalance) == (1, 0)
        assert [request.body for request in receiver.requests] == [HEAD, NEXT]


async def test_withdrawal_for_a_target_that_is_nowhere_harms_nothing(tmp_path: Path) -> None:
    async with HubInProcess(tmp_path / "hub.db", StubPool()) as hub:
        await hub.hub.deliveries_withdrawn(99, [DeliveryId("x")])
        assert (await hub.hub.health()).is_well
