"""A receiver that wants tokens, the endpoint that grants them, and a target that pushes with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

from protocols.errors import DeliveryError
from protocols.targets import Outcome, TargetResources
from protocols.targets.http.session import http_session
from protocols.targets.http_push import HttpPushTarget
from tests.support import receivers
from tests.support.guards import loopback_guard
from tests.support.pushes import make_push
from tests.support.receivers import ReceivedRequest, Receiver
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class TokenScene:
    """A receiver that takes the live tokens of an endpoint, and a target that sends to it."""

    def __init__(self, session: aiohttp.ClientSession, tokens: TokenEndpoint) -> None:
        self.tokens = tokens
        self.clock = Clock()
        self.endpoint = Receiver(tokens)
        self.receiver = Receiver(self._answer)
        self.resources = TargetResources(
            http_session=session, guard=loopback_guard(), monotonic_s=self.clock
        )
        self.target: HttpPushTarget

    @classmethod
    @asynccontextmanager
    async def stage(cls, tokens: TokenEndpoint) -> AsyncIterator[Self]:
        """A scene with the target open."""
        async with http_session(guard=loopback_guard()) as session:
            scene = cls(session, tokens)
            async with scene.endpoint, scene.receiver:
                scene.open()
                yield scene
                await scene.target.close()

    def open(self, **more: object) -> None:
        self.target = HttpPushTarget.from_settings(
            {
                "url": self.receiver.url,
                "timeout": 5000,
                "authorizationType": "OAUTH_AUTHORIZATION",
                "tokenEndpoint": self.tokens.url_of(self.endpoint),
                "clientId": CLIENT_ID,
                "clientSecret": CLIENT_SECRET,
                **more,
            },
            self.resources,
        )

    async def push(self) -> Outcome:
        (outcome,) = await self.target.deliver([make_push()])
        return outcome

    async def _answer(self, request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_welcome = scheme == "Bearer" and self.tokens.is_live(token)
        await receivers.status(200 if is_welcome else 401, token.encode())(request, writer)

    def shown(self) -> list[str]:
        """The tokens that arrived, in order."""
        return [request.headers["Authorization"][7:] for request in self.receiver.requests]


def failed(outcome: Outcome) -> DeliveryError:
    assert isinstance(outcome, DeliveryError)
    return outcome
