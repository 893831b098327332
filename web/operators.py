"""For those who run the hub: is it well, what is it doing, and where is everything."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp.web import Response
from prometheus_client import CollectorRegistry

from protocols.errors import NotFound
from storage.database import Transaction
from storage.repositories import Author
from web import metrics
from web.access import Needs, member_scope
from web.answers import json_response
from web.call import Action, Call, Change, Changed
from web.errors import Refusal
from web.hub_port import Entity
from web.routing import API_ROOT, Route

_TAG = "operation"
_RESTART = "/restart"


def routes(registry: CollectorRegistry) -> list[Route]:
    async def show_metrics(_call: Call) -> Response:
        return Response(
            body=metrics.render(registry), headers={"Content-Type": metrics.CONTENT_TYPE}
        )

    return [
        _route("GET", "/healthz", Needs.NOTHING, _health, "Whether the hub is well, or the cause"),
        _route("GET", "/readyz", Needs.NOTHING, _ready, "Whether the hub can take traffic"),
        _route("GET", "/metrics", Needs.NOTHING, show_metrics, "Metrics for Prometheus"),
        _route("GET", "/", Needs.NOTHING, _greet, "What this is"),
        _route("GET", f"{API_ROOT}", Needs.NOTHING, _greet, "What this is"),
        _route(
            "GET", f"{API_ROOT}/healthcheck", Needs.NOTHING, _healthcheck, "OK when all is well"
        ),
        _route("GET", f"{API_ROOT}/actors", Needs.GLOBAL_ADMIN, _actors, "The tree of actors"),
        _route("GET", f"{API_ROOT}/actors/{{path*}}", Needs.GLOBAL_ADMIN, _actor, "One actor"),
        _route(
            "POST",
            f"{API_ROOT}/actors/{{path*}}",
            Needs.GLOBAL_ADMIN,
            _restart,
            "Restart an actor: the path ends in /restart",
        ),
        _route(
            "GET",
            f"{API_ROOT}/ledger",
            Needs.SIGNED_IN,
            _ledger,
            "What became of every message that was accepted, for each organization",
        ),
        _route(
            "GET",
            f"{API_ROOT}/ledger/journal",
            Needs.GLOBAL_ADMIN,
            _journal,
            "How far each partition of the journal is settled, and by which process",
        ),
    ]


async def _health(call: Call) -> Response:
    is_well, path, reason = await call.services.hub.health()
    body = {"status": "ok" if is_well else "failing", "actor": path, "reason": reason}
    return json_response(body, status=200 if is_well else 503)


async def _ready(call: Call) -> Response:
    checks = call.services.hub.readiness()
    is_ready = all(check.is_ok for check in checks)
    body = {
        "status": "ready" if is_ready else "not ready",
        "checks": [
            {"name": check.name, "ok": check.is_ok, "detail": check.detail} for check in checks
        ],
    }
    return json_response(body, status=200 if is_ready else 503)


async def _healthcheck(call: Call) -> Response:
    is_well, _path, reason = await call.services.hub.health()
    return Response(text="OK" if is_well else reason, status=200 if is_well else 500)


async def _greet(call: Call) -> Response:
    return Response(text=f"Tingbro {call.services.settings.version}; see {API_ROOT}/docs\n")


async def _actors(call: Call) -> Mapping[str, Any]:
    return _in_camel_case(await call.services.hub.actor_tree())


async def _actor(call: Call) -> Mapping[str, Any]:
    found = await call.services.hub.actor(call.path["path"])
    if found is None:
        raise NotFound("There is no such actor.")
    return _in_camel_case(found)


async def _restart(call: Call) -> Response:
    path: str = call.path["path"]
    if not path.lower().endswith(_RESTART):
        raise Refusal(
            405,
            "An actor can be restarted: POST to its path followed by /restart.",
            headers={"Allow": "GET, HEAD"},
        )
    path = path[: -len(_RESTART)]
    await call.services.hub.restart_actor(path)

    def unit(transaction: Transaction, author: Author) -> Changed[None]:
        change = Change(
            action=Action.RESTART,
            entity=Entity.ACTOR,
            entity_id=None,
            name=path,
            organization_ids=(),
        )
        return Changed(None, change)

    await call.change(unit)
    return json_response({"path": path}, status=202)


async def _ledger(call: Call) -> Sequence[Mapping[str, object]]:
    scope = member_scope(call.caller)
    ids = None if scope.organization_ids is None else sorted(scope.organization_ids)
    return await call.services.hub.ledger(ids)


async def _journal(call: Call) -> Sequence[Mapping[str, object]]:
    return await call.services.hub.journal()


def _in_camel_case(actor: Mapping[str, Any]) -> Mapping[str, Any]:
    """An actor and its children, in the names of this API."""
    named = {_camel(name): value for name, value in actor.items()}
    if "children" in named:
        named["children"] = [_in_camel_case(child) for child in named["children"]]
    return named


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.capitalize() for each in others)


def _route(method: str, path: str, needs: Needs, handler: Any, summary: str) -> Route:
    return Route(method=method, path=path, needs=needs, handler=handler, summary=summary, tag=_TAG)
