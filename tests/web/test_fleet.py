"""The API of a process that only takes messages in: the whole hub is seen and reached through it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import bindparam, delete, update

from actors.membership import Membership
from actors.process_report import ProcessReport
from actors.runtime import ActorInfo, ActorState
from actors.web_hub import WebHub, WebStores
from protocols.decoders import DecoderPool, DecoderSettings
from protocols.identifiers import new_message_id
from protocols.messages import Uplink
from storage import Database, open_database
from storage.cursor_claims import CursorClaims
from storage.database import Transaction
from storage.deferred import DeferredStore
from storage.device_keys import DeviceKeys
from storage.journal import Appended, JournalAppender, PartitionStatus, position_of
from storage.ledger import Ledger
from storage.process_orders import ProcessOrders
from storage.processes import LOST_AFTER_S, ProcessIdentity, ProcessRegistry, ProcessRole
from storage.repositories.audit import NewAuditEntry, record
from storage.tables.entities import iot_device
from storage.tables.fleet import process
from storage.tables.pipeline import journal_cursor, message, message_job
from tests.support.api_client import START, Api, Clock, administered_database, served
from tests.support.fake_hub import FakeHub

PATIENCE_S = 10.0
NO_WORKER = "no worker runs: messages are taken in and wait"
_BACKDATE = (
    update(process)
    .where(process.c.process_id == bindparam("of_process"))
    .values(seen_at=process.c.seen_at - int((LOST_AFTER_S + 1) * 1_000_000))
)


class Log(JournalAppender):
    """Makes everything durable at once, unless there is an obstacle."""

    def __init__(self) -> None:
        self.uplinks: list[Uplink] = []
        self.reason: str | None = None

    async def append(self, uplink: Uplink) -> Appended:
        self.uplinks.append(uplink)
        return Appended(uplink.message_id, None, is_duplicate=False)

    @property
    def waiting(self) -> int:
        return 0

    @property
    def obstacle(self) -> str | None:
        return self.reason


class Worker:
    """Another process, on its own view of the database: it says of itself what the test wants."""

    def __init__(self, database: Database) -> None:
        self.identity = ProcessIdentity.of_this_process(ProcessRole.WORKER, version="1.2.3")
        self.id = self.identity.process_id
        self.database = database
        self.registry = ProcessRegistry(database, self.identity)
        self.orders = ProcessOrders(database, self.id)

    async def beat(self, *, cause: str | None = None, reason: str = "every actor runs") -> None:
        status = PartitionStatus(partition=2, cursor=position_of(2, 90), lag=33)
        report = ProcessReport.make(_tree().to_json(), [status]).write()
        await self.registry.beat(is_well=cause is None, cause=cause, reason=reason, report=report)

    async def be_lost(self) -> None:
        await self.beat()
        parameters = {"of_process": self.id}
        await self.database.write(lambda transaction: transaction.execute(_BACKDATE, parameters))


def _tree() -> ActorInfo:
    def actor(path: str, *children: ActorInfo, active: int | None = None) -> ActorInfo:
        return ActorInfo(
            path=path,
            actor_class="Actor",
            state=ActorState.RUNNING,
            since=START,
            active=active,
            children=children,
        )

    targets = actor("/hub/targets", actor("/hub/targets/17"))
    return actor("/hub", targets, actor("/hub/devices", active=3))


@dataclass
class Fleet:
    """One web process that is served, and one worker."""

    api: Api
    hub: WebHub
    web_id: str
    log: Log
    pool: DecoderPool
    worker: Worker
    other_database: Database

    async def until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """What the actors do by their own clock has no event that a client could wait for."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(0.02)

    async def new_worker(self) -> Worker:
        worker = Worker(self.other_database)
        await worker.beat()
        return worker

    async def nodes(self) -> dict[str, dict[str, Any]]:
        tree = await self.api.get("actors")
        return {child["path"]: child for child in tree["children"]}


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with administered_database(tmp_path) as database, aiohttp.ClientSession() as session:
        other = open_database(f"sqlite:///{tmp_path / 'api.db'}", is_shared=True)
        await other.open()
        identity = ProcessIdentity.of_this_process(ProcessRole.WEB, version="1.2.3")
        stores = WebStores(
            database=database,
            appender=(log := Log()),
            ledger=Ledger(database),
            deferred=DeferredStore(database),
            device_keys=DeviceKeys(database),
        )
        pool = DecoderPool(DecoderSettings(workers=1))
        hub = WebHub(stores, pool=pool, membership=Membership.on(database, identity))
        worker = Worker(other)
        await worker.beat()
        await hub.start()
        async with served(database, hub, clock := Clock()) as (port, services):
            # What the tests of the API otherwise ask for what it was told; here it is told nothing.
            api = Api(session, port, services, FakeHub(), clock)
            api.sign_in()
            scene = Fleet(api, hub, identity.process_id, log, pool, worker, other)
            await scene.until(lambda: _is_there(scene))
            yield scene
        await hub.stop(timeout_s=2.0)
        await other.close()


