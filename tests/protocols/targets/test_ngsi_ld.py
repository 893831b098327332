import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import (
    DeliveryError,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
    InvalidInput,
)
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Delivered, Outcome, Push, TargetResources
from protocols.targets._ngsi_ld_progress import (
    MAX_DELIVERIES,
    MAX_PLACES,
    Progress,
    ProgressMemory,
    Refusals,
)
from protocols.targets.http_session import http_session
from protocols.targets.ngsi_ld import NgsiLdTarget
from protocols.targets.policy import Ordering
from tests.support import receivers
from tests.support.guards import loopback_guard
from tests.support.ngsi_ld_broker import (
    CITY_CONTEXT,
    CORE_CONTEXT,
    ERRORS,
    NgsiLdBroker,
    Problem,
    url_of,
)
from tests.support.receivers import Answer, Receiver
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint

UNAVAILABLE = Problem(503, "LdContextNotAvailable", "Unable to download the @context")
BROKEN = Problem(500, "InternalError", "Database Error")
BAD = Problem(400, "BadRequestData", "Invalid attribute")


class Scene:
    def __init__(self, session: aiohttp.ClientSession, tokens: TokenEndpoint | None = None) -> None:
        self.session = session
        self.broker = NgsiLdBroker(tokens=tokens)
        self.receiver = Receiver(self.broker)
        self.target: NgsiLdTarget

    def open(self, **settings_: object) -> None:
        """With a context, unless it is said otherwise."""
        self.target = NgsiLdTarget.from_settings(
            {"url": url_of(self.receiver), "timeout": 5000, "context": CITY_CONTEXT, **settings_},
            TargetResources(http_session=self.session, guard=loopback_guard()),
        )

    async def deliver(self, push: Push) -> Outcome:
        (outcome,) = await self.target.deliver([push])
        return outcome

    async def send(self, payload: object) -> Outcome:
        return await self.deliver(make_push(payload))

    def sent(self) -> list[Any]:
        """What arrived: for each request the ids in it."""
        return [
            [entity["id"][len("urn:ngsi-ld:Room:") :] for entity in json.loads(request.body)]
            for request in self.receiver.requests
        ]

    def stored(self, tenant: str = "") -> set[str]:
        kept = self.broker.entities.get(tenant, {})
        return {entity_id[len("urn:ngsi-ld:Room:") :] for entity_id in kept}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session(guard=loopback_guard()) as session:
        yield session


@pytest.fixture
async def scene(session: aiohttp.ClientSession) -> AsyncIterator[Scene]:
    scene = Scene(session)
    async with scene.receiver:
        scene.open()
        yield scene


def room(name: object = 1, **more: object) -> dict[str, Any]:
    return {
        "id": f"urn:ngsi-ld:Room:{name}",
        "type": "Room",
        "temperature": {"type": "Property", "value": 21.5, "unitCode": "CEL"},
        **more,
    }


def with_context(entity: dict[str, Any], context: object = CITY_CONTEXT) -> dict[str, Any]:
    return {**entity, "@context": context}


def make_push(payload: object) -> Push:
    return Push(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        device_id=DeviceId(1),
        attempt=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        body=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
    )


def refused(outcome: Outcome) -> DeliveryRefused:
    assert isinstance(outcome, DeliveryRefused)
    return outcome


def retryable(outcome: Outcome) -> DeliveryRetryable:
    assert isinstance(outcome, DeliveryRetryable)
    return outcome


async def test_entities_are_upserted_byte_for_byte_with_the_context_in_a_link(scene: Scene) -> None:
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


async def test_entities_that_are_known_already_are_taken_too(scene: Scene) -> None:
    for status in (201, 204):
        outcome = await scene.send([room(1), room(2)])
        assert isinstance(outcome, Delivered)
        assert outcome.status_code == status


