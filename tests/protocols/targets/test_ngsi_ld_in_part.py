"""Messages of which a broker takes some entities and not the others."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from standardwebhooks import Webhook

from protocols.errors import DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.identifiers import new_delivery_id
from protocols.targets import Delivered
from protocols.targets.entities.progress import (
    MAX_DELIVERIES,
    MAX_PLACES,
    Listing,
    Progress,
    ProgressMemory,
)
from protocols.targets.http.signing import SigningAlgorithm, new_signing_secret
from tests.support import receivers
from tests.support.broker_scene import BrokerScene, make_push, refused, retryable, room
from tests.support.ngsi_ld_broker import ERRORS, Problem
from tests.support.receivers import Answer

UNAVAILABLE = Problem(503, "LdContextNotAvailable", "Unable to download the @context")
BROKEN = Problem(500, "InternalError", "Database Error")
BAD = Problem(400, "BadRequestData", "Invalid attribute")


@pytest.fixture
async def scene() -> AsyncIterator[BrokerScene]:
    async with BrokerScene.stage() as scene:
        yield scene


async def test_entities_that_may_still_be_taken_are_sent_again_alone(scene: BrokerScene) -> None:
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


async def test_entities_that_will_never_be_taken_are_the_reason_of_a_refusal(
    scene: BrokerScene,
) -> None:
    scene.broker.failing = {room(2)["id"]: BAD}
    error = refused(await scene.send([room(1), room(2), room(3)]))
    assert (error.status_code, error.fault) == (207, DeliveryFault.MESSAGE)
    assert "not taken 1 of 3 entities" in str(error)
    assert "urn:ngsi-ld:Room:2 (BadRequestData: Invalid attribute" in str(error)
    assert scene.stored() == {"1", "3"}


async def test_both_kinds_end_as_a_refusal_once_the_others_are_taken(scene: BrokerScene) -> None:
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


async def test_failure_between_does_not_make_it_forget_what_was_taken(scene: BrokerScene) -> None:
    scene.broker.failing = {room(2)["id"]: BROKEN}
    push = make_push([room(1), room(2)])
    await scene.deliver(push)
    scene.receiver.answer = receivers.status(503)
    retryable(await scene.deliver(push))
    scene.receiver.answer, scene.broker.failing = scene.broker, {}
    assert isinstance(await scene.deliver(push), Delivered)
    assert scene.sent() == [["1", "2"], ["2"], ["2"]]


async def test_what_is_sent_again_is_signed_as_it_is_sent(scene: BrokerScene) -> None:
    secret = new_signing_secret(SigningAlgorithm.HMAC_SHA256)
    scene.open(signingKeys=[{"id": "k1", "secret": secret, "expiresAt": None}])
    scene.broker.failing = {room(2)["id"]: BROKEN}
    push = make_push([room(1), room(2)])
    error = retryable(await scene.deliver(push))
    assert error.exchange is not None
    assert error.exchange.key_ids == ("k1",)
    scene.broker.failing.clear()
    await scene.deliver(push)
    bodies = []
    for request in scene.receiver.requests:
        headers = {name.lower(): value for name, value in request.headers.items()}
        bodies.append(Webhook(secret).verify(request.body.decode(), headers))
    assert bodies == [[room(1), room(2)], [room(2)]]


async def test_target_that_was_made_anew_sends_the_whole_message_again(scene: BrokerScene) -> None:
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
        memory.keep(delivery_id, Progress((1,), Listing()))
    assert [memory.get(each) is None for each in (ids[0], ids[1], ids[-1])] == [True, False, False]
    large = Progress(tuple(range(MAX_PLACES - 1)), Listing())
    for _ in range(2):  # The second takes the place of the first.
        memory.keep(ids[0], large)
    assert [memory.get(each) is None for each in (ids[0], ids[-2], ids[-1])] == [False, True, False]
    memory.forget(ids[0])
    memory.forget(ids[0])
    memory.keep(ids[1], large)
    assert memory.get(ids[1]) is large


async def test_broker_that_takes_nothing_for_its_own_reasons_is_at_fault(
    scene: BrokerScene,
) -> None:
    scene.broker.failing = {room(1)["id"]: BROKEN, room(2)["id"]: UNAVAILABLE}
    assert retryable(await scene.send([room(1), room(2)])).fault is DeliveryFault.RECEIVER


async def test_many_entities_are_told_of_by_the_first_few(scene: BrokerScene) -> None:
    scene.broker.failing = {room(n)["id"]: BAD for n in range(100)}
    error = refused(await scene.send([room(n) for n in range(200)]))
    assert "not taken 100 of 200 entities" in str(error)
    assert "and 95 more" in str(error)
    assert len(str(error)) < 1500


async def test_large_answer_is_read_to_its_end(scene: BrokerScene) -> None:
    scene.broker.failing = {room(n)["id"]: BROKEN for n in range(300)}
    push = make_push([room(n) for n in range(600)])
    await scene.deliver(push)
    assert len(scene.broker.answers[0].to_bytes()) > 60_000
    scene.broker.failing.clear()
    assert isinstance(await scene.deliver(push), Delivered)
    assert len(scene.sent()[1]) == 300


async def test_answer_that_is_too_large_leads_to_the_whole_message_being_sent_again(
    scene: BrokerScene,
) -> None:
    scene.broker.failing = {room(n)["id"]: BROKEN for n in range(1_000)}
    push = make_push([room(n) for n in range(1_000)])
    assert "without saying" in str(retryable(await scene.deliver(push)))
    scene.broker.failing.clear()
    assert isinstance(await scene.deliver(push), Delivered)
    assert len(scene.sent()[1]) == 1_000


async def test_success_may_be_listed_in_objects(scene: BrokerScene) -> None:
    scene.broker.reports_objects = True
    scene.broker.failing = {room(2)["id"]: BROKEN}
    push = make_push([room(1), room(2)])
    await scene.deliver(push)
    await scene.deliver(push)
    assert scene.sent()[1] == ["2"]


async def test_entity_that_stands_twice_in_a_message_is_told_of(scene: BrokerScene) -> None:
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
    scene: BrokerScene, error: object, is_final: bool
) -> None:
    scene.receiver.answer = multi_status(error)
    outcome = await scene.send([room(1)])
    assert isinstance(outcome, DeliveryRefused if is_final else DeliveryRetryable)


async def test_entity_of_which_nothing_is_said_is_sent_again(scene: BrokerScene) -> None:
    scene.receiver.answer = multi_status(entity_error("BadRequestData"), success=[room(3)["id"]])
    push = make_push([room(1), room(2), room(3)])
    assert "urn:ngsi-ld:Room:2 (no reason given)" in str(retryable(await scene.deliver(push)))
    scene.receiver.answer = scene.broker
    refused(await scene.deliver(push))
    assert scene.sent()[1] == ["2"]


async def test_of_two_errors_about_an_entity_the_one_that_leaves_hope_decides(
    scene: BrokerScene,
) -> None:
    errors = [entity_error("BadRequestData"), entity_error("InternalError")]
    for told in (errors, errors[::-1]):
        scene.receiver.answer = multi_status(*told)
        retryable(await scene.send([room(1)]))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"<p>", b'{"errors":{}}', b'{"errors":[' * 9000]
)
async def test_multi_status_that_says_nothing_is_no_success(
    scene: BrokerScene, body: bytes
) -> None:
    scene.receiver.answer = receivers.status(207, body)
    assert "without saying" in str(retryable(await scene.send([room()])))


async def test_multi_status_without_an_error_is_a_success(scene: BrokerScene) -> None:
    scene.receiver.answer = multi_status(success=[room()["id"]])
    assert isinstance(await scene.send([room()]), Delivered)


async def test_plain_success_may_still_tell_of_errors(scene: BrokerScene) -> None:
    scene.receiver.answer = multi_status(entity_error("BadRequestData"), status=200)
    refused(await scene.send([room(1)]))
    for body in (b"", b"ok", b"[]"):
        scene.receiver.answer = receivers.status(200, body)
        assert isinstance(await scene.send([room(1)]), Delivered)


async def test_words_of_the_broker_are_cut_and_rid_of_secrets(scene: BrokerScene) -> None:
    scene.open(authorizationHeader="Bearer s3cr3t-token")
    title = "you sent s3cr3t-token\r\n" + "x" * 10_000
    problem = {"type": "BadRequestData", "title": title}
    scene.receiver.answer = multi_status({"entityId": room()["id"], "error": problem})
    error = refused(await scene.send([room()]))
    assert "s3cr3t-token" not in f"{error} {error.response_excerpt}"
    assert str(error).isprintable()
    assert len(str(error)) < 400