async def _is_there(scene: Fleet) -> bool:
    return f"/{scene.web_id}" in await scene.nodes()


# -- the tree --------------------------------------------------------------------------------


async def test_tree_shows_the_actors_of_every_process(fleet: Fleet) -> None:
    nodes = await fleet.nodes()

    web, worker = nodes[f"/{fleet.web_id}"], nodes[f"/{fleet.worker.id}"]
    assert [child["path"] for child in web["children"][0]["children"]] == [
        f"/{fleet.web_id}/hub/decoders",
        f"/{fleet.web_id}/hub/fleet",
    ]
    (hub,) = worker["children"]
    targets = hub["children"][0]
    assert targets["children"][0]["path"] == f"/{fleet.worker.id}/hub/targets/17"
    assert (worker["role"], worker["state"], worker["isLost"]) == ("worker", "running", False)
    assert worker["partitions"] == [{"partition": 2, "cursor": 90, "lag": 33}]


async def test_single_actors_of_every_process_are_shown(fleet: Fleet) -> None:
    elsewhere = f"{fleet.worker.id}/hub/targets/17"

    assert (await fleet.api.get(f"actors/{elsewhere}"))["path"] == f"/{elsewhere}"
    assert (await fleet.api.get(f"actors/{fleet.worker.id}"))["role"] == "worker"
    own = await fleet.api.get(f"actors/{fleet.web_id}/hub/fleet")
    assert (own["path"], own["actorClass"]) == (f"/{fleet.web_id}/hub/fleet", "FleetActor")
    assert (await fleet.api.get("actors/hub/fleet"))["path"] == "/hub/fleet"


@pytest.mark.parametrize("path", ["{worker}/hub/targets/18", "worker-0/hub", "hub/writer"])
async def test_actor_that_no_process_shows_is_not_found(fleet: Fleet, path: str) -> None:
    await fleet.api.get(f"actors/{path.format(worker=fleet.worker.id)}", 404)


# -- restarting ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/hub/targets/17", "/hub/devices/5"])
async def test_actor_of_another_process_is_restarted_by_that_process(
    fleet: Fleet, path: str
) -> None:
    answer = await fleet.api.call("POST", f"actors/{fleet.worker.id}{path}/restart")

    assert answer.status == 202
    (order,) = await fleet.worker.orders.take(keeps_house=False)
    assert (order.kind, order.body) == ("restart_actor", {"path": path})


@pytest.mark.parametrize("path", ["{worker}/hub/writer", "worker-0/hub", "{worker}"])
async def test_restart_of_what_is_not_there_is_refused_and_asked_of_nobody(
    fleet: Fleet, path: str
) -> None:
    named = path.format(worker=fleet.worker.id)

    assert (await fleet.api.call("POST", f"actors/{named}/restart")).status == 404
    assert await fleet.worker.orders.take(keeps_house=True) == []


