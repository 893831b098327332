"""The management API over a real socket, as its tests use it."""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp.web import ServerRunner, TCPSite

from protocols.targets import TargetResources
from protocols.targets.http.session import http_session
from storage import Database, open_database
from storage.sealing import SecretBox
from tests.support.fake_hub import FakeHub
from tests.support.guards import loopback_guard
from web.administrators import ensure_administrator
from web.app import build_server
from web.hub_port import HubPort
from web.services import Services, WebSettings
from web.tokens import Session, TokenSigner

EMAIL = "admin@example.org"
PASSWORD = "correct-horse-battery"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET_KEY = "k" * 32


@dataclass
class Clock:
    """Time that stands until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)


@dataclass
class Api:
    """One running web over its own database. Speaks as whoever `headers` say."""

    session: aiohttp.ClientSession
    port: int
    services: Services
    hub: FakeHub
    clock: Clock
    headers: dict[str, str] = field(default_factory=dict)
    names: int = 0

    @property
    def database(self) -> Database:
        return self.services.database

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """One request below `/api/v1/`, or anywhere with a leading slash."""
        if body is not None:
            options["data"] = orjson.dumps(body)
            options.setdefault("headers", {})["Content-Type"] = "application/json"
        options["headers"] = {**self.headers, **options.get("headers", {})}
        url = path if path.startswith("/") else f"/api/v1/{path}"
        async with self.session.request(
            method, f"http://127.0.0.1:{self.port}{url}", **options
        ) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.call("GET", path)
        assert answer.status == status, answer
        return answer.json

    async def post(self, path: str, body: Any, status: int = 201) -> Any:
        answer = await self.call("POST", path, body)
        assert answer.status == status, answer
        return answer.json

    async def put(self, path: str, body: Any, status: int = 200) -> Any:
        answer = await self.call("PUT", path, body)
        assert answer.status == status, answer
        return answer.json

    async def delete(self, path: str, status: int = 200) -> Any:
        answer = await self.call("DELETE", path)
        assert answer.status == status, answer
        return answer.json

    async def login(self, email: str = EMAIL, password: str = PASSWORD) -> None:
        token = await self.post("auth/login", {"username": email, "password": password})
        self.headers["Authorization"] = f"Bearer {token['accessToken']}"

    def sign_in(self) -> None:
        """Become the administrator without the cost of checking a password."""
        session = Session(user_id=1, username=EMAIL, credentials_version=1)
        token = TokenSigner(SECRET_KEY, 3600).issue(session, self.clock())
        self.headers["Authorization"] = f"Bearer {token}"

    def anonymous(self) -> "Api":
        return Api(self.session, self.port, self.services, self.hub, self.clock)

    async def machine(self, organization_id: int, *levels: str) -> "Api":
        """The API as a key with those permission levels in that organization."""
        made = await self.post(
            "api-key",
            {"name": "machine", "organizationId": organization_id, "levels": list(levels)},
        )
        other = self.anonymous()
        other.headers["X-API-KEY"] = made["key"]
        return other

    async def organization(self) -> int:
        return int((await self.post("organization", {"name": self._name()}))["id"])

    async def application(self, organization_id: int, **more: Any) -> int:
        body = {"name": self._name(), "organizationId": organization_id, **more}
        return int((await self.post("application", body))["id"])

    async def device(self, application_id: int, **more: Any) -> dict[str, Any]:
        body = {
            "name": self._name(),
            "type": "GENERIC_HTTP",
            "applicationId": application_id,
            **more,
        }
        made: dict[str, Any] = await self.post("iot-device", body)
        return made

    async def decoder(self, organization_id: int, code: str = "function decode() {}") -> int:
        body = {
            "name": self._name(),
            "organizationId": organization_id,
            "decodingFunction": orjson.dumps(code).decode(),
        }
        return int((await self.post("payload-decoder", body))["id"])

    async def target(self, application_id: int, **more: Any) -> dict[str, Any]:
        body = {
            "name": self._name(),
            "type": "HTTP_PUSH",
            "applicationId": application_id,
            "url": "https://example.org/in",
            "timeout": 5000,
            **more,
        }
        made: dict[str, Any] = await self.post("data-target", body)
        return made

    def _name(self) -> str:
        self.names += 1
        return f"name {self.names}"


@cache
def _template() -> Path:
    """A database with nothing in it but the administrator: migrating and hashing take their time."""
    file = Path(tempfile.mkdtemp(prefix="tingbro-tests-")) / "template.db"
    atexit.register(shutil.rmtree, file.parent, ignore_errors=True)

    async def make() -> None:
        database = open_database(f"sqlite:///{file}")
        await database.open()
        await ensure_administrator(database, EMAIL, PASSWORD, now=START)
        await database.close()

    # In a thread of its own, because a loop is running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, make()).result()
    return file


@asynccontextmanager
async def administered_database(directory: Path) -> AsyncIterator[Database]:
    """An open database with an administrator."""
    file = directory / "api.db"
    shutil.copy(_template(), file)
    database = open_database(f"sqlite:///{file}")
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def served(
    database: Database, hub: HubPort, clock: Clock, **settings: Any
) -> AsyncIterator[tuple[int, Services]]:
    """The web of a hub on a free port."""
    guard = loopback_guard()
    async with http_session(guard=guard) as session:
        services = Services(
            database=database,
            hub=hub,
            target_resources=TargetResources(http_session=session, guard=guard),
            settings=WebSettings(secret_key=SECRET_KEY, version="1.2.3", **settings),
            box=SecretBox(SECRET_KEY),
            clock=clock,
        )
        runner = ServerRunner(build_server(services))
        await runner.setup()
        await TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield runner.addresses[0][1], services
        finally:
            await runner.cleanup()


@asynccontextmanager
async def running_api(directory: Path, **settings: Any) -> AsyncIterator[Api]:
    """The web on a free port, with an administrator, nobody logged in."""
    async with (
        administered_database(directory) as database,
        api_on(database, Clock(), **settings) as api,
    ):
        yield api


@asynccontextmanager
async def api_on(database: Database, clock: Clock, **settings: Any) -> AsyncIterator[Api]:
    """The web over an open database, on a free port, nobody logged in."""
    hub = FakeHub()
    async with (
        served(database, hub, clock, **settings) as (port, services),
        aiohttp.ClientSession() as session,
    ):
        yield Api(session, port, services, hub, clock)
