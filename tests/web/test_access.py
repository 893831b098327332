"""Who is let in where: every route, as every kind of caller."""

import re

import pytest
from prometheus_client import CollectorRegistry

from protocols.errors import AccessDenied, Unauthenticated
from storage.repositories import EVERYWHERE, Page, audit
from tests.support.api_client import Api
from web.access import (
    ANONYMOUS,
    PEOPLE,
    Caller,
    CallerKind,
    Level,
    Needs,
    admit,
    readable_scope,
    scope_for,
)
from web.app import build_routes
from web.routing import Route, RouteTable
from web.tokens import TokenSigner

PUBLIC = {
    "/",
    "/api/v1",
    "/api/v1/auth/login",
    "/api/v1/docs",
    "/api/v1/docs-json",
    "/api/v1/open-data-dk-sharing/{organizationId}",
    "/api/v1/open-data-dk-sharing/{organizationId}/data/{shareId}",
    "/api/v1/openapi.json",
    "/api/v1/healthcheck",
    "/healthz",
    "/metrics",
    "/readyz",
}

SOME_UUID = "019b7d7e-0000-7000-8000-000000000000"


def every_route() -> list[Route]:
    return build_routes(TokenSigner("k" * 32, 60), CollectorRegistry(), version="0")


def concrete(route: Route) -> str:
    path = route.path.replace("{path*}", "hub/restart")
    return re.sub(r"\{\w+\}", "1", re.sub(r"\{\w+:uuid\}", SOME_UUID, path))


def test_only_these_routes_are_open_to_all() -> None:
    assert {route.path for route in every_route() if route.needs is Needs.NOTHING} == PUBLIC


async def test_no_route_but_the_open_ones_answers_strangers(anonymous: Api) -> None:
    for route in every_route():
        if route.path not in PUBLIC:
            answer = await anonymous.call(route.method, concrete(route))
            assert answer.status == 401, route


async def test_key_that_may_read_changes_nothing(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization)
    await api.device(application)
    await api.target(application)
    await api.decoder(organization)
    machine = await api.machine(organization, "Read")
    api.hub.changes.clear()
    for route in every_route():
        if route.method != "GET" and route.needs is not Needs.NOTHING:
            answer = await machine.call(route.method, concrete(route), {})
            allowed = route.path == "/api/v1/test-payload-decoder"
            assert answer.status == (400 if allowed else 403), (route, answer)
    assert api.hub.changes == []


def test_route_that_does_not_say_what_it_needs_is_no_route() -> None:
    route = every_route()[0]
    broken = Route(
        method="GET",
        path="/x",
        needs=None,  # type: ignore[arg-type]  # what a careless author would write
        handler=route.handler,
        summary="",
        tag="",
    )
    with pytest.raises(TypeError, match="does not declare"):
        RouteTable([broken])


def test_route_declared_twice_is_refused() -> None:
    route = every_route()[0]
    with pytest.raises(ValueError, match="twice"):
        RouteTable([route, route])


READERS = [Level.READ, Level.APPLICATION_ADMIN, Level.USER_ADMIN]


@pytest.mark.parametrize("level", list(Level))
def test_what_a_level_lets_read(level: Level) -> None:
    caller = Caller(kind=CallerKind.API_KEY, levels={7: frozenset({level})})
    assert readable_scope(caller).allows(7) is (level in READERS)
    assert not readable_scope(caller).allows(8)
    assert not readable_scope(caller).allows(None)


@pytest.mark.parametrize(
    ("needs", "level"),
    [(Needs.APPLICATION_ADMIN, Level.APPLICATION_ADMIN), (Needs.USER_ADMIN, Level.USER_ADMIN)],
)
def test_writing_takes_exactly_its_level(needs: Needs, level: Level) -> None:
    for held in Level:
        caller = Caller(kind=CallerKind.USER, levels={7: frozenset({held})})
        assert scope_for(caller, needs).allows(7) is (held is level)


def test_nobody_but_an_administrator_is_a_global_one() -> None:
    caller = Caller(kind=CallerKind.USER, levels={7: frozenset(Level)})
    with pytest.raises(AccessDenied):
        admit(caller, Needs.GLOBAL_ADMIN, PEOPLE)
    admit(Caller(kind=CallerKind.USER, is_administrator=True), Needs.GLOBAL_ADMIN, PEOPLE)


def test_stranger_and_key_are_told_apart() -> None:
    with pytest.raises(Unauthenticated):
        admit(ANONYMOUS, Needs.SIGNED_IN, PEOPLE)
    with pytest.raises(AccessDenied):
        admit(Caller(kind=CallerKind.API_KEY), Needs.SIGNED_IN, PEOPLE)


