"""Replays: having deliveries sent again that were given up, or that a receiver has lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from storage.database import Reader, Transaction
from storage.delivery import redelivery
from storage.delivery.deliveries import DeliveryState
from storage.delivery.redelivery import SETTLED, Redelivery, RedeliveryState, Wish
from storage.repositories import Author, data_targets
from storage.repositories.data_targets import DataTarget
from web.access import Needs
from web.call import Action, Call, Change, Changed
from web.hub_port import Entity
from web.routing import RouteFamily
from web.schemas.delivery import RedeliveryBody, RedeliverySchema, RedeliveryTakenSchema
from web.views import View

_SHOWN = 100


async def _create(call: Call) -> View:
    now = call.services.clock()

    def read(reader: Reader) -> tuple[Wish, int | None]:
        data_targets.get(reader, call.scope, call.id)
        wish = _wish(reader, call)
        return wish, redelivery.estimate(reader, call.id, wish)

    wish, estimate = await call.read(read)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        target = data_targets.get(transaction, call.scope, call.id)
        taken = redelivery.create(transaction, call.id, wish, now, estimated=estimate)
        return Changed({"id": taken, "estimate": estimate}, _change(Action.REPLAY, target))

    return await call.change(unit)


async def _list(call: Call) -> Sequence[View]:
    def read(reader: Reader) -> list[View]:
        data_targets.get(reader, call.scope, call.id)
        return [_view(one) for one in redelivery.list_of_target(reader, call.id, _SHOWN)]

    return await call.read(read)


async def _stop(call: Call) -> View:
    now = call.services.clock()

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        target = data_targets.get(transaction, call.scope, call.id)
        found = redelivery.get(transaction, call.id, call.path["replay"])
        if found.state is RedeliveryState.RUNNING:
            redelivery.stop(transaction, found.id, now)
        stopped = redelivery.get(transaction, call.id, found.id)
        return Changed(_view(stopped), _change(Action.STOP, target))

    return await call.change(unit)


def _wish(reader: Reader, call: Call) -> Wish:
    body: Mapping[str, Any] = call.body
    rate_per_s = body["rate_per_second"]
    if body["delivery_ids"] is not None:
        ids = tuple(body["delivery_ids"])
        return Wish(states=SETTLED, delivery_ids=ids, rate_per_s=rate_per_s)
    settled_from = None
    if body["since_failure"]:
        # What was given up since then; a target that has recovered gets all that is not sent again yet.
        settled_from = redelivery.failing_since(reader, call.id)
    return Wish(
        states=frozenset(map(DeliveryState, body["states"])),
        from_at=body["from_at"],
        to_at=body["to_at"],
        settled_from=settled_from,
        device_id=body["device_id"],
        rate_per_s=rate_per_s,
    )


def _view(one: Redelivery) -> View:
    return {
        "id": one.id,
        "state": one.state,
        "estimate": one.estimate,
        "made": one.made,
        "skipped": one.skipped,
        "states": sorted(one.wish.states),
        "device_id": one.wish.device_id,
        "from_at": one.wish.from_at,
        "to_at": one.wish.to_at,
        "rate_per_second": one.wish.rate_per_s,
        "created_at": one.created_at,
        "finished_at": one.finished_at,
    }


def _change(action: Action, target: DataTarget) -> Change:
    return Change(
        action=action,
        entity=Entity.DATA_TARGET,
        entity_id=target.id,
        name=target.fields.name,
        organization_ids=(target.organization_id,),
    )


_family = RouteFamily("data-target")

ROUTES = [
    _family.route(
        "POST",
        "/{id}/replay",
        _create,
        needs=Needs.APPLICATION_ADMIN,
        summary="Have deliveries sent again, as new ones and outside the live order",
        body=RedeliveryBody,
        reply=RedeliveryTakenSchema,
        status=202,
    ),
    _family.route(
        "GET",
        "/{id}/replay",
        _list,
        needs=Needs.READ,
        summary="List replays of a data target, newest first, with how far they have got",
        reply=RedeliverySchema,
        is_reply_list=True,
    ),
    _family.route(
        "DELETE",
        "/{id}/replay/{replay}",
        _stop,
        needs=Needs.APPLICATION_ADMIN,
        summary="Stop a replay; what it has made already is delivered",
        reply=RedeliverySchema,
    ),
]