async def test_restart_in_a_process_that_is_lost_is_refused(fleet: Fleet) -> None:
    await fleet.worker.be_lost()

    answer = await fleet.api.call("POST", f"actors/{fleet.worker.id}/hub/targets/17/restart")

    assert answer.status == 404


async def test_actor_of_the_process_that_is_asked_is_restarted_at_once(fleet: Fleet) -> None:
    path = f"actors/{fleet.web_id}/hub/decoders"
    assert (await fleet.api.call("POST", f"{path}/restart")).status == 202

    assert (await fleet.api.get(path))["restarts"] == 1


# -- health ----------------------------------------------------------------------------------


async def test_fleet_is_well_when_all_of_its_processes_are(fleet: Fleet) -> None:
    assert (await fleet.api.get("/healthz"))["status"] == "ok"


async def test_process_and_actor_that_are_the_cause_are_named(fleet: Fleet) -> None:
    await fleet.new_worker()
    await fleet.worker.beat(cause="/hub/writer", reason="/hub/writer crashed")

    answer = await fleet.api.get("/healthz", 503)

    assert answer["actor"] == f"/{fleet.worker.id}/hub/writer"
    assert "/hub/writer crashed" in answer["reason"]


async def test_process_that_is_lost_is_named_until_another_has_taken_its_place(
    fleet: Fleet,
) -> None:
    await fleet.worker.be_lost()
    answer = await fleet.api.get("/healthz", 503)
    assert answer["actor"] == f"/{fleet.worker.id}"
    assert f"worker on {fleet.worker.identity.host}" in answer["reason"]

    await fleet.new_worker()

    assert (await fleet.api.get("/healthz"))["status"] == "ok"
    assert (await fleet.nodes())[f"/{fleet.worker.id}"]["isLost"] is True


async def test_one_newcomer_takes_the_place_of_one_that_is_lost(fleet: Fleet) -> None:
    other = await fleet.new_worker()
    await fleet.worker.be_lost()
    await other.be_lost()
    await fleet.new_worker()

    assert (await fleet.api.get("/healthz", 503))["actor"] in {
        f"/{fleet.worker.id}",
        f"/{other.id}",
    }


async def test_fleet_without_a_worker_is_not_well(fleet: Fleet) -> None:
    await fleet.worker.registry.leave()

    answer = await fleet.api.get("/healthz", 503)

    assert (answer["actor"], answer["reason"]) == (None, NO_WORKER)


async def test_database_that_is_away_is_said_to_be_the_cause(fleet: Fleet) -> None:
    await fleet.api.services.database.close()

    answer = await fleet.api.get("/healthz", 503)

    assert answer["actor"] == f"/{fleet.web_id}"
    assert "database" in answer["reason"].lower()


async def test_readiness_names_the_journal_that_takes_nothing(fleet: Fleet) -> None:
    assert (await fleet.api.get("/readyz"))["status"] == "ready"
    fleet.log.reason = "No broker answers."

    checks = (await fleet.api.get("/readyz", 503))["checks"]

    assert {"name": "journal", "ok": False, "detail": "No broker answers."} in checks


async def test_metrics_count_the_processes_of_the_hub(fleet: Fleet) -> None:
    line = 'tingbro_processes{role="worker",state="living"} 1.0'

    async def is_shown() -> bool:
        return line in (await fleet.api.call("GET", "/metrics")).raw.decode()

    await fleet.until(is_shown)


# -- the journal -----------------------------------------------------------------------------


async def test_partitions_are_shown_with_the_lag_that_their_holder_knows(fleet: Fleet) -> None:
    def make(transaction: Transaction) -> None:
        transaction.execute(delete(journal_cursor))
        for partition in (1, 2):
            row = {"partition": partition, "position": position_of(partition, 80)}
            transaction.insert(journal_cursor, row)

    await fleet.other_database.write(make)
    await CursorClaims(fleet.other_database, fleet.worker.id).take([2])

    assert await fleet.api.get("ledger/journal") == [
        {"partition": 1, "cursor": 80, "lag": None, "holder": None, "epoch": 0, "unreadable": 0},
        {
            "partition": 2,
            "cursor": 80,
            "lag": 33,
            "holder": fleet.worker.id,
            "epoch": 1,
            "unreadable": 0,
        },
    ]


