import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DeliveryError, DeliveryFault, InvalidInput
from protocols.targets import Delivered
from protocols.targets.ngsi_ld import NgsiLdTarget
from protocols.targets.policy import Ordering
from tests.support import receivers
from tests.support.broker_scene import (
    BrokerScene,
    make_push,
    refused,
    retryable,
    room,
    with_context,
)
from tests.support.ngsi_ld_broker import CITY_CONTEXT, CORE_CONTEXT, url_of
from tests.support.receivers import Receiver
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint


@pytest.fixture
async def scene() -> AsyncIterator[BrokerScene]:
    async with BrokerScene.stage() as scene:
        yield scene


async def test_entities_are_upserted_byte_for_byte_with_the_context_in_a_link(
    scene: BrokerScene,
) -> None:
    body = b'[ {"id":"urn:ngsi-ld:Room:1","type":"Room","t":{"type":"Property","value":1.50}} ]'
    outcome = await scene.deliver(make_push(body))
    assert isinstance(outcome, Delivered)
    assert outcome.status_code == 201
    (request,) = scene.receiver.requests
    assert request.body == body
    assert (request.method, request.target) == ("POST", "/ngsi-ld/v1/entityOperations/upsert/")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Link"] == (
        f'<{CITY_CONTEXT}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
    )
    assert "NGSILD-Tenant" not in request.headers
    assert len(request.headers["webhook-id"]) == len(request.headers["tingbro-message-id"]) == 36


async def test_entities_that_are_known_already_are_taken_too(scene: BrokerScene) -> None:
    for status in (201, 204):
        outcome = await scene.send([room(1), room(2)])
        assert isinstance(outcome, Delivered)
        assert outcome.status_code == status


async def test_target_without_a_context_sends_that_of_the_entities(scene: BrokerScene) -> None:
    for nothing in (None, ""):
        scene.open(context=nothing)
        payload = [with_context(room(1)), with_context(room(2), [CITY_CONTEXT, {"a": "x:a"}])]
        assert isinstance(await scene.send(payload), Delivered)
        request = scene.receiver.requests[-1]
        assert request.headers["Content-Type"] == "application/ld+json"
        assert "Link" not in request.headers


async def test_tenant_is_named_and_keeps_its_entities_apart(scene: BrokerScene) -> None:
    scene.open(tenant="city_1")
    assert isinstance(await scene.send([room(7)]), Delivered)
    assert (scene.stored("city_1"), scene.stored()) == ({"7"}, set())


@pytest.mark.parametrize(
    ("more", "target"),
    [
        ("/", "/ngsi-ld/v1/entityOperations/upsert/"),
        ("?options=update", "/ngsi-ld/v1/entityOperations/upsert/?options=update"),
        ("/?options=update", "/ngsi-ld/v1/entityOperations/upsert/?options=update"),
        ("/a%20b/broker", "/a%20b/broker/ngsi-ld/v1/entityOperations/upsert/"),
    ],
)
async def test_path_is_added_to_the_address_and_a_query_stays(
    scene: BrokerScene, more: str, target: str
) -> None:
    scene.open(url=url_of(scene.receiver) + more)
    await scene.send([room()])
    assert scene.receiver.requests[0].target == target


async def test_secret_parameter_and_header_are_sent_as_to_any_receiver(scene: BrokerScene) -> None:
    scene.open(
        authorizationType="SECRET_URL_PARAMETER",
        secretParameterName="key",
        secretParameterValue="s3cr3t+&",
    )
    scene.receiver.answer = receivers.status(500, b"s3cr3t+& s3cr3t%2B%26")
    error = retryable(await scene.send([room()]))
    assert scene.receiver.requests[0].query == {"key": "s3cr3t+&"}
    assert "s3cr3t" not in f"{error} {error.response_excerpt} {error.exchange} {scene.target!r}"
    scene.open(authorizationHeader="Bearer abc")
    await scene.send([room()])
    assert scene.receiver.requests[1].headers["Authorization"] == "Bearer abc"


