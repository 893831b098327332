"""Data targets as they are stored, secrets included, and what every change of one has in common."""

from datetime import datetime

from protocols.errors import InvalidInput, SecretsUnreadable
from storage.database import Reader, Transaction
from storage.repositories import data_targets, target_secrets
from storage.repositories.data_targets import DataTarget
from web.call import Action, Call, Change, Changed
from web.errors import Refusal
from web.hub_port import Entity
from web.target_settings import TargetConfiguration, kind_of
from web.views import View, data_target_views


def stored_target(call: Call, reader: Reader, found: DataTarget) -> TargetConfiguration:
    """Return what is stored of a target, its secrets opened.

    Raises:
        Refusal: 409, they cannot be read; nothing may be written over them by accident.
    """
    try:
        secrets = target_secrets.get(reader, call.services.box, found.id)
    except SecretsUnreadable as exc:
        raise Refusal(
            409, f"{exc} To give them up and write new ones, send `forgetSecrets`: true."
        ) from exc
    return TargetConfiguration(found.fields, secrets)


def configuration_error(call: Call, reader: Reader, found: DataTarget) -> str | None:
    """Return why a target cannot be sent to as it is stored, in the words of its actor."""
    try:
        secrets = target_secrets.get(reader, call.services.box, found.id)
        stored = TargetConfiguration(found.fields, secrets)
        kind_of(found.fields.type).from_settings(stored.merged(), call.services.target_resources)
    except InvalidInput as error:
        return str(error)
    return None


def changed_target(
    call: Call, transaction: Transaction, action: Action, target_id: int, now: datetime
) -> Changed[View]:
    """Return the target as it is now, and what was done to it."""
    found = data_targets.get(transaction, call.scope, target_id)
    view = data_target_views(transaction, [found], now)[0]
    return Changed(view, change_of_target(action, found))


def change_of_target(action: Action, found: DataTarget) -> Change:
    return Change(
        action=action,
        entity=Entity.DATA_TARGET,
        entity_id=found.id,
        name=found.fields.name,
        organization_ids=(found.organization_id,),
    )