async def test_journal_is_shown_to_administrators_only(fleet: Fleet) -> None:
    machine = await fleet.api.machine(await fleet.api.organization(), "Read")

    await machine.get("ledger/journal", 403)


# -- messages and decoders -------------------------------------------------------------------


async def test_message_is_answered_when_it_is_in_the_journal(fleet: Fleet) -> None:
    device = await fleet.api.device(await fleet.api.application(await fleet.api.organization()))

    answer = await fleet.api.call("POST", f"receive-data?apiKey={device['apiKey']}", {"t": 1})

    assert answer.status == 204
    assert [uplink.payload for uplink in fleet.log.uplinks] == [b'{"t":1}']


async def test_device_that_another_process_deleted_is_refused(fleet: Fleet) -> None:
    device = await fleet.api.device(await fleet.api.application(await fleet.api.organization()))
    path = f"receive-data?apiKey={device['apiKey']}"
    assert (await fleet.api.call("POST", path, {"t": 1})).status == 204

    def remove(transaction: Transaction) -> None:
        transaction.execute(delete(iot_device).where(iot_device.c.id == device["id"]))
        record(transaction, _deletion(device["id"]))

    await fleet.other_database.write(remove)

    async def is_refused() -> bool:
        return (await fleet.api.call("POST", path, {"t": 2})).status == 403

    await fleet.until(is_refused)


async def test_replay_is_asked_of_the_housekeeper_and_forgiveness_of_every_worker(
    fleet: Fleet,
) -> None:
    second = await fleet.new_worker()
    decoder_id = await fleet.api.decoder(await fleet.api.organization())
    await fleet.other_database.write(lambda transaction: _fail(transaction, decoder_id))

    answer = await fleet.api.post(f"payload-decoder/{decoder_id}/replay", {}, 202)

    assert answer == {"queued": 1}
    assert [order.kind for order in await second.orders.take(keeps_house=False)] == [
        "release_decoder"
    ]
    forgive, replay = await fleet.worker.orders.take(keeps_house=True)
    assert (forgive.kind, forgive.body) == ("release_decoder", {"decoderId": decoder_id})
    assert replay.body == {"decoderId": decoder_id, "since": None, "until": None}


async def test_decoders_are_tried_out_in_processes_that_the_first_trial_starts(
    fleet: Fleet,
) -> None:
    code = "function decode(payload) { return {twice: payload.a * 2}; }"
    texts = {"code": code, "iotDeviceJsonString": "{}", "rawPayloadJsonString": '{"a":1}'}
    body = {name: json.dumps(text) for name, text in texts.items()}
    assert fleet.pool.worker_pids == []

    assert await fleet.api.post("test-payload-decoder", body) == {"twice": 2}
    started = fleet.pool.worker_pids
    assert await fleet.api.post("test-payload-decoder", body) == {"twice": 2}

    assert fleet.pool.worker_pids == started != []


def _deletion(device_id: int) -> NewAuditEntry:
    return NewAuditEntry(
        at=START,
        actor_type="user",
        actor_id=1,
        actor_name="admin",
        address=None,
        action="DELETE",
        entity="iot_device",
        entity_id=device_id,
        entity_name=None,
        organization_id=None,
    )


def _fail(transaction: Transaction, decoder_id: int) -> None:
    """Keep a message that the decoder failed on."""
    message_id = new_message_id()
    where = {"message_id": message_id, "position": 1, "device_id": 1, "organization_id": 1}
    received = {"application_id": 1, "device_type": "GENERIC_HTTP", "received_at": 0}
    transaction.insert(message, {**where, **received, "payload": b"{}"})
    failed = {"decoder_id": decoder_id, "generation": 0, "state": "failed", "settled_at": 0}
    transaction.insert(message_job, {**where, **failed})
