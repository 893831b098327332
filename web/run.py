"""What a process consists of: `tingbro up`, `tingbro web`, `tingbro worker`.

The composition root: the only place where the parts of the hub are put together. Everything is
started in the order in which it is needed and taken down in reverse: HTTP first stops
taking requests, then the actors finish what was admitted, then the database closes. What is not
finished by then is in the journal and the outbox, and the next start goes on with it.
"""

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog
from aiohttp.web import ServerRunner, SockSite

from actors.runtime import ActorSystem, Clock
from protocols.errors import StorageAway, StorageUnavailable
from protocols.targets import TargetResources
from storage import Database
from storage.processes import ProcessIdentity, ProcessRole
from storage.sealing import SecretBox
from web import assembly
from web.administrators import ensure_administrator
from web.app import build_server
from web.events import HUB_AWAIT_DATABASE, HUB_FAIL, HUB_READY, HUB_SHUT_DOWN
from web.hub_port import HubPort
from web.interpreter import settle_heap, share_lock
from web.listening import claimed_port
from web.migration import check_handed_over
from web.roles import Role
from web.secret_key import load_or_create_secret_key
from web.secret_sealing import seal_stored_secrets
from web.services import Services, WebSettings
from web.settings import Settings, TlsSettings
from web.version import VERSION
from web.waiting_room import waiting_room

# Devices that connect at once, as they do after an outage, wait their turn instead of being refused.
_BACKLOG: Final = 1024
# Between two looks for a server that is away; each look takes up to the time for connecting.
_DATABASE_RETRY_S: Final = 1.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """A signal asked for the end before the start was done."""


async def run(settings: Settings) -> None:
    """Be a whole hub until SIGTERM or SIGINT, then stop in order.

    Raises:
        InvalidSettings, PortUnavailable, StorageUnavailable, SchemaMismatch: the hub cannot start;
            the text says why. The same holds for the other roles.
    """
    async with _process() as (stack, stopping):
        sockets = stack.enter_context(claimed_port(settings.http.host, settings.http.port))
        _make_directory(settings.data_dir)
        database = await stack.enter_async_context(assembly.opened(settings))
        await _ensure_administrator(settings, database)
        box = await _secret_box(settings, database)
        hub = await stack.enter_async_context(assembly.whole_hub(settings, database, box))
        await _enter(stack, assembly.started(hub, settings), stopping)
        await stack.enter_async_context(
            _http(settings, database, hub, hub.target_resources, box, sockets, hub.system.clock)
        )
        await _serve(settings.http.base_url, hub.system, stopping)


async def run_web(settings: Settings) -> None:
    """Take messages in and serve the API, beside the workers of the same hub."""
    assert settings.kafka is not None, "the role demands it"
    kafka = assembly.kafka_of(settings.kafka)
    identity = _identity(settings, Role.WEB)
    async with _process() as (stack, stopping):
        sockets = stack.enter_context(claimed_port(settings.http.host, settings.http.port))
        async with contextlib.AsyncExitStack() as meanwhile:

            async def turn_away(reason: str) -> None:
                room = waiting_room(reason, sockets, ssl_context=_tls(settings.http.tls))
                await meanwhile.enter_async_context(room)

            database = await _fleet_database(settings, stack, stopping, turn_away)
            await _ensure_administrator(settings, database)
            box = await _secret_box(settings, database)
            hub = await stack.enter_async_context(
                assembly.web_hub(settings, kafka, database, identity)
            )
            await _enter(stack, assembly.started(hub, settings), stopping)
            clock = hub.system.clock
            resources = await stack.enter_async_context(assembly.target_resources(settings, clock))
            await stack.enter_async_context(
                _http(settings, database, hub, resources, box, sockets, clock)
            )
        await _serve(settings.http.base_url, hub.system, stopping)


async def run_worker(settings: Settings) -> None:
    """Decode and deliver a share of what the hub has taken in."""
    assert settings.kafka is not None, "the role demands it"
    kafka = assembly.kafka_of(settings.kafka)
    identity = _identity(settings, Role.WORKER)
    async with _process() as (stack, stopping):
        database = await _fleet_database(settings, stack, stopping)
        box = await _secret_box(settings, database)
        hub = await stack.enter_async_context(
            assembly.worker_hub(settings, kafka, database, identity, box)
        )
        await _enter(stack, assembly.started(hub, settings), stopping)
        await _serve(None, hub.system, stopping)