class TwoCities:
    """Two organizations with everything in them; `machine` belongs to the first."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def found(self) -> "TwoCities":
        self.own, self.foreign = await self.api.organization(), await self.api.organization()
        self.own_application = await self.api.application(self.own)
        self.application = await self.api.application(self.foreign)
        self.device = (await self.api.device(self.application))["id"]
        self.target = (await self.api.target(self.application))["id"]
        self.decoder = await self.api.decoder(self.foreign)
        body = {
            "iotDeviceIds": [self.device],
            "payloadDecoderId": self.decoder,
            "dataTargetId": self.target,
        }
        made = await self.api.post("iot-device-payload-decoder-data-target-connection", body)
        self.connection = made["id"]
        self.machine = await self.api.machine(self.own, "Read", "OrganizationApplicationAdmin")
        self.api.hub.changes.clear()
        return self


@pytest.fixture
async def cities(api: Api) -> TwoCities:
    return await TwoCities(api).found()


CONNECTION = "iot-device-payload-decoder-data-target-connection"


async def test_things_of_another_organization_do_not_exist(cities: TwoCities) -> None:
    c = cities
    for path in (
        f"organization/{c.foreign}",
        f"application/{c.application}",
        f"application/{c.application}/iot-devices",
        f"application/{c.foreign}/iot-devices-org",
        f"application/{c.application}/iot-devices-map",
        f"application/{c.foreign}/filter-information",
        f"application/{c.foreign}/application-dashboard-data",
        f"iot-device/{c.device}",
        f"iot-device/minimalByPayloadDecoder/{c.decoder}",
        f"payload-decoder/{c.decoder}",
        f"data-target/{c.target}",
        f"datatarget-log/{c.target}",
        f"data-target/{c.target}/unacknowledged",
        f"data-target/{c.target}/unacknowledged?lease=30s",
        f"data-target/{c.target}/dead-letters",
        f"data-target/{c.target}/dead-letters/{SOME_UUID}",
        f"data-target/{c.target}/attempts",
        f"data-target/{c.target}/events",
        f"data-target/{c.target}/replay",
        f"{CONNECTION}/{c.connection}",
    ):
        assert (await c.machine.call("GET", path)).status == 404, path


async def test_lists_show_the_own_organization_only(cities: TwoCities) -> None:
    c = cities
    for path, expected in (
        ("organization", 1),
        ("organization/minimal", 1),
        ("application", 1),
        (f"application?organizationId={c.foreign}", 0),
        ("payload-decoder", 0),
        (f"payload-decoder?organizationId={c.foreign}", 0),
        ("payload-decoder/minimal", 0),
        ("data-target", 0),
        (f"data-target?applicationId={c.application}", 0),
        (CONNECTION, 0),
        (f"{CONNECTION}/byIoTDevice/{c.device}", 0),
        (f"{CONNECTION}/byPayloadDecoder/{c.decoder}", 0),
        (f"{CONNECTION}/byDataTarget/{c.target}", 0),
    ):
        found = await c.machine.get(path)
        assert found["count"] == expected, path
        assert len(found["data"]) == expected, path


async def test_things_of_another_organization_cannot_be_changed(cities: TwoCities) -> None:
    c = cities
    device = {"name": "x", "type": "GENERIC_HTTP", "applicationId": c.application}
    target = {
        "name": "x",
        "type": "HTTP_PUSH",
        "applicationId": c.application,
        "url": "https://example.org",
        "timeout": 1000,
    }
    decoder = {"name": "x", "organizationId": c.foreign, "decodingFunction": '"x"'}
    connection = {"iotDeviceIds": [c.device], "dataTargetId": c.target}
    for method, path, body in (
        ("PUT", f"application/{c.application}", {"name": "x"}),
        ("DELETE", f"application/{c.application}", None),
        (
            "PUT",
            f"application/updateApplicationOrganization/{c.application}",
            {"organizationId": c.own},
        ),
        ("PUT", f"iot-device/{c.device}", device),
        ("PUT", f"iot-device/resetHttpDeviceApiKey/{c.device}", None),
        ("PUT", f"iot-device/changeApplication/{c.device}", {"applicationId": c.own_application}),
        ("DELETE", f"iot-device/{c.device}", None),
        ("PUT", f"payload-decoder/{c.decoder}", {**decoder, "organizationId": c.own}),
        ("POST", f"payload-decoder/{c.decoder}/replay", None),
        ("DELETE", f"payload-decoder/{c.decoder}", None),
        ("PUT", f"data-target/{c.target}", target),
        ("POST", f"data-target/{c.target}/acknowledge", {"ids": [SOME_UUID]}),
        ("POST", f"data-target/{c.target}/replay", {"sinceFailure": True}),
        ("DELETE", f"data-target/{c.target}/replay/1", None),
        ("DELETE", f"data-target/{c.target}", None),
        ("POST", f"data-target/{c.target}/rotate-secret", None),
        ("POST", f"data-target/{c.target}/enable", None),
        ("POST", f"data-target/{c.target}/disable", None),
        ("POST", f"data-target/{c.target}/test", None),
        ("POST", "data-target/testDataTarget", {"dataTargetId": c.target}),
        ("PUT", f"{CONNECTION}/{c.connection}", connection),
        ("PUT", f"{CONNECTION}/appendCopiedDevice/{c.connection}", {"deviceId": c.device}),
        ("DELETE", f"{CONNECTION}/{c.connection}", None),
    ):
        answer = await c.machine.call(method, path, body)
        assert answer.status == 404, (method, path, answer)
    for method, path, body in (
        ("POST", "application", {"name": "x", "organizationId": c.foreign}),
        (
            "PUT",
            f"application/updateApplicationOrganization/{c.own_application}",
            {"organizationId": c.foreign},
        ),
        ("POST", "iot-device", device),
        ("POST", "payload-decoder", decoder),
        ("POST", "data-target", target),
        ("POST", CONNECTION, connection),
    ):
        answer = await c.machine.call(method, path, body)
        assert answer.status == 400, (method, path, answer)
    assert c.api.hub.changes == []
    assert c.api.hub.replays == []
    assert c.api.hub.withdrawn == []


async def test_ledger_is_asked_for_the_own_organizations(cities: TwoCities) -> None:
    await cities.machine.get("ledger")
    await cities.api.get("ledger")
    assert cities.api.hub.asked_ledgers == [[cities.own], None]


async def test_change_that_only_reading_permits_is_rolled_back(api: Api) -> None:
    """The last line of defence: a handler that let it through would still not change anything."""
    from storage.database import Transaction
    from storage.repositories import Author, organizations
    from web.call import Action, Call, Change, Changed
    from web.hub_port import Entity

    organization = await api.organization()
    caller = Caller(kind=CallerKind.API_KEY, id=1, levels={organization: frozenset({Level.READ})})
    call = Call(
        services=api.services,
        caller=caller,
        needs=Needs.APPLICATION_ADMIN,
        address="here",
        path={},
        query={},
        body={},
    )

    def unit(transaction: Transaction, author: Author) -> Changed[None]:
        organizations.update_name(transaction, organization, "stolen", author)
        change = Change(
            action=Action.UPDATE,
            entity=Entity.ORGANIZATION,
            entity_id=organization,
            name="stolen",
            organization_ids=(organization,),
        )
        return Changed(None, change)

    api.hub.changes.clear()
    with pytest.raises(AccessDenied):
        await call.change(unit)
    assert (await api.get(f"organization/{organization}"))["name"] != "stolen"
    assert api.hub.changes == []


async def test_every_change_is_in_the_audit_log(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization)
    await api.put(f"application/{application}", {"name": "renamed"})
    await api.delete(f"application/{application}")
    page = await api.database.read(lambda reader: audit.list_page(reader, EVERYWHERE, Page()))
    told = [(row.action, row.entity, row.entity_id, row.entity_name) for row in page.rows]
    assert told == [
        ("CREATE", "organization", organization, "name 1"),
        ("CREATE", "application", application, "name 2"),
        ("UPDATE", "application", application, "renamed"),
        ("DELETE", "application", application, "renamed"),
    ]
    assert {(row.actor_type, row.actor_id, row.actor_name) for row in page.rows} == {
        ("user", 1, "admin@example.org")
    }
    assert all(row.address == "127.0.0.1" for row in page.rows)


async def test_refused_change_leaves_no_trace(api: Api) -> None:
    await api.put("organization/99", {"name": "x"}, 404)
    page = await api.database.read(lambda reader: audit.list_page(reader, EVERYWHERE, Page()))
    assert page.rows == []
    assert api.hub.changes == []


async def test_rest_of_the_hub_is_told_of_every_change(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization)
    device = (await api.device(application))["id"]
    target = (await api.target(application))["id"]
    decoder = await api.decoder(organization)
    assert api.hub.changes == [
        ("organization", organization),
        ("application", application),
        ("iot_device", device),
        ("data_target", target),
        ("payload_decoder", decoder),
    ]
    await api.machine(organization, "Read")
    assert len(api.hub.changes) == 5