async def test_target_without_a_context_sends_that_of_the_entities(scene: Scene) -> None:
    for nothing in (None, ""):
        scene.open(context=nothing)
        payload = [with_context(room(1)), with_context(room(2), [CITY_CONTEXT, {"a": "x:a"}])]
        assert isinstance(await scene.send(payload), Delivered)
        request = scene.receiver.requests[-1]
        assert request.headers["Content-Type"] == "application/ld+json"
        assert "Link" not in request.headers


async def test_tenant_is_named_and_keeps_its_entities_apart(scene: Scene) -> None:
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
    scene: Scene, more: str, target: str
) -> None:
    scene.open(url=url_of(scene.receiver) + more)
    await scene.send([room()])
    assert scene.receiver.requests[0].target == target


async def test_secret_parameter_and_header_are_sent_as_to_any_receiver(scene: Scene) -> None:
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
    session: aiohttp.ClientSession, endpoint: Any
) -> None:
    tokens: TokenEndpoint = endpoint()
    scene = Scene(session, tokens)
    async with scene.receiver, Receiver(tokens) as receiver:
        scene.open(
            tokenEndpoint=tokens.url_of(receiver), clientId=CLIENT_ID, clientSecret=CLIENT_SECRET
        )
        assert isinstance(await scene.send([room()]), Delivered)
        tokens.revoke_all()
        assert isinstance(await scene.send([room()]), Delivered)
        assert [answer.status for answer in scene.broker.answers] == [201, 401, 204]
        await scene.target.close()


async def test_replay_and_test_are_marked_and_shown(scene: Scene) -> None:
    push = replace(make_push([room()]), is_replay=True, is_test=True)
    outcome = await scene.deliver(push)
    assert scene.receiver.requests[0].headers["tingbro-replay"] == "1"
    assert isinstance(outcome, Delivered)
    assert outcome.exchange is not None
    assert outcome.exchange.sent_bytes == len(push.body)


@pytest.mark.parametrize("context", [CITY_CONTEXT, None])
async def test_sample_is_an_entity_that_the_broker_takes(scene: Scene, context: str | None) -> None:
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
    "an array in it": ([[room()]], "Entity 1 of 1 is not an object"),
    "no id": ([room(), {"type": "Room"}], "Entity 2 of 2 has no `id`"),
    "a number as id": ([{"id": 7, "type": "Room"}], "Entity 1 of 1 has no `id`"),
    "an id that is no URI": (
        [{"id": "Room 1", "type": "Room"}],
        "has the `id` Room 1, which is not",
    ),
    "an id with a blank": ([{"id": "urn:a b", "type": "Room"}], "is not a URI"),
    "no type": ([room(), {"id": "urn:x:1"}], "Entity 2 of 2 (urn:x:1) has no `type`"),
    "an empty list of types": ([{"id": "urn:x:1", "type": []}], "has no `type`"),
    "a context of its own": ([with_context(room())], "has an `@context`, which must not be there"),
}


@pytest.mark.parametrize("name", NOT_ENTITIES)
async def test_message_that_is_no_array_of_entities_is_refused_before_it_is_sent(
    scene: Scene, name: str
) -> None:
    payload, said = NOT_ENTITIES[name]
    error = refused(await scene.send(payload))
    assert said in str(error)
    assert str(error).endswith(".")
    assert error.fault is DeliveryFault.MESSAGE
    assert scene.receiver.requests == []


@pytest.mark.parametrize("context", [None, "", 7, True])
async def test_entity_without_a_context_is_refused_where_none_is_told_in_a_header(
    scene: Scene, context: object
) -> None:
    scene.open(context=None)
    entity = room() if context is None else with_context(room(), context)
    error = refused(await scene.send([with_context(room(1)), entity]))
    assert "Entity 2 of 2 (urn:ngsi-ld:Room:1) has no `@context`" in str(error)
    assert scene.receiver.requests == []


async def test_what_is_shown_of_an_id_is_short_and_on_one_line(scene: Scene) -> None:
    error = refused(await scene.send([{"id": "x\r\n\u2028" + "y" * 500}]))
    assert len(str(error)) < 250
    assert str(error).isprintable()


