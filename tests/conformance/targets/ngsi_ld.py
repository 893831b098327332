"""An NGSI-LD context broker on loopback for the conformance suite."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.conformance.targets import ReceivedPush, TargetHarness
from tests.conformance.targets.http_push import FAULTS as HTTP_FAULTS
from tests.support import receivers
from tests.support.ngsi_ld_broker import CITY_CONTEXT, NgsiLdBroker, url_of
from tests.support.receivers import Answer, Receiver
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint

FAULTS: dict[str, Answer] = {
    **HTTP_FAULTS,
    "does not say what it has not taken": receivers.status(207, b"{}"),
    "says so without an end": receivers.endless_body(207),
}


def make_body(number: int) -> bytes:
    """Return one entity, with blanks and digits that no writer of JSON would put there."""
    return (
        b'[ {"type":"Room", "id": "urn:ngsi-ld:Room:%d",\n'
        b' "note": {"type": "Property", "value": 1.50, "unitCode": "\xc3\xa6"}} ]' % number
    )


@asynccontextmanager
async def harness() -> AsyncIterator[TargetHarness]:
    tokens = TokenEndpoint.keycloak()
    broker = NgsiLdBroker(tokens=tokens)
    async with Receiver(broker) as receiver, Receiver(tokens) as endpoint:

        def set_answer(answer: Answer) -> Callable[[], Awaitable[None]]:
            async def change() -> None:
                receiver.answer = answer

            return change

        yield TargetHarness(
            settings={
                "url": url_of(receiver),
                "timeout": 300,
                "authorizationType": "OAUTH_AUTHORIZATION",
                "tokenEndpoint": tokens.url_of(endpoint),
                "clientId": CLIENT_ID,
                "clientSecret": CLIENT_SECRET,
                "tenant": "city",
                "context": CITY_CONTEXT,
            },
            secret=CLIENT_SECRET,
            make_body=make_body,
            received=lambda: [
                ReceivedPush(
                    delivery_id=request.headers["webhook-id"],
                    message_id=request.headers["tingbro-message-id"],
                    body=request.body,
                )
                for request in receiver.requests
            ],
            wait_for=receiver.wait_for,
            faults={name: set_answer(answer) for name, answer in FAULTS.items()},
            heal=set_answer(broker),
        )
