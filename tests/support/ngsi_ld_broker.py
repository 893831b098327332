"""A context broker's batch upsert, as strict about NGSI-LD as the strictest of them.

    broker = NgsiLdBroker()
    async with Receiver(broker) as receiver:
        ...  # have entities upserted at `url_of(receiver)`
        assert broker.entities[""]["urn:ngsi-ld:Room:1"]["temperature"]["value"] == 21.5

It keeps what it is given and refuses what Orion-LD or Scorpio refuses: one that is lenient would hide
mistakes that cost a city its data. Names of tests tell the rules: `test_ngsi_ld_broker.py`.

Source: ETSI GS CIM 009 (NGSI-LD API), sections 5.6.8, 6.3 and 6.15, and the public behaviour of
Orion-LD and Scorpio where it leaves a choice.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from yarl import URL

from tests.support.receivers import ReceivedRequest, Receiver
from tests.support.token_endpoint import TokenEndpoint

UPSERT: Final = "/ngsi-ld/v1/entityOperations/upsert"
CORE_CONTEXT: Final = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"
CITY_CONTEXT: Final = "https://city.example/contexts/sensors.jsonld"
ERRORS: Final = "https://uri.etsi.org/ngsi-ld/errors/"

Entity = dict[str, Any]

_LINK = re.compile(
    r'<([^<>\s]+)>; rel="http://www\.w3\.org/ns/json-ld#context"; type="application/ld\+json"'
)
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,50}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_NOT_ATTRIBUTES = frozenset({"id", "type", "@context", "scope"})


@dataclass(frozen=True, slots=True)
class BrokerAnswer:
    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        body = b"" if self.body is None else json.dumps(self.body).encode()
        headers = {"content-length": str(len(body)), **self.headers}
        if body:
            headers.setdefault("content-type", "application/json")
        if self.status == 204:
            del headers["content-length"]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Status\r\n{lines}\r\n".encode() + body


class Problem(Exception):
    """Why a request, or one entity of it, is not accepted."""

    def __init__(self, status: int, kind: str, title: str, **headers: str) -> None:
        super().__init__(title)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.details = {
            "type": ERRORS + kind,
            "title": title,
            "detail": "see the specification",
            "status": status,
        }


def refuse(title: str) -> NoReturn:
    raise Problem(400, "BadRequestData", title)


def url_of(receiver: Receiver) -> str:
    """Return what a user gives as the broker's address."""
    return f"http://127.0.0.1:{receiver.port}"