async def test_message_that_is_too_large_is_refused_before_it_is_sent(scene: Scene) -> None:
    refused(await scene.send([room(note={"type": "Property", "value": "x" * 1024 * 1024})]))
    assert scene.receiver.requests == []


async def test_entities_that_may_still_be_taken_are_sent_again_alone(scene: Scene) -> None:
    scene.broker.failing = {room(2)["id"]: UNAVAILABLE, room(4)["id"]: BROKEN}
    body = (
        b'[{"id":"urn:ngsi-ld:Room:1","type":"Room"}, {"type":"Room",  "id":"urn:ngsi-ld:Room:2"},'
        b'{"id":"urn:ngsi-ld:Room:3","type":"Room"},{"id":"urn:ngsi-ld:Room:4","type":"Room"} ]'
    )
    push = make_push(body)
    error = retryable(await scene.deliver(push))
    assert (error.status_code, error.fault) == (207, DeliveryFault.MESSAGE)
    assert "not taken 2 of 4 entities yet" in str(error)
    assert "urn:ngsi-ld:Room:2 (LdContextNotAvailable: Unable to download" in str(error)
    assert error.response_excerpt is not None
    assert error.exchange is not None
    del scene.broker.failing[room(2)["id"]]
    retryable(await scene.deliver(replace(push, attempt=2)))
    scene.broker.failing.clear()
    assert isinstance(await scene.deliver(replace(push, attempt=3)), Delivered)
    assert scene.sent() == [["1", "2", "3", "4"], ["2", "4"], ["4"]]
    # Each as it stood in the message.
    assert scene.receiver.requests[1].body == (
        b'[{"type":"Room",  "id":"urn:ngsi-ld:Room:2"},{"id":"urn:ngsi-ld:Room:4","type":"Room"}]'
    )
    assert len({request.headers["webhook-id"] for request in scene.receiver.requests}) == 1
    assert scene.stored() == {"1", "2", "3", "4"}


async def test_entities_that_will_never_be_taken_are_the_reason_of_a_refusal(scene: Scene) -> None:
    scene.broker.failing = {room(2)["id"]: BAD}
    error = refused(await scene.send([room(1), room(2), room(3)]))
    assert (error.status_code, error.fault) == (207, DeliveryFault.MESSAGE)
    assert "not taken 1 of 3 entities" in str(error)
    assert "urn:ngsi-ld:Room:2 (BadRequestData: Invalid attribute" in str(error)
    assert scene.stored() == {"1", "3"}


async def test_both_kinds_end_as_a_refusal_once_the_others_are_taken(scene: Scene) -> None:
    scene.broker.failing = {room(1)["id"]: BAD, room(2)["id"]: UNAVAILABLE}
    push = make_push([room(1), room(2), room(3)])
    error = retryable(await scene.deliver(push))
    assert "It will not take: urn:ngsi-ld:Room:1 (BadRequestData" in str(error)
    again = retryable(await scene.deliver(replace(push, attempt=2)))
    assert "It will not take: urn:ngsi-ld:Room:1 (BadRequestData" in str(again)
    scene.broker.failing.clear()
    error_at_last = refused(await scene.deliver(replace(push, attempt=3)))
    assert "not taken 1 of 3 entities, and never will: urn:ngsi-ld:Room:1" in str(error_at_last)
    assert scene.sent() == [["1", "2", "3"], ["2"], ["2"]]


async def test_failure_between_does_not_make_it_forget_what_was_taken(scene: Scene) -> None:
    scene.broker.failing = {room(2)["id"]: BROKEN}
    push = make_push([room(1), room(2)])
    await scene.deliver(push)
    scene.receiver.answer = receivers.status(503)
    retryable(await scene.deliver(push))
    scene.receiver.answer, scene.broker.failing = scene.broker, {}
    assert isinstance(await scene.deliver(push), Delivered)
    assert scene.sent() == [["1", "2"], ["2"], ["2"]]


