"""An HTTP receiver on loopback for the conformance suite."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from protocols.targets.http.signing import SigningAlgorithm, new_signing_secret
from tests.conformance.targets import ReceivedPush, TargetHarness
from tests.support import receivers
from tests.support.receivers import Answer, Receiver

SECRET = "c0nf0rm-s3cret"
SIGNING_SECRET = new_signing_secret(SigningAlgorithm.HMAC_SHA256)

FAULTS: dict[str, Answer] = {
    "answers 400": receivers.status(400),
    "answers 500": receivers.status(500),
    "answers 413": receivers.status(413),
    "redirects": receivers.redirect("http://127.0.0.1:9/"),
    "answers garbage": receivers.garbage(),
    "never answers": receivers.never(),
    "answers a byte at a time": receivers.slowly(b"HTTP/1.1 200 OK\r\n\r\n", interval_s=0.1),
    "sends endless headers": receivers.endless_headers(),
    "sends a huge header": receivers.huge_header(),
    "truncates its body": receivers.truncated_body(),
    "fails at length": receivers.huge_body(500),
    "sends a compressed bomb": receivers.gzip_bomb(500),
    "closes without a word": receivers.closes(),
    "closes mid-way": receivers.closes_mid_way(),
    "resets": receivers.resets(),
}


@asynccontextmanager
async def harness() -> AsyncIterator[TargetHarness]:
    async with Receiver() as receiver:

        def set_answer(answer: Answer) -> Callable[[], Awaitable[None]]:
            async def change() -> None:
                receiver.answer = answer

            return change

        yield TargetHarness(
            settings={
                "url": receiver.url,
                "timeout": 300,
                "authorizationType": "SECRET_URL_PARAMETER",
                "secretParameterName": "key",
                "secretParameterValue": SECRET,
                "envelope": False,
                "batchSize": 1,
                "signingKeys": [{"id": "k1", "secret": SIGNING_SECRET, "expiresAt": None}],
            },
            secret=SECRET,
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
            heal=set_answer(receivers.status(200)),
        )
