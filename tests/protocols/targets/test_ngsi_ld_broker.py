"""The double is worth something only if it refuses what brokers refuse."""

import json
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tests.support.ngsi_ld_broker import CITY_CONTEXT, ERRORS, UPSERT, NgsiLdBroker, Problem
from tests.support.receivers import ReceivedRequest

JSON = {"Content-Type": "application/json"}
LD_JSON = {"Content-Type": "application/ld+json"}
REL = 'rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
LINK = {"Link": f"<{CITY_CONTEXT}>; {REL}"}


def room(number: int = 1, context: object = None, **attributes: object) -> dict[str, Any]:
    entity = {"id": f"urn:ngsi-ld:Room:{number}", "type": "Room", **attributes}
    return entity if context is None else {**entity, "@context": context}


def request(
    payload: object, headers: dict[str, str], *, target: str = UPSERT, method: str = "POST"
) -> ReceivedRequest:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return ReceivedRequest(
        method=method,
        target=target,
        headers=CIMultiDictProxy(CIMultiDict({"Content-Length": str(len(body)), **headers})),
        body=body,
        connection=1,
    )


REFUSED: dict[str, tuple[int, ReceivedRequest]] = {
    "another path": (404, request([room()], JSON, target="/ngsi-ld/v1/entities/")),
    "two slashes": (404, request([room()], JSON, target=f"/{UPSERT}")),
    "another method": (405, request([room()], JSON, method="PUT")),
    "unknown parameter": (400, request([room()], JSON, target=f"{UPSERT}?key=1")),
    "update and replace": (400, request([room()], JSON, target=f"{UPSERT}?options=update,replace")),
    "no content type": (415, request([room()], {})),
    "another content type": (415, request([room()], {"Content-Type": "text/plain"})),
    "context in JSON": (400, request([room(context=CITY_CONTEXT)], JSON | LINK)),
    "no context in JSON-LD": (400, request([room()], LD_JSON)),
    "Link with JSON-LD": (400, request([room(context=CITY_CONTEXT)], LD_JSON | LINK)),
    "Link of another relation": (400, request([room()], JSON | {"Link": f"<{CITY_CONTEXT}>"})),
    "context that is not to be had": (503, request([room()], JSON | {"Link": f"<x:y>; {REL}"})),
    "no JSON": (400, request(b"{", JSON)),
    "not a number": (400, request(b'[{"id":"a:b","type":"T","x":NaN}]', JSON)),
    "one object": (400, request(room(), JSON)),
    "empty array": (400, request([], JSON)),
    "array of texts": (400, request(["x"], JSON)),
    "no id": (400, request([{"type": "Room"}], JSON)),
    "id that is no URI": (400, request([{"id": "Room 1", "type": "Room"}], JSON)),
    "no type": (400, request([{"id": "urn:x:1"}], JSON)),
    "tenant with a dot": (400, request([room()], JSON | {"NGSILD-Tenant": "a.b"})),
    "tenant of 51 characters": (400, request([room()], JSON | {"NGSILD-Tenant": "a" * 51})),
}


@pytest.mark.parametrize("name", REFUSED)
def test_broken_rule_is_refused(name: str) -> None:
    status, broken = REFUSED[name]
    broker = NgsiLdBroker()
    assert broker.answer(broken).status == status
    assert not any(broker.entities.values())


def test_body_without_or_over_a_length_is_refused() -> None:
    broker = NgsiLdBroker()
    broker.max_body_bytes = 10
    assert broker.answer(request([room()], JSON)).status == 413
    bare = request([room()], JSON)
    headers = CIMultiDictProxy(CIMultiDict(JSON))
    assert (
        broker.answer(
            ReceivedRequest(
                method=bare.method,
                target=bare.target,
                headers=headers,
                body=bare.body,
                connection=1,
            )
        ).status
        == 411
    )