@pytest.mark.parametrize("endpoint", [TokenEndpoint.keycloak, TokenEndpoint.keyrock])
async def test_broker_behind_a_token_endpoint_is_shown_tokens_and_new_ones_in_time(
    endpoint: Callable[[], TokenEndpoint],
) -> None:
    tokens = endpoint()
    async with BrokerScene.stage(tokens) as scene, Receiver(tokens) as receiver:
        scene.open(
            tokenEndpoint=tokens.url_of(receiver), clientId=CLIENT_ID, clientSecret=CLIENT_SECRET
        )
        assert isinstance(await scene.send([room()]), Delivered)
        tokens.revoke_all()
        assert isinstance(await scene.send([room()]), Delivered)
        assert [answer.status for answer in scene.broker.answers] == [201, 401, 204]


async def test_replay_and_test_are_marked_and_shown(scene: BrokerScene) -> None:
    push = replace(make_push([room()]), is_replay=True, is_test=True)
    outcome = await scene.deliver(push)
    assert scene.receiver.requests[0].headers["tingbro-replay"] == "1"
    assert isinstance(outcome, Delivered)
    assert outcome.exchange is not None
    assert outcome.exchange.sent_bytes == len(push.body)


@pytest.mark.parametrize("context", [CITY_CONTEXT, None])
async def test_sample_is_an_entity_that_the_broker_takes(
    scene: BrokerScene, context: str | None
) -> None:
    scene.open(context=context)
    assert isinstance(await scene.deliver(make_push(scene.target.sample)), Delivered)


NOT_ENTITIES: dict[str, tuple[object, str]] = {
    "an object": (room(), "is an object"),
    "a text": ("x", "is a text"),
    "a number": (3, "is a number"),
    "null": (None, "is null"),
    "an empty array": ([], "is an empty array"),
    "an empty array with blanks": (b" [ ] ", "is an empty array"),
    "no JSON": (b"[{]", "not JSON"),
    "nesting": (b"[" * 100_000, "not JSON"),
    "a text in it": ([room(), "x"], "Entity 2 of 2 is not an object"),
    "no JSON behind it": (b"[3,{]", "not JSON"),
    "an array in it": ([[room()]], "Entity 1 of 1 is not an object"),
    "no id": ([room(), {"type": "Room"}], "Entity 2 of 2 has no `id`"),
    "a number as id": ([{"id": 7, "type": "Room"}], "Entity 1 of 1 has no `id`"),
    "an id that is no URI": (
        [{"id": "Room 1", "type": "Room"}],
        "Entity 1 of 1 (Room 1) has an `id` which is not",
    ),
    "an id with a blank": (
        [{"id": "urn:a b", "type": "Room"}],
        "Entity 1 of 1 (urn:a b) has an `id` which is not a URI",
    ),
    "no type": ([room(), {"id": "urn:x:1"}], "Entity 2 of 2 (urn:x:1) has no `type`"),
    "an empty list of types": ([{"id": "urn:x:1", "type": []}], "has no `type`"),
    "a context of its own": ([with_context(room())], "has an `@context`, which must not be there"),
}


@pytest.mark.parametrize("name", NOT_ENTITIES)
async def test_message_that_is_no_array_of_entities_is_refused_before_it_is_sent(
    scene: BrokerScene, name: str
) -> None:
    payload, said = NOT_ENTITIES[name]
    error = refused(await scene.send(payload))
    assert said in str(error)
    assert str(error).endswith(".")
    assert error.fault is DeliveryFault.MESSAGE
    assert scene.receiver.requests == []


@pytest.mark.parametrize("context", [None, "", 7, True])
async def test_entity_without_a_context_is_refused_where_none_is_told_in_a_header(
    scene: BrokerScene, context: object
) -> None:
    scene.open(context=None)
    entity = room() if context is None else with_context(room(), context)
    error = refused(await scene.send([with_context(room(1)), entity]))
    assert "Entity 2 of 2 (urn:ngsi-ld:Room:1) has no `@context`" in str(error)
    assert scene.receiver.requests == []


async def test_what_is_shown_of_an_id_is_short_and_on_one_line(scene: BrokerScene) -> None:
    error = refused(await scene.send([{"id": "x\r\n\u2028" + "y" * 500}]))
    assert len(str(error)) < 250
    assert str(error).isprintable()


