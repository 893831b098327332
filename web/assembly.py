"""The parts of a hub, made and put together; `web.run` says which of them a process consists of.

Each is a context manager: entered, it runs; left, it has let go of everything in order.
"""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from actors.house import HOUSEKEEPING
from actors.hub import Hub, HubSettings
from actors.leased_ownership import LeasedOwnership, boot_time_s
from actors.membership import Membership
from actors.runtime import ActorSystem, Clock, SystemClock
from actors.shared_clock import SharedClock
from actors.stores import Stores
from actors.web_hub import WebHub, WebStores
from protocols.adapters import AdapterLimits
from protocols.decoders import DecoderPool, DecoderSettings
from protocols.errors import InvalidSettings
from protocols.targets import TargetResources, discover
from protocols.targets.guarding.guard import Guard
from protocols.targets.http.session import http_session
from storage import Database, open_database
from storage.deferred import DeferredStore
from storage.device_keys import DeviceKeys
from storage.embedded_journal import EmbeddedJournal
from storage.engines import open_signals
from storage.kafka import DecodedPublisher, KafkaAppender, KafkaReader
from storage.kafka.settings import KafkaSettings
from storage.leases import LeaseStore
from storage.ledger import Ledger
from storage.processes import ProcessIdentity
from storage.sealing import SecretBox
from web.kafka_settings import KafkaSecurity
from web.kafka_settings import KafkaSettings as KafkaVariables
from web.settings import Settings
from web.version import VERSION

# Of the time for stopping, what requests that are under way get; the actors have the rest.
REQUESTS_SHARE = 0.25
# Somebody tries a decoder out; that is all that is decoded where messages are taken in.
_TRIAL_WORKERS = 1


class StartedHub(Protocol):
    """What `started` needs of a hub."""

    async def start(self) -> None: ...
    async def stop(self, *, timeout_s: float) -> None: ...


@contextlib.asynccontextmanager
async def opened(
    settings: Settings, *, is_shared: bool = False, migrate: bool = True
) -> AsyncIterator[Database]:
    """The database, open. See `open_database`."""
    database = open_database(settings.storage.database_url, is_shared=is_shared, migrate=migrate)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def target_resources(settings: Settings, clock: Clock) -> AsyncIterator[TargetResources]:
    """What data targets share, kept by the operator's rules to where they may be."""
    discover()  # The first data target would import all kinds of them while the hub runs.
    guard = Guard(settings.targets)
    async with http_session(VERSION, guard=guard) as session:
        yield TargetResources(
            http_session=session, guard=guard, clock_s=lambda: clock.now().timestamp()
        )


@contextlib.asynccontextmanager
async def whole_hub(settings: Settings, database: Database, box: SecretBox) -> AsyncIterator[Hub]:
    """A hub in one process, its journal in the database."""
    journal = EmbeddedJournal(database)
    async with target_resources(settings, SystemClock()) as resources:
        yield Hub(
            Stores.on(database, journal=journal, appender=journal, box=box),
            pool=_decoders(settings.decoder_workers),
            target_resources=resources,
            settings=_hub_settings(settings),
        )


@contextlib.asynccontextmanager
async def worker_hub(
    settings: Settings,
    kafka: KafkaSettings,
    database: Database,
    identity: ProcessIdentity,
    box: SecretBox,
) -> AsyncIterator[Hub]:
    """A hub that reads its share of the topic, and acts for what it holds by lease."""
    reader = KafkaReader(database, kafka, holder=identity.process_id)
    ownership = LeasedOwnership(
        LeaseStore(database, identity.process_id, monotonic=boot_time_s), monotonic=boot_time_s
    )
    publisher = DecodedPublisher(kafka)
    clock = await _shared_clock(database)
    async with target_resources(settings, clock) as resources:
        try:
            yield Hub(
                Stores.on(database, journal=reader, appender=None, box=box, now=clock.now),
                pool=_decoders(settings.decoder_workers),
                target_resources=resources,
                settings=_hub_settings(settings),
                ownership=ownership,
                signals=open_signals(settings.storage.database_url),
                membership=Membership.on(
                    database,
                    identity,
                    keeps_house=lambda: ownership.holds(HOUSEKEEPING),
                    clock=clock,
                ),
                publish=publisher.publish,
                system=ActorSystem(name="hub", clock=clock),
            )
        finally:
            await publisher.stop()


@contextlib.asynccontextmanager
async def web_hub(
    settings: Settings, kafka: KafkaSettings, database: Database, identity: ProcessIdentity
) -> AsyncIterator[WebHub]:
    """A hub that takes messages in and answers for the others."""
    clock = await _shared_clock(database)
    async with KafkaAppender(database, kafka) as appender:
        yield WebHub(
            WebStores(
                database=database,
                appender=appender,
                ledger=Ledger(database),
                deferred=DeferredStore(database),
                device_keys=DeviceKeys(database),
            ),
            pool=_decoders(_TRIAL_WORKERS),
            membership=Membership.on(database, identity, clock=clock),
            system=ActorSystem(name="hub", clock=clock),
            limits=AdapterLimits(max_body_bytes=settings.http.max_body_bytes),
        )


@contextlib.asynccontextmanager
async def started(hub: StartedHub, settings: Settings) -> AsyncIterator[None]:
    """The hub, running. Also what failed to start is stopped."""
    try:
        await hub.start()
        yield
    finally:
        await hub.stop(timeout_s=settings.shutdown_timeout_s * (1 - REQUESTS_SHARE))


async def _shared_clock(database: Database) -> SharedClock:
    clock = SharedClock(database, boot_time_s)
    await clock.adjust()
    return clock


def kafka_of(variables: KafkaVariables) -> KafkaSettings:
    """What the room of Kafka needs to know, of what the operator has said."""
    prefix = variables.topic_prefix
    return KafkaSettings(
        bootstrap_servers=",".join(variables.bootstrap_servers),
        raw_topic=f"{prefix}uplink.raw",
        decoded_topic=f"{prefix}uplink.decoded",
        group=f"{prefix}tingbro",
        partitions=variables.partitions,
        replication=variables.replication,
        min_insync=max(1, variables.replication - 1),
        connection=_connection(variables.security),
    )


def _connection(security: KafkaSecurity) -> dict[str, object]:
    protocol, login = security.protocol, security.login
    options: dict[str, object] = {"security_protocol": protocol.value.upper()}
    if protocol.is_encrypted:
        options["ssl_context"] = _trusting(security.ca_file)
    if login is not None:
        options["sasl_mechanism"] = login.mechanism.value.upper()
        options["sasl_plain_username"] = login.username
        options["sasl_plain_password"] = login.password
    return options


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as exc:
        raise InvalidSettings(
            [f"TINGBRO_KAFKA_CA_FILE holds no certificates that can be used: {ca_file}."]
        ) from exc


def _decoders(workers: int) -> DecoderPool:
    return DecoderPool(DecoderSettings(workers=workers))


def _hub_settings(settings: Settings) -> HubSettings:
    return HubSettings(
        raw_retention_days=settings.storage.raw_retention_days,
        max_body_bytes=settings.http.max_body_bytes,
    )
