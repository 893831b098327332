"""Which route a request is for.

Existing clients write `/Application` and leave slashes at the end, so a segment is matched as it
stands first, without regard to case second, and as a parameter last. A route has no way to exist
without saying what it needs of its caller: `Route.needs` has no default.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import Schema

from web.access import PEOPLE_AND_MACHINES, CallerKind, Needs
from web.call import Call
from web.errors import Refusal

API_ROOT = "/api/v1"
LARGEST_ID = 2**31 - 1

_UUID_SUFFIX = ":uuid"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `path` has parameters as `{id}`, a number, as `{id:uuid}`, or at its end as
    `{name*}`, the rest.

    A handler returns what `reply` dumps, or a response of its own.
    """

    method: str
    path: str
    needs: Needs
    handler: Callable[[Call], Awaitable[Any]]
    summary: str
    tag: str
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    reply: type[Schema] | None = None
    status: int = 200
    kinds: frozenset[CallerKind] = PEOPLE_AND_MACHINES
    is_body_required: bool = True
    is_reply_list: bool = False


class RouteFamily:
    """Makes the routes of one resource, which share a path and a heading in the documentation."""

    def __init__(self, name: str) -> None:
        self._root = f"{API_ROOT}/{name}"
        self._tag = name

    def route(
        self,
        method: str,
        path: str,
        handler: Callable[[Call], Awaitable[Any]],
        *,
        needs: Needs,
        summary: str,
        **more: Any,
    ) -> Route:
        return Route(
            method=method,
            path=f"{self._root}{path}",
            needs=needs,
            handler=handler,
            summary=summary,
            tag=self._tag,
            **more,
        )


@dataclass(frozen=True, slots=True)
class Match:
    route: Route
    parameters: Mapping[str, Any]


@dataclass(slots=True)
class _Node:
    exact: dict[str, "_Node"] = field(default_factory=dict)
    folded: dict[str, "_Node"] = field(default_factory=dict)
    parameter: tuple[str, "_Node"] | None = None
    rest: tuple[str, dict[str, Route]] | None = None
    routes: dict[str, Route] = field(default_factory=dict)


class RouteTable:
    """All routes, checked when it is made."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def match(self, method: str, path: str) -> Match:
        """Return the route for a request, `HEAD` as if it were `GET`.

        Raises:
            Refusal: 404 for an unknown path, 405 for a method that the path does not take, 400 for
                a number or a UUID that is none.
        """
        segments = [segment for segment in path.split("/") if segment]
        parameters: dict[str, str] = {}
        routes = _find(self._root, segments, parameters)
        if not routes:
            raise Refusal(404, f"Cannot {method} {path}")
        route = routes.get("GET" if method == "HEAD" else method)
        if route is None:
            raise Refusal(
                405,
                f"{path} does not take {method}",
                headers={"Allow": ", ".join(allowed_methods(routes))},
            )
        return Match(route, dict(_parameter(name, text) for name, text in parameters.items()))

    def methods_of(self, path: str) -> list[str]:
        """The methods that a path takes; none when there is no such path."""
        segments = [segment for segment in path.split("/") if segment]
        return allowed_methods(_find(self._root, segments, {}) or {})

    def _add(self, route: Route) -> None:
        if not isinstance(route.needs, Needs):
            raise TypeError(f"{route.method} {route.path} does not declare what it needs.")
        node = self._root
        segments = [segment for segment in route.path.split("/") if segment]
        for segment in segments:
            if segment.endswith("*}"):
                node.rest = node.rest or (segment[1:-2], {})
                _put(node.rest[1], route)
                return
            node = _descend(node, segment)
        _put(node.routes, route)


def allowed_methods(routes: Mapping[str, Route]) -> list[str]:
    return sorted({*routes, *(["HEAD"] if "GET" in routes else [])})


def _descend(node: _Node, segment: str) -> _Node:
    if segment.startswith("{"):
        name, following = node.parameter = node.parameter or (segment[1:-1], _Node())
        if name != segment[1:-1]:
            raise ValueError(f"{segment} stands where another route has {{{name}}}.")
        return following
    found = node.exact.setdefault(segment, _Node())
    node.folded[segment.lower()] = found
    return found


def _put(routes: dict[str, Route], route: Route) -> None:
    if route.method in routes:
        raise ValueError(f"{route.method} {route.path} is declared twice.")
    routes[route.method] = route


def _find(
    node: _Node, segments: list[str], parameters: dict[str, str]
) -> Mapping[str, Route] | None:
    if not segments:
        return node.routes or None
    head, *tail = segments
    following = node.exact.get(head) or node.folded.get(head.lower())
    if following is not None and (found := _find(following, tail, parameters)):
        return found
    if node.parameter is not None:
        name, following = node.parameter
        if found := _find(following, tail, parameters):
            parameters[name] = head
            return found
    if node.rest is not None:
        name, routes = node.rest
        parameters[name] = "/" + "/".join(segments)
        return routes
    return None


def _parameter(name: str, text: str) -> tuple[str, int | str]:
    """Return a parameter's own name, and its value."""
    if name == "path":
        return name, text
    if name.endswith(_UUID_SUFFIX):
        if not _UUID.fullmatch(text.lower()):
            raise Refusal(400, "Validation failed (uuid is expected)")
        return name.removesuffix(_UUID_SUFFIX), text.lower()
    if not (text.isascii() and text.isdigit()):
        raise Refusal(400, "Validation failed (numeric string is expected)")
    # Beyond what any id can be: let it not be found, rather than be refused by the database.
    return name, min(int(text[:12]), LARGEST_ID)