async def test_target_that_was_made_anew_sends_the_whole_message_again(scene: Scene) -> None:
    scene.broker.failing = {room(2)["id"]: BROKEN}
    push = make_push([room(1), room(2)])
    await scene.deliver(push)
    scene.broker.failing.clear()
    scene.open()
    assert isinstance(await scene.deliver(push), Delivered)
    assert scene.sent() == [["1", "2"], ["1", "2"]]


def test_what_is_remembered_of_many_messages_is_bounded() -> None:
    ids = [new_delivery_id() for _ in range(MAX_DELIVERIES + 1)]
    memory = ProgressMemory()
    for delivery_id in ids:
        memory.keep(delivery_id, Progress((1,), Refusals()))
    assert [memory.get(each) is None for each in (ids[0], ids[1], ids[-1])] == [True, False, False]
    large = Progress(tuple(range(MAX_PLACES - 1)), Refusals())
    for _ in range(2):  # The second takes the place of the first.
        memory.keep(ids[0], large)
    assert [memory.get(each) is None for each in (ids[0], ids[-2], ids[-1])] == [False, True, False]
    memory.forget(ids[0])
    memory.forget(ids[0])
    memory.keep(ids[1], large)
    assert memory.get(ids[1]) is large


async def test_broker_that_takes_nothing_for_its_own_reasons_is_at_fault(scene: Scene) -> None:
    scene.broker.failing = {room(1)["id"]: BROKEN, room(2)["id"]: UNAVAILABLE}
    assert retryable(await scene.send([room(1), room(2)])).fault is DeliveryFault.RECEIVER


async def test_many_entities_are_told_of_by_the_first_few(scene: Scene) -> None:
    scene.broker.failing = {room(n)["id"]: BAD for n in range(100)}
    error = refused(await scene.send([room(n) for n in range(200)]))
    assert "not taken 100 of 200 entities" in str(error)
    assert "and 95 more" in str(error)
    assert len(str(error)) < 1500


async def test_large_answer_is_read_to_its_end(scene: Scene) -> None:
    scene.broker.failing = {room(n)["id"]: BROKEN for n in range(1_000)}
    push = make_push([room(n) for n in range(2_000)])
    await scene.deliver(push)
    assert len(scene.broker.answers[0].to_bytes()) > 200_000
    scene.broker.failing.clear()
    assert isinstance(await scene.deliver(push), Delivered)
    assert len(scene.sent()[1]) == 1_000


async def test_success_may_be_listed_in_objects(scene: Scene) -> None:
    scene.broker.reports_objects = True
    scene.broker.failing = {room(2)["id"]: BROKEN}
    push = make_push([room(1), room(2)])
    await scene.deliver(push)
    await scene.deliver(push)
    assert scene.sent()[1] == ["2"]


async def test_entity_that_stands_twice_in_a_message_is_told_of(scene: Scene) -> None:
    error = refused(await scene.send([room(1), room(1)]))
    assert "urn:ngsi-ld:Room:1 (BadRequestData: Duplicated Entity" in str(error)


def multi_status(*errors: object, success: object = (), status: int = 207) -> Answer:
    return receivers.status(status, json.dumps({"success": success, "errors": errors}).encode())


