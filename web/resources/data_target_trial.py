"""A data target is tried out: with a sample, a package of one's own, or a device's latest message."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from protocols.errors import DeliveryError, NotFound
from protocols.exchange import Exchange
from protocols.messages import DeviceId
from protocols.targets import Outcome
from storage.database import Reader, Transaction
from storage.plans import PlanStore
from storage.repositories import Author, data_targets, decoders, devices, receptions
from storage.repositories.data_targets import DataTarget
from web.access import Needs
from web.call import Action, Call, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.routing import Route, RouteFamily
from web.schemas.target_operation import (
    TrialBody,
    TrialOfTargetBody,
    TrialResultSchema,
    TrialSchema,
)
from web.target_settings import kind_of
from web.target_trials import TargetTrial, TargetTrials
from web.target_writing import change_of_target, stored_target
from web.views import View


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What somebody wants to have tried, as far as it is looked up."""

    trial: TargetTrial
    code: str | None
    """The decoder that the trial's body goes through first."""
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """`outcome` is None when nothing was sent, because the decoder failed."""

    body: bytes | None
    is_decoded: bool = False
    outcome: Outcome | None = None
    error: str | None = None


def routes() -> list[Route]:
    """The routes, which share the count of the trials that are under way."""
    trials = TargetTrials()

    async def test_named(call: Call) -> View:
        tried = await _try(call, trials, call.body["data_target_id"])
        decoded = {"decoded_payload": _verbatim(tried.body)} if tried.is_decoded else {}
        return {"result": _result(tried), **decoded}

    async def test(call: Call) -> View:
        return _exchange(await _try(call, trials, call.id))

    family = RouteFamily("data-target")
    return [
        family.route(
            "POST",
            "/testDataTarget",
            test_named,
            needs=Needs.APPLICATION_ADMIN,
            summary="Send one push to a data target, as OS2iot does it",
            body=TrialOfTargetBody,
            reply=TrialResultSchema,
            status=201,
        ),
        family.route(
            "POST",
            "/{id}/test",
            test,
            needs=Needs.APPLICATION_ADMIN,
            summary="Send one push to a data target and see the whole exchange",
            body=TrialBody,
            is_body_required=False,
            reply=TrialSchema,
        ),
    ]


async def _try(call: Call, trials: TargetTrials, target_id: int) -> _Tried:
    metadata = await _metadata(call)

    def unit(transaction: Transaction, _author: Author) -> Changed[_Asked]:
        found = data_targets.get(transaction, call.scope, target_id)
        asked = _look_up(call, transaction, found, metadata)
        return Changed(asked, change_of_target(Action.TEST, found))

    asked = await call.change(unit)
    services, trial = call.services, asked.trial
    if asked.code is not None and trial.body is not None:
        decoded = await services.hub.test_decoder(asked.code, trial.body, asked.metadata)
        if decoded.body is None:
            sentence = f"The payload decoder failed, and nothing was sent: {decoded.error}"
            return _Tried(body=None, error=sentence)
        trial = trial.with_body(decoded.body)
    tried = await trials.run(trial, services.target_resources, now=services.clock())
    return _Tried(
        body=tried.body,
        is_decoded=asked.code is not None,
        outcome=tried.outcome,
        error=str(tried.outcome) if isinstance(tried.outcome, DeliveryError) else None,
    )


def _look_up(call: Call, reader: Reader, found: DataTarget, metadata: bytes) -> _Asked:
    """All that is named must exist for the caller, and belong together as in a connection."""
    device_id, decoder_id = call.body["iot_device_id"], call.body["payload_decoder_id"]
    payload: bytes | None = call.body["data_package"]
    if device_id is not None:
        payload = _payload_of(call, reader, found, device_id, payload)
    code = None if decoder_id is None else _code_of(call, reader, found, decoder_id)
    trial = TargetTrial(
        kind=kind_of(found.fields.type),
        settings=stored_target(call, reader, found).merged(),
        organization_id=found.organization_id,
        device_id=device_id or 0,
        body=payload,
    )
    # A sample is what a decoder would have made.
    return _Asked(trial=trial, code=None if payload is None else code, metadata=metadata)


def _payload_of(
    call: Call, reader: Reader, found: DataTarget, device_id: int, given: bytes | None
) -> bytes:
    """Return what was given, or else what the device has sent last."""
    known = devices.get_many(reader, call.scope, [device_id])
    if not known:
        raise Refusal(400, ErrorCode.DEVICE_DOES_NOT_EXIST, "There is no such device.")
    if known[0].application_id != found.application_id:
        raise Refusal(
            400,
            ErrorCode.NOT_SAME_APPLICATION,
            "The device and the data target must be of the same application.",
        )
    if given is not None:
        return given
    latest = receptions.latest(reader, device_id)
    if latest is None or latest.payload is None:
        raise Refusal(400, "No message of this device is kept: give a `dataPackage`.")
    return latest.payload


def _code_of(call: Call, reader: Reader, found: DataTarget, decoder_id: int) -> str:
    try:
        decoder = decoders.get(reader, call.scope, decoder_id)
    except NotFound as exc:
        raise Refusal(400, ErrorCode.ID_DOES_NOT_EXIST, str(exc)) from exc
    if decoder.organization_id not in (None, found.organization_id):
        raise Refusal(
            400,
            ErrorCode.ID_DOES_NOT_EXIST,
            "The payload decoder belongs to another organization than the data target.",
        )
    return decoder.decoding_function


async def _metadata(call: Call) -> bytes:
    """What the decoder is told of the device; of none, nothing."""
    device_id = call.body["iot_device_id"]
    if device_id is None:
        return b"{}"
    plans = await PlanStore(call.services.database).load([DeviceId(device_id)])
    return plans[DeviceId(device_id)].metadata


def _result(tried: _Tried) -> View:
    status_code = None if tried.outcome is None else tried.outcome.status_code
    return {
        "status": "OK" if tried.error is None else "ERROR",
        "status_code": status_code,
        "status_text": _phrase(status_code),
        "error_message": tried.error,
    }


def _exchange(tried: _Tried) -> View:
    outcome = tried.outcome
    exchange = (None if outcome is None else outcome.exchange) or Exchange()
    known = exchange.to_json()
    status_code = None if outcome is None else outcome.status_code
    return {
        "is_delivered": tried.error is None,
        "error": tried.error,
        "error_code": outcome.code if isinstance(outcome, DeliveryError) else None,
        "fault": outcome.fault if isinstance(outcome, DeliveryError) else None,
        "payload": None if tried.body is None else _verbatim(tried.body),
        "request": {
            "url": known.get("url"),
            "address": known.get("address"),
            "headers": dict(exchange.request_headers),
            "body": exchange.request_body,
            "sent_bytes": known.get("sentBytes", 0),
            "key_ids": known.get("keyIds", []),
        },
        "response": {
            "status_code": status_code,
            "status_text": _phrase(status_code),
            "headers": known.get("responseHeaders", {}),
            "excerpt": exchange.response_excerpt,
        },
        "timing_ms": known.get("timingMs", {}),
    }


def _phrase(status_code: int | None) -> str | None:
    try:
        return None if status_code is None else HTTPStatus(status_code).phrase
    except ValueError:
        return None


def _verbatim(body: bytes | None) -> Any:
    # Parsing it would round numbers that the receiver gets as they are.
    return orjson.Fragment(body or b"null")