def test_new_entities_are_201_and_known_ones_204() -> None:
    broker = NgsiLdBroker()
    first = broker.answer(request([room(1), room(2)], JSON, target=f"{UPSERT}/"))
    assert (first.status, first.body) == (201, ["urn:ngsi-ld:Room:1", "urn:ngsi-ld:Room:2"])
    again = broker.answer(request([room(1)], LD_JSON))
    assert again.status == 400
    assert broker.answer(request([room(1)], JSON | LINK)).status == 204
    mixed = broker.answer(request([room(1), room(3)], JSON))
    assert (mixed.status, mixed.body) == (201, ["urn:ngsi-ld:Room:3"])


def test_upsert_replaces_unless_it_is_told_to_update() -> None:
    broker = NgsiLdBroker()
    one, other = {"type": "Property", "value": 1}, {"type": "Property", "value": 2}
    broker.answer(request([room(a=one)], JSON))
    broker.answer(request([room(b=other)], JSON, target=f"{UPSERT}?options=update"))
    assert broker.entities[""]["urn:ngsi-ld:Room:1"].keys() == {"id", "type", "a", "b"}
    broker.answer(request([room(b=other)], JSON))
    assert broker.entities[""]["urn:ngsi-ld:Room:1"].keys() == {"id", "type", "b"}


def test_tenants_are_apart_and_echoed() -> None:
    broker = NgsiLdBroker()
    answer = broker.answer(request([room()], JSON | {"NGSILD-Tenant": "city_1"}))
    assert answer.headers["NGSILD-Tenant"] == "city_1"
    assert broker.entities["city_1"]
    assert "" not in broker.entities
    broker.is_multi_tenant = False
    assert broker.answer(request([room()], JSON | {"NGSILD-Tenant": "city_1"})).status == 400


def test_entity_that_fails_is_told_of_in_a_207() -> None:
    broker = NgsiLdBroker()
    broker.failing["urn:ngsi-ld:Room:2"] = Problem(500, "InternalError", "Database Error")
    answer = broker.answer(request([room(1), room(2), room(1)], JSON))
    assert answer.status == 207
    assert isinstance(answer.body, dict)
    assert answer.body["success"] == ["urn:ngsi-ld:Room:1"]
    told = [(error["entityId"], error["error"]["type"]) for error in answer.body["errors"]]
    assert told == [
        ("urn:ngsi-ld:Room:2", f"{ERRORS}InternalError"),
        ("urn:ngsi-ld:Room:1", f"{ERRORS}BadRequestData"),
    ]


@pytest.mark.parametrize(
    "attribute",
    [
        21.5,
        {"value": 1},
        {"type": "Property"},
        {"type": "Property", "value": None},
        {"type": "Property", "value": 1, "observedAt": "2024-01-01 12:00"},
        {"type": "Property", "value": 1, "unitCode": 7},
        {"type": "Relationship", "object": "not a URI"},
        {"type": "GeoProperty", "value": [10.2, 56.1]},
        {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [10.2, 156.1]}},
        [{"type": "Property", "value": 1}, {"type": "Property", "value": 2}],
    ],
    ids=str,
)
def test_attribute_that_is_not_valid_costs_its_entity(attribute: object) -> None:
    broker = NgsiLdBroker()
    answer = broker.answer(request([room(1, bad=attribute), room(2)], JSON))
    assert answer.status == 207
    assert broker.entities[""].keys() == {"urn:ngsi-ld:Room:2"}


def test_contexts_of_entities_are_judged_one_by_one() -> None:
    broker = NgsiLdBroker()
    broker.contexts = {CITY_CONTEXT}
    good = room(1, context=[CITY_CONTEXT, {"own": "https://city.example/own"}])
    bad = room(2, context="https://nowhere.example/x.jsonld")
    answer = broker.answer(request([good, bad], LD_JSON))
    assert answer.status == 207
    assert isinstance(answer.body, dict)
    (error,) = answer.body["errors"]
    assert error["error"]["type"] == f"{ERRORS}LdContextNotAvailable"