def entity_error(kind: str | None = None, status: object = None, name: object = 1) -> object:
    problem = {"type": kind and ERRORS + kind, "title": "told", "status": status}
    return {"entityId": room(name)["id"], "error": problem}


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (entity_error("BadRequestData", 400), True),
        (entity_error("InvalidRequest"), True),
        (entity_error("OperationNotSupported", 422), True),
        (entity_error("InternalError", 500), False),
        (entity_error("LdContextNotAvailable", 400), False),
        (entity_error("AlreadyExists", 409), False),
        (entity_error("Unheard", 400), True),
        (entity_error(None, 422), True),
        (entity_error(None, 403), False),
        (entity_error(None, 503), False),
        (entity_error(None, "400"), False),
        (entity_error(None, None), False),
        ({"entityId": [room(1)["id"]], "error": [{"type": "BadRequestData"}]}, True),
        ({"id": room(1)["id"], "error": "told"}, False),
        ({"entityId": room(1)["id"]}, False),
    ],
)
async def test_kind_of_an_error_decides_whether_its_entity_is_sent_again(
    scene: Scene, error: object, is_final: bool
) -> None:
    scene.receiver.answer = multi_status(error)
    outcome = await scene.send([room(1)])
    assert isinstance(outcome, DeliveryRefused if is_final else DeliveryRetryable)


async def test_entity_of_which_nothing_is_said_is_sent_again(scene: Scene) -> None:
    scene.receiver.answer = multi_status(entity_error("BadRequestData"), success=[room(3)["id"]])
    push = make_push([room(1), room(2), room(3)])
    assert "urn:ngsi-ld:Room:2 (no reason given)" in str(retryable(await scene.deliver(push)))
    scene.receiver.answer = scene.broker
    refused(await scene.deliver(push))
    assert scene.sent()[1] == ["2"]


async def test_of_two_errors_about_an_entity_the_one_that_leaves_hope_decides(
    scene: Scene,
) -> None:
    errors = [entity_error("BadRequestData"), entity_error("InternalError")]
    for told in (errors, errors[::-1]):
        scene.receiver.answer = multi_status(*told)
        retryable(await scene.send([room(1)]))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"<p>", b'{"errors":{}}', b'{"errors":[' * 9000]
)
async def test_multi_status_that_says_nothing_is_no_success(scene: Scene, body: bytes) -> None:
    scene.receiver.answer = receivers.status(207, body)
    assert "without saying" in str(retryable(await scene.send([room()])))


async def test_multi_status_without_an_error_is_a_success(scene: Scene) -> None:
    scene.receiver.answer = multi_status(success=[room()["id"]])
    assert isinstance(await scene.send([room()]), Delivered)


async def test_plain_success_may_still_tell_of_errors(scene: Scene) -> None:
    scene.receiver.answer = multi_status(entity_error("BadRequestData"), status=200)
    refused(await scene.send([room(1)]))
    for body in (b"", b"ok", b"[]"):
        scene.receiver.answer = receivers.status(200, body)
        assert isinstance(await scene.send([room(1)]), Delivered)


async def test_words_of_the_broker_are_cut_and_rid_of_secrets(scene: Scene) -> None:
    scene.open(authorizationHeader="Bearer s3cr3t-token")
    title = "you sent s3cr3t-token\r\n" + "x" * 10_000
    problem = {"type": "BadRequestData", "title": title}
    scene.receiver.answer = multi_status({"entityId": room()["id"], "error": problem})
    error = refused(await scene.send([room()]))
    assert "s3cr3t-token" not in f"{error} {error.response_excerpt}"
    assert str(error).isprintable()
    assert len(str(error)) < 400


async def test_request_that_is_refused_as_a_whole_is_judged_as_any_other(scene: Scene) -> None:
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
    scene: Scene, named: str, settings_: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match=named) as caught:
        scene.open(**settings_)
    assert "secret" not in str(caught.value)


async def test_all_that_is_wrong_is_told_at_once(scene: Scene) -> None:
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
    scene: Scene, payload: object, result: object, has_context: bool
) -> None:
    scene.open(context=CITY_CONTEXT if has_context else None)
    scene.receiver.answer = scene.broker
    # What gets past the hub, the strict double takes or tells of.
    outcome = await scene.send(payload)
    assert not isinstance(outcome, DeliveryError) or outcome.status_code in (None, 207)
    scene.receiver.answer = receivers.status(207, json.dumps(result).encode())
    outcome = await scene.send([room(1) if has_context else with_context(room(1))])
    assert isinstance(outcome, Delivered | DeliveryError)