def _identity(settings: Settings, role: Role) -> ProcessIdentity:
    return ProcessIdentity.of_this_process(
        ProcessRole(role), name=settings.process_name, version=VERSION
    )


@contextlib.asynccontextmanager
async def _process() -> AsyncIterator[tuple[contextlib.AsyncExitStack, asyncio.Event]]:
    share_lock()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        with contextlib.suppress(_Stopped):
            yield stack, stopping


async def _enter(
    stack: contextlib.AsyncExitStack,
    part: contextlib.AbstractAsyncContextManager[None],
    stopping: asyncio.Event,
) -> None:
    """Enter `part`, which may wait for other servers for as long as they are away, unless asked to stop."""
    entering = asyncio.create_task(stack.enter_async_context(part))
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait((entering, stop), return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not entering.done():
        entering.cancel()
        await asyncio.wait((entering,))
        raise _Stopped
    entering.result()


async def _fleet_database(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    stopping: asyncio.Event,
    when_away: Callable[[str], Awaitable[None]] | None = None,
) -> Database:
    """Open what the processes of a fleet share, once it is there: they start in any order.

    Args:
        when_away: called once, with a sentence, should the server be away.
    """
    is_told = False
    while not stopping.is_set():
        async with contextlib.AsyncExitStack() as attempt:
            try:
                database = await attempt.enter_async_context(
                    assembly.opened(settings, is_shared=True, migrate=False)
                )
                await check_handed_over(database)
            except StorageAway as error:
                if not is_told:
                    _log.warning(HUB_AWAIT_DATABASE, reason=str(error))
                    if when_away is not None:
                        await when_away(str(error))
                is_told = True
            else:
                stack.push_async_exit(attempt.pop_all())
                return database
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _DATABASE_RETRY_S)
    raise _Stopped


async def _serve(url: str | None, system: ActorSystem, stopping: asyncio.Event) -> None:
    """Say that all is ready, and return when it is to end."""
    _say(f"Tingbro {VERSION} is ready{f' at {url}' if url else ''}")
    _log.info(HUB_READY, url=url, version=VERSION)
    settle_heap()
    failure = asyncio.create_task(system.wait_failed())
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait((failure, stop), return_when=asyncio.FIRST_COMPLETED)
    for task in (failure, stop):
        task.cancel()
    _log.info(HUB_SHUT_DOWN)
    if failure.done() and not failure.cancelled():
        _log.error(HUB_FAIL, reason=str(failure.result()))
        raise failure.result()


async def _ensure_administrator(settings: Settings, database: Database) -> None:
    administrator = settings.administrator
    generated = await ensure_administrator(
        database, administrator.email, administrator.password, now=datetime.now(UTC)
    )
    if generated is not None:
        _show_password(settings, generated)


async def _secret_box(settings: Settings, database: Database) -> SecretBox:
    box = SecretBox(_secret_key(settings))
    await seal_stored_secrets(database, box)
    return box


def _secret_key(settings: Settings) -> str:
    return settings.secret_key or load_or_create_secret_key(settings.data_dir)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageUnavailable(
            f"{path} cannot be made ({exc.strerror}): check TINGBRO_DATA_DIR."
        ) from exc


@contextlib.asynccontextmanager
async def _http(
    settings: Settings,
    database: Database,
    hub: HubPort,
    target_resources: TargetResources,
    box: SecretBox,
    sockets: Sequence[socket.socket],
    clock: Clock,
) -> AsyncIterator[None]:
    server = build_server(
        Services(
            database=database,
            hub=hub,
            target_resources=target_resources,
            settings=_web_settings(settings),
            box=box,
            clock=clock.now,
        )
    )
    timeout_s = settings.shutdown_timeout_s * assembly.REQUESTS_SHARE
    runner = ServerRunner(server, shutdown_timeout=timeout_s)
    await runner.setup()
    try:
        for bound in sockets:
            site = SockSite(runner, bound, ssl_context=_tls(settings.http.tls), backlog=_BACKLOG)
            await site.start()
        yield
    finally:
        await runner.cleanup()


def _web_settings(settings: Settings) -> WebSettings:
    return WebSettings(
        secret_key=_secret_key(settings),
        version=VERSION,
        base_url=settings.http.base_url,
        max_body_bytes=settings.http.max_body_bytes,
        trusted_proxies=settings.http.trusted_proxies,
    )


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