class NgsiLdBroker:
    """An `Answer` for a `Receiver`. Its attributes may be changed between requests."""

    def __init__(self, *, tokens: TokenEndpoint | None = None) -> None:
        """With `tokens` it takes only requests that show a live token of that endpoint."""
        self.tokens = tokens
        self.entities: dict[str, dict[str, Entity]] = {}
        """What is kept, by tenant ("" is the default one) and id."""
        self.contexts = {CORE_CONTEXT, CITY_CONTEXT}
        """Those that the broker can download."""
        self.failing: dict[str, Problem] = {}
        """Entities that cannot be stored for reasons of the broker's own, by id."""
        self.is_multi_tenant = True
        self.max_body_bytes = 1024 * 1024
        self.reports_objects = False
        """Whether `success` of a 207 holds objects, as Scorpio's does, and not ids."""
        self.answers: list[BrokerAnswer] = []

    async def __call__(self, request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        answer = self.answer(request)
        self.answers.append(answer)
        writer.write(answer.to_bytes())

    def answer(self, request: ReceivedRequest) -> BrokerAnswer:
        """Return the answer to one request, and keep what it brought."""
        try:
            return self._upsert(request)
        except Problem as problem:
            return BrokerAnswer(problem.status, problem.details, problem.headers)

    def _upsert(self, request: ReceivedRequest) -> BrokerAnswer:
        url = URL(request.target, encoded=True)
        if url.path not in (UPSERT, f"{UPSERT}/"):
            raise Problem(404, "ResourceNotFound", "Service Not Found")
        if request.method != "POST":
            raise Problem(405, "OperationNotSupported", "Method Not Allowed", allow="POST")
        self._check_token(request)
        self._check_size(request)
        is_update = _is_update(url)
        tenant = self._tenant(request)
        link = self._link(request)
        entities = _entities(request, is_ld=link is None)
        return self._store(tenant, entities, is_update=is_update)

    def _check_token(self, request: ReceivedRequest) -> None:
        if self.tokens is None:
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self.tokens.is_live(token):
            challenge = 'Bearer realm="broker", error="invalid_token"'
            raise Problem(401, "InvalidRequest", "Invalid token", www_authenticate=challenge)

    def _check_size(self, request: ReceivedRequest) -> None:
        if "Content-Length" not in request.headers:
            raise Problem(411, "InvalidRequest", "Length Required")
        if len(request.body) > self.max_body_bytes:
            raise Problem(413, "InvalidRequest", "Payload Too Large")

    def _tenant(self, request: ReceivedRequest) -> str:
        if "NGSILD-Tenant" not in request.headers:
            return ""
        tenant = request.headers["NGSILD-Tenant"]
        if not self.is_multi_tenant:
            refuse("Tenants not supported")
        if not _TENANT.fullmatch(tenant):
            refuse("Invalid tenant name")
        return tenant

    def _link(self, request: ReceivedRequest) -> str | None:
        """Return the context that holds for the payload, or None if the payload brings its own."""
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
        link = request.headers.get("Link")
        if content_type == "application/ld+json":
            if link is not None:
                refuse("invalid combination of HTTP headers Content-Type and Link")
            return None
        if content_type != "application/json":
            raise Problem(415, "InvalidRequest", "Unsupported Media Type")
        if link is None:
            return CORE_CONTEXT
        found = _LINK.fullmatch(link)
        if found is None:
            refuse("invalid Link header")
        self._load(found[1])
        return found[1]

    def _load(self, context: str) -> None:
        if context not in self.contexts:
            raise Problem(503, "LdContextNotAvailable", "Unable to download the @context")

    def _store(self, tenant: str, entities: list[Entity], *, is_update: bool) -> BrokerAnswer:
        kept = self.entities.setdefault(tenant, {})
        created: list[str] = []
        success: list[str] = []
        errors: list[dict[str, object]] = []
        for entity in entities:
            entity_id = entity["id"]
            try:
                if entity_id in success:
                    refuse("Duplicated Entity")
                self._check_entity(entity)
            except Problem as problem:
                errors.append({"entityId": entity_id, "error": problem.details})
                continue
            if entity_id not in kept:
                created.append(entity_id)
            kept[entity_id] = {**(kept.get(entity_id, {}) if is_update else {}), **entity}
            success.append(entity_id)
        # The answer to a success names the tenant, unless it has no body.
        headers = {"NGSILD-Tenant": tenant} if tenant else {}
        if errors:
            listed = [{"entityId": each} if self.reports_objects else each for each in success]
            return BrokerAnswer(207, {"success": listed, "errors": errors}, headers)
        return BrokerAnswer(201, created, headers) if created else BrokerAnswer(204)

    def _check_entity(self, entity: Entity) -> None:
        for context in _contexts(entity.get("@context")):
            self._load(context)
        if entity["id"] in self.failing:
            raise self.failing[entity["id"]]
        for name in entity.keys() - _NOT_ATTRIBUTES:
            _check_attribute(name, entity[name])


def _is_update(url: URL) -> bool:
    if url.query.keys() - {"options"}:
        refuse("Unsupported URI parameter")
    options = set(",".join(url.query.getall("options", [])).split(",")) - {""}
    if options - {"update", "replace"}:
        refuse("Invalid value for URI parameter 'options'")
    if len(options) == 2:
        refuse("URI Param Error: both /update/ and /replace/ present")
    return options == {"update"}


def _entities(request: ReceivedRequest, *, is_ld: bool) -> list[Entity]:
    try:
        payload = json.loads(request.body.decode(), parse_constant=refuse)
    except ValueError:
        raise Problem(400, "InvalidRequest", "JSON Parse Error") from None
    if not isinstance(payload, list):
        refuse("Payload body must be a JSON Array")
    if not payload:
        refuse("Empty Array")
    for entity in payload:
        if not isinstance(entity, dict):
            refuse("Entities must be JSON Objects")
        if not isinstance(entity.get("id"), str) or not _URI.fullmatch(entity["id"]):
            refuse("Invalid or missing Entity id")
        if not _is_type(entity.get("type")):
            refuse("Invalid or missing Entity type")
        if is_ld and not _is_context(entity.get("@context")):
            refuse("missing @context in an application/ld+json payload")
        if not is_ld and "@context" in entity:
            refuse("@context in an application/json payload")
    return payload


def _is_type(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(isinstance(each, str) and each for each in types)


def _is_context(value: object) -> bool:
    return isinstance(value, str | list | dict) and value != ""


def _contexts(context: object) -> list[str]:
    listed = context if isinstance(context, list) else [context]
    return [each for each in listed if isinstance(each, str)]


def _check_attribute(name: str, value: object) -> None:
    values = value if isinstance(value, list) else [value]
    instances = [each for each in values if isinstance(each, dict)]
    dataset_ids = {each.get("datasetId") for each in instances}
    if len(instances) != len(values) or len(dataset_ids) != len(values):
        refuse(f"Attribute {name} must be objects of distinct datasetId")
    for instance in instances:
        _check_instance(name, instance)


def _check_instance(name: str, instance: Entity) -> None:
    match instance.get("type"):
        case "Property":
            is_valid = instance.get("value") is not None
        case "GeoProperty":
            is_valid = _is_geometry(instance.get("value"))
        case "Relationship":
            linked = instance.get("object")
            is_valid = isinstance(linked, str) and bool(_URI.fullmatch(linked))
        case "LanguageProperty":
            is_valid = isinstance(instance.get("languageMap"), dict)
        case _:
            is_valid = False
    observed_at = instance.get("observedAt", "2024-01-01T00:00:00Z")
    if not is_valid or not isinstance(instance.get("unitCode", ""), str):
        refuse(f"Attribute {name} is not valid")
    if not isinstance(observed_at, str) or not _INSTANT.fullmatch(observed_at):
        refuse(f"Attribute {name} was observed at no instant of UTC")


def _is_geometry(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("coordinates"), list):
        return False
    if value.get("type") != "Point":
        return value.get("type") in {"LineString", "Polygon", "MultiPoint", "MultiPolygon"}
    coordinates = value["coordinates"]
    numbers = [each for each in coordinates if isinstance(each, int | float)]
    if len(numbers) != len(coordinates) or len(numbers) not in (2, 3):
        return False
    # GeoJSON puts the longitude first; who swaps them in Denmark lands in the sea off Somalia, and
    # only latitudes can be told from longitudes by their size.
    return abs(numbers[0]) <= 180 and abs(numbers[1]) <= 90
