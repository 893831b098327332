"""Trials of data targets: a person has one push sent, and sees all of it.

Nothing of a trial enters the outbox or the books. It goes the way of every push, through the same
kind with the same settings, but from this process and once.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from protocols.errors import (
    DeliveryError,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
    HubFull,
    InvalidInput,
)
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Outcome, Push, Target, TargetResources

TIMEOUT_S: Final = 30.0
"""A person waits no longer, whatever the target's own timeout says."""
# Each holds a request and a connection until its receiver answers.
LIMIT: Final = 16
LIMIT_OF_ORGANIZATION: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTrial:
    """What is to be tried: `settings` are a target's with its secrets."""

    kind: type[Target]
    settings: Mapping[str, Any] = field(repr=False)
    organization_id: int
    device_id: int
    body: bytes | None = field(repr=False)
    """None for a sample of the kind's own."""

    def with_body(self, body: bytes) -> "TargetTrial":
        return replace(self, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What was to be handed over, and what became of it."""

    body: bytes | None = field(repr=False)
    outcome: Outcome


class TargetTrials:
    """Sends them, a limited number at a time; owned by the loop."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._under_way: Counter[int] = Counter()

    async def run(self, trial: TargetTrial, resources: TargetResources, *, now: datetime) -> Tried:
        """Send one push and return what became of it, whatever that is.

        Raises: HubFull when too many are under way, here or for this organization.
        """
        organization_id = trial.organization_id
        of_organization = self._under_way[organization_id]
        if self._under_way.total() >= LIMIT or of_organization >= LIMIT_OF_ORGANIZATION:
            raise HubFull("Too many data targets are being tried at once.")
        self._under_way[organization_id] += 1
        try:
            return await self._send(trial, resources, now)
        finally:
            self._under_way[organization_id] -= 1

    async def _send(self, trial: TargetTrial, resources: TargetResources, now: datetime) -> Tried:
        try:
            target = trial.kind.from_settings(trial.settings, resources)
        except InvalidInput as exc:
            return Tried(body=trial.body, outcome=_misconfigured(str(exc)))
        body = target.sample if trial.body is None else trial.body
        if not target.takes_pushes:
            sentence = "Nothing is pushed to this data target: it is only read from."
            return Tried(body=body, outcome=_misconfigured(sentence))
        push = Push(
            delivery_id=new_delivery_id(),
            message_id=new_message_id(),
            device_id=DeviceId(trial.device_id),
            attempt=1,
            created_at=now,
            body=body,
            batch_id=new_delivery_id() if target.freezes_batches else None,
            is_test=True,
        )
        try:
            return Tried(body=body, outcome=await self._push(target, push))
        finally:
            await target.close()

    async def _push(self, target: Target, push: Push) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                await target.open()
                (outcome,) = await target.deliver([push])
                return outcome
        except DeliveryError as error:
            return error
        except TimeoutError:
            if not limit.expired():
                raise
            sentence = f"There was no answer within {self._timeout_s:g} s."
            return DeliveryRetryable(sentence, fault=DeliveryFault.THROTTLED)


def _misconfigured(sentence: str) -> DeliveryRefused:
    return DeliveryRefused(sentence, fault=DeliveryFault.CONFIGURATION)
