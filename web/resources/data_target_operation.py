"""A data target is switched off and on, and gets new keys to sign with."""

from protocols.targets import SigningAlgorithm
from protocols.targets.setting_names import SIGNING_KEYS
from storage.database import Transaction
from storage.instants import microseconds
from storage.repositories import Author, data_targets, target_health, target_secrets
from web.access import Needs
from web.call import Action, Call, Changed
from web.errors import Refusal
from web.routing import RouteFamily
from web.schemas.data_target import DataTargetSchema, SignedDataTargetSchema
from web.schemas.target_operation import DisableBody, RotateSecretBody
from web.signing_keys import add_key
from web.target_settings import kind_of, with_key
from web.target_writing import changed_target, stored_target
from web.views import View

_NO_REASON = "Disabled by a person."


async def _rotate_secret(call: Call) -> View:
    now = call.services.clock()
    algorithm = SigningAlgorithm(call.body["algorithm"])

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = data_targets.get(transaction, call.scope, call.id)
        if SIGNING_KEYS not in kind_of(found.fields.type).secret_names:
            raise Refusal(
                400, f"What is sent to a target of type {found.fields.type} is not signed."
            )
        stored = stored_target(call, transaction, found)
        new = add_key(
            algorithm,
            stored.secrets.get(SIGNING_KEYS, ()),
            now=now,
            keeps_old=not call.body["revoke_previous"],
        )
        wanted = with_key(stored, new)
        data_targets.update_fields(transaction, call.id, wanted.fields, author)
        target_secrets.put(transaction, call.services.box, call.id, wanted.secrets)
        changed = changed_target(call, transaction, Action.ROTATE, call.id, now)
        return Changed({**changed.result, "signing_secret": new.secret}, changed.change)

    return await call.change(unit)


async def _enable(call: Call) -> View:
    now = call.services.clock()

    def unit(transaction: Transaction, _author: Author) -> Changed[View]:
        data_targets.get(transaction, call.scope, call.id)
        target_health.enable(transaction, call.id)
        return changed_target(call, transaction, Action.ENABLE, call.id, now)

    return await call.change(unit)


async def _disable(call: Call) -> View:
    now = call.services.clock()
    reason = call.body["reason"] or _NO_REASON

    def unit(transaction: Transaction, _author: Author) -> Changed[View]:
        data_targets.get(transaction, call.scope, call.id)
        target_health.disable(transaction, call.id, at=microseconds(now), reason=reason)
        return changed_target(call, transaction, Action.DISABLE, call.id, now)

    return await call.change(unit)


_target = RouteFamily("data-target")

ROUTES = [
    _target.route(
        "POST",
        "/{id}/rotate-secret",
        _rotate_secret,
        needs=Needs.APPLICATION_ADMIN,
        summary="Sign with a new key, shown this once; the old one signs for 24 hours beside it",
        body=RotateSecretBody,
        is_body_required=False,
        reply=SignedDataTargetSchema,
    ),
    _target.route(
        "POST",
        "/{id}/enable",
        _enable,
        needs=Needs.APPLICATION_ADMIN,
        summary="Push to a target again, beginning with what waits",
        reply=DataTargetSchema,
    ),
    _target.route(
        "POST",
        "/{id}/disable",
        _disable,
        needs=Needs.APPLICATION_ADMIN,
        summary="Push nothing to a target until it is enabled; what is meant for it waits",
        body=DisableBody,
        is_body_required=False,
        reply=DataTargetSchema,
    ),
]
