"""Tokens of OAuth 2.0 client credentials: when a target asks for one, and how long it keeps it."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from protocols.errors import DeliveryFault, DeliveryRetryable
from protocols.targets import Delivered
from protocols.targets.http.client_credentials import Token
from protocols.targets.http.oauth import TokenCache
from tests.support import receivers
from tests.support.receivers import ReceivedRequest
from tests.support.token_endpoint import TokenEndpoint
from tests.support.token_scene import TokenScene, failed


@pytest.fixture
async def scene() -> AsyncIterator[TokenScene]:
    async with TokenScene.stage(TokenEndpoint.keycloak()) as scene:
        yield scene


async def test_token_is_fetched_once_and_shown_with_every_push(scene: TokenScene) -> None:
    for _ in range(3):
        assert isinstance(await scene.push(), Delivered)
    assert scene.shown() == scene.tokens.issued * 3
    assert len(scene.tokens.issued) == 1


async def test_pushes_that_wait_share_one_request_for_a_token(scene: TokenScene) -> None:
    scene.tokens.gate.clear()
    pushes = [asyncio.ensure_future(scene.push()) for _ in range(20)]
    await scene.endpoint.wait_for(1)
    scene.tokens.gate.set()
    assert all(isinstance(outcome, Delivered) for outcome in await asyncio.gather(*pushes))
    assert (len(scene.tokens.issued), len(scene.endpoint.requests)) == (1, 1)


async def test_pushes_that_wait_share_the_failure_too(scene: TokenScene) -> None:
    scene.tokens.secret = "another"
    scene.open(clientAuthentication="body")
    scene.tokens.gate.clear()
    pushes = [asyncio.ensure_future(scene.push()) for _ in range(20)]
    await scene.endpoint.wait_for(1)
    scene.tokens.gate.set()
    for outcome in await asyncio.gather(*pushes):
        assert failed(outcome).fault is DeliveryFault.CONFIGURATION
    assert len(scene.endpoint.requests) == 1
    assert scene.receiver.requests == []


async def test_push_that_is_cancelled_leaves_the_request_to_the_others(scene: TokenScene) -> None:
    scene.tokens.gate.clear()
    first, second = (asyncio.ensure_future(scene.push()) for _ in range(2))
    await scene.endpoint.wait_for(1)
    first.cancel()
    await asyncio.wait([first])
    scene.tokens.gate.set()
    assert isinstance(await second, Delivered)
    assert len(scene.endpoint.requests) == 1


async def test_closing_gives_up_the_request_that_is_under_way(scene: TokenScene) -> None:
    scene.tokens.gate.clear()
    push = asyncio.ensure_future(scene.push())
    await scene.endpoint.wait_for(1)
    await scene.target.close()
    assert "closed" in str(failed(await push))


async def fail_with_nobody_waiting() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Token] = loop.create_future()
    has_failed = asyncio.Event()

    async def fetch() -> Token:
        try:
            return await answer
        finally:
            loop.call_soon(has_failed.set)

    waiting = asyncio.ensure_future(TokenCache(fetch, loop.time).get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    answer.set_exception(DeliveryRetryable("The token endpoint answered 500."))
    await has_failed.wait()


async def test_failure_that_nobody_waits_for_any_more_is_no_unseen_error() -> None:
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    await fail_with_nobody_waiting()
    gc.collect()
    assert seen == []


@pytest.mark.parametrize(
    ("expires_in", "kept_s"),
    [(3600, 3570), (60, 30), (40, 20), (10, 5), ("3600", 3570), (None, 270), ("soon", 270)],
)
async def test_token_is_kept_until_shortly_before_it_expires(
    scene: TokenScene, expires_in: object, kept_s: float
) -> None:
    scene.tokens.answer_fields = {"expires_in": expires_in, "token_type": "bearer"}
    await scene.push()
    scene.clock.now_s += kept_s - 0.001
    await scene.push()
    assert len(scene.tokens.issued) == 1
    scene.clock.now_s += 0.002
    await scene.push()
    assert len(scene.tokens.issued) == 2


async def test_token_without_a_word_on_its_life_is_kept_for_a_while(scene: TokenScene) -> None:
    scene.tokens.answer_fields = {}
    await scene.push()
    await scene.push()
    assert len(scene.tokens.issued) == 1
    scene.clock.now_s += 300
    await scene.push()
    assert len(scene.tokens.issued) == 2


@pytest.mark.parametrize("expires_in", [0, -1])
async def test_token_that_has_expired_already_is_used_and_not_kept(
    scene: TokenScene, expires_in: int
) -> None:
    scene.tokens.answer_fields = {"expires_in": expires_in}
    for count in (1, 2):
        assert isinstance(await scene.push(), Delivered)
        assert len(scene.tokens.issued) == count


async def test_token_that_is_not_taken_is_renewed_once_and_the_push_sent_again(
    scene: TokenScene,
) -> None:
    await scene.push()
    scene.tokens.revoke_all()
    assert isinstance(await scene.push(), Delivered)
    first, second = scene.tokens.issued
    assert scene.shown() == [first, first, second]
    before, after = scene.receiver.requests[1:]
    assert (before.body, before.headers["webhook-id"]) == (after.body, after.headers["webhook-id"])


async def test_pushes_that_are_refused_together_renew_the_token_once(scene: TokenScene) -> None:
    await scene.push()
    scene.tokens.revoke_all()
    outcomes = await asyncio.gather(*(scene.push() for _ in range(8)))
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert len(scene.tokens.issued) == 2


async def test_refusal_that_comes_late_does_not_cost_the_new_token(scene: TokenScene) -> None:
    await scene.push()
    scene.tokens.revoke_all()
    may_answer = asyncio.Event()

    async def late(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await may_answer.wait()
        await receivers.status(401)(request, writer)

    takes_live_tokens = scene.receiver.answer
    scene.receiver.answer = late
    slow = asyncio.ensure_future(scene.push())
    await scene.receiver.wait_for(2)
    scene.receiver.answer = takes_live_tokens
    assert isinstance(await scene.push(), Delivered)
    may_answer.set()
    assert isinstance(await slow, Delivered)
    assert len(scene.tokens.issued) == 2


async def test_new_token_that_is_not_taken_either_ends_the_attempt(scene: TokenScene) -> None:
    scene.receiver.answer = receivers.status(401)
    error = failed(await scene.push())
    assert (error.status_code, error.fault) == (401, DeliveryFault.CONFIGURATION)
    assert (len(scene.receiver.requests), len(scene.tokens.issued)) == (2, 2)
    scene.receiver.answer = receivers.status(200)
    await scene.push()
    assert len(scene.tokens.issued) == 3


async def test_token_that_was_forbidden_is_renewed_at_the_next_attempt(scene: TokenScene) -> None:
    scene.receiver.answer = receivers.in_turn(receivers.status(403), receivers.status(200))
    assert failed(await scene.push()).status_code == 403
    assert len(scene.receiver.requests) == 1
    assert isinstance(await scene.push(), Delivered)
    assert len(scene.tokens.issued) == 2


async def test_failure_of_the_receiver_does_not_cost_the_token(scene: TokenScene) -> None:
    scene.receiver.answer = receivers.status(500)
    for _ in range(3):
        failed(await scene.push())
    assert len(scene.tokens.issued) == 1


async def test_keyrock_is_shown_the_credentials_in_the_header_after_refusing_the_body() -> None:
    async with TokenScene.stage(TokenEndpoint.keyrock()) as scene:
        assert isinstance(await scene.push(), Delivered)
        assert scene.tokens.refused == ["invalid_client"]
        scene.clock.now_s += 3600
        assert isinstance(await scene.push(), Delivered)
        # It is remembered which form was taken.
        assert scene.tokens.refused == ["invalid_client"]


@pytest.mark.parametrize("form", ["body", "basic"])
async def test_form_that_was_chosen_is_the_only_one_tried(scene: TokenScene, form: str) -> None:
    scene.tokens.takes_body = form == "basic"
    scene.tokens.takes_basic = form == "body"
    scene.open(clientAuthentication=form)
    assert failed(await scene.push()).fault is DeliveryFault.CONFIGURATION
    assert scene.tokens.refused == ["invalid_client"]
    scene.tokens.takes_body = scene.tokens.takes_basic = True
    assert isinstance(await scene.push(), Delivered)