async def test_message_that_is_too_large_is_refused_before_it_is_sent(scene: BrokerScene) -> None:
    refused(await scene.send([room(note={"type": "Property", "value": "x" * 1024 * 1024})]))
    assert scene.receiver.requests == []


async def test_request_that_is_refused_as_a_whole_is_judged_as_any_other(
    scene: BrokerScene,
) -> None:
    scene.broker.is_multi_tenant = False
    scene.open(tenant="city")
    error = retryable(await scene.send([room()]))
    assert (error.status_code, error.fault) == (400, DeliveryFault.CONFIGURATION)
    assert "Tenants not supported" in str(error.response_excerpt)
    scene.open(context="https://nowhere.example/context.jsonld")
    assert retryable(await scene.send([room()])).status_code == 503
    scene.broker.max_body_bytes = 10
    scene.open()
    assert refused(await scene.send([room()])).status_code == 413


@pytest.mark.parametrize(
    ("named", "settings_"),
    [
        ("`url`", {"url": "https://broker.example/ngsi-ld/v1"}),
        ("`url`", {"url": "https://broker.example/ngsi-ld/v1/entityOperations/upsert/"}),
        ("`url`", {"url": "broker.example"}),
        ("`tenant`", {"tenant": "a b"}),
        ("`tenant`", {"tenant": "a\r\nb: c"}),
        ("`tenant`", {"tenant": 7}),
        ("`context`", {"context": "context.jsonld"}),
        ("`context`", {"context": "https://x/>; a"}),
        ("`context`", {"context": "https://me:secret@x/"}),
        ("`context`", {"context": "https://" + "x" * 1100}),
        ("`context`", {"context": "https://["}),
        ("`context`", {"context": ["https://x/"]}),
        ("`operationalEvents`", {"operationalEvents": True}),
    ],
)
async def test_setting_that_cannot_be_used_is_named(
    scene: BrokerScene, named: str, settings_: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match=named) as caught:
        scene.open(**settings_)
    assert "secret" not in str(caught.value)


async def test_all_that_is_wrong_is_told_at_once(scene: BrokerScene) -> None:
    with pytest.raises(InvalidInput) as caught:
        scene.open(url=None, timeout="x", tenant="a b", context="x")
    for name in ("url", "timeout", "tenant", "context"):
        assert f"`{name}`" in str(caught.value)


def test_order_of_a_device_is_insisted_on_and_messages_travel_alone() -> None:
    assert NgsiLdTarget.ordering is Ordering.PER_DEVICE
    assert (NgsiLdTarget.batch_size, NgsiLdTarget.freezes_batches) == (1, False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
# Near enough to the real thing to get past the first checks, and wrong in any way behind them.
entity_likes = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["urn:ngsi-ld:Room:1", "urn:ngsi-ld:Room:2"]) | json_values,
        "type": st.just("Room") | json_values,
        "@context": st.just(CORE_CONTEXT) | json_values,
    },
)
payloads = st.lists(entity_likes, max_size=3) | json_values
results = st.fixed_dictionaries(
    {},
    optional={
        "success": st.just(["urn:ngsi-ld:Room:1"]) | json_values,
        "errors": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "entityId": st.just("urn:ngsi-ld:Room:1") | json_values,
                    "error": st.fixed_dictionaries(
                        {},
                        optional={"type": json_values, "title": json_values, "status": json_values},
                    )
                    | json_values,
                },
            ),
            max_size=3,
        )
        | json_values,
    },
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(payload=payloads, result=results, has_context=st.booleans())
async def test_whatever_is_sent_and_answered_there_is_an_outcome(
    scene: BrokerScene, payload: object, result: object, has_context: bool
) -> None:
    scene.open(context=CITY_CONTEXT if has_context else None)
    scene.receiver.answer = scene.broker
    # What gets past the hub, the strict double takes or tells of.
    outcome = await scene.send(payload)
    assert not isinstance(outcome, DeliveryError) or outcome.status_code in (None, 207)
    scene.receiver.answer = receivers.status(207, json.dumps(result).encode())
    outcome = await scene.send([room(1) if has_context else with_context(room(1))])
    assert isinstance(outcome, Delivered | DeliveryError)
