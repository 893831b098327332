"""The composition root: the only place where the parts of the hub are made and put together.

Everything is made in the order in which it is needed and taken down in reverse: HTTP first stops
taking requests, then the actors finish what was admitted, then the database closes. What is not
finished by then is in the journal and the outbox, and the next start goes on with it.
"""

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from aiohttp.web import ServerRunner, SockSite

from actors.hub import Hub, HubSettings, Stores
from protocols.decoders import DecoderPool, DecoderSettings
from protocols.errors import StorageUnavailable
from protocols.targets import TargetResources
from protocols.targets.http_session import http_session
from storage import Database, open_database
from storage.deferred import DeferredStore
from storage.device_keys import DeviceKeys
from storage.device_state import DeviceStates
from storage.embedded_journal import EmbeddedJournal
from storage.ledger import Ledger
from storage.outbox import Outbox
from storage.plans import PlanStore
from storage.results import ResultStore
from storage.retention import Retention
from storage.target_settings import TargetSettings
from web.administrators import ensure_administrator
from web.app import build_server
from web.events import HUB_FAIL, HUB_READY, HUB_SHUT_DOWN
from web.listening import claimed_port
from web.secret_key import load_or_create_secret_key
from web.services import Services, WebSettings
from web.settings import Settings, TlsSettings
from web.version import VERSION

# The thread that writes gives the interpreter's lock up at every statement and gets it back only
# when the loop's thread is made to let go: by default after 5 ms, which is longer than a commit.
_SWITCH_INTERVAL_S: Final = 0.0005
# What is there after the start stays; and messages die young, so the oldest generation, whose
# collection stops everything for a quarter of a second at 100,000 actors, is rarely worth a look.
_GC_THRESHOLDS: Final = (50_000, 20, 100)
# Devices that connect at once, as they do after an outage, wait their turn instead of being refused.
_BACKLOG: Final = 1024
# Of the time for stopping, what requests that are under way get.
_REQUESTS_SHARE: Final = 0.25

_log = structlog.get_logger(__name__)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop in order.

    Raises:
        InvalidSettings, PortUnavailable, StorageUnavailable, SchemaMismatch: the hub cannot start;
            the text says why.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    stopping = _stop_on_signals()
    async with contextlib.AsyncExitStack() as stack:
        sockets = stack.enter_context(claimed_port(settings.http.host, settings.http.port))
        database = await stack.enter_async_context(_database(settings))
        generated = await ensure_administrator(
            database,
            settings.administrator.email,
            settings.administrator.password,
            now=datetime.now(UTC),
        )
        if generated is not None:
            _show_password(settings, generated)
        hub = await stack.enter_async_context(_hub(settings, database))
        failure = asyncio.create_task(hub.system.wait_failed())
        stack.callback(failure.cancel)
        await stack.enter_async_context(_http(settings, database, hub, sockets))
        _say(f"Tingbro {VERSION} is ready at {settings.http.base_url}")
        _log.info(HUB_READY, url=settings.http.base_url, version=VERSION)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        stop = asyncio.create_task(stopping.wait())
        stack.callback(stop.cancel)
        await asyncio.wait((failure, stop), return_when=asyncio.FIRST_COMPLETED)
        _log.info(HUB_SHUT_DOWN)
    if failure.done() and not failure.cancelled():
        _log.error(HUB_FAIL, reason=str(failure.result()))
        raise failure.result()


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


@contextlib.asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    _make_data_directory(settings.data_dir)
    database = open_database(settings.storage.database_url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def _make_data_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageUnavailable(
            f"{path} cannot be made ({exc.strerror}): check TINGBRO_DATA_DIR."
        ) from exc


@contextlib.asynccontextmanager
async def _hub(settings: Settings, database: Database) -> AsyncIterator[Hub]:
    journal = EmbeddedJournal(database)
    stores = Stores(
        database=database,
        appender=journal,
        journal=journal,
        ledger=Ledger(database),
        results=ResultStore(database, journal),
        outbox=Outbox(database),
        deferred=DeferredStore(database),
        device_states=DeviceStates(database),
        device_keys=DeviceKeys(database),
        plans=PlanStore(database),
        target_settings=TargetSettings(database),
        retention=Retention(database),
    )
    async with http_session(VERSION) as session:
        hub = Hub(
            stores,
            pool=DecoderPool(DecoderSettings(workers=settings.decoder_workers)),
            target_resources=TargetResources(http_session=session),
            settings=HubSettings(
                raw_retention_days=settings.storage.raw_retention_days,
                max_body_bytes=settings.http.max_body_bytes,
            ),
        )
        try:
            await hub.start()
            yield hub
        finally:
            await hub.stop(timeout_s=settings.shutdown_timeout_s * (1 - _REQUESTS_SHARE))


@contextlib.asynccontextmanager
async def _http(
    settings: Settings, database: Database, hub: Hub, sockets: Sequence[socket.socket]
) -> AsyncIterator[None]:
    web_settings = WebSettings(
        secret_key=settings.secret_key or load_or_create_secret_key(settings.data_dir),
        version=VERSION,
        max_body_bytes=settings.http.max_body_bytes,
        trusted_proxies=settings.http.trusted_proxies,
    )
    server = build_server(
        Services(
            database=database,
            hub=hub,
            target_resources=hub.target_resources,
            settings=web_settings,
        )
    )
    runner = ServerRunner(server, shutdown_timeout=settings.shutdown_timeout_s * _REQUESTS_SHARE)
    await runner.setup()
    try:
        for bound in sockets:
            site = SockSite(runner, bound, ssl_context=_tls(settings.http.tls), backlog=_BACKLOG)
            await site.start()
        yield
    finally:
        await runner.cleanup()


def _tls(tls: TlsSettings | None) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def _show_password(settings: Settings, password: str) -> None:
    """At once: should the rest of the start fail, the administrator is there all the same."""
    _say("This is the first start. The administrator, shown this once:")
    _say(f"  e-mail    {settings.administrator.email}")
    _say(f"  password  {password}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
