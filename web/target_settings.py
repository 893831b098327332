"""What a data target keeps of what a user sends: settings and secrets apart, both checked.

Who sends null for a secret, or leaves it out, keeps what is stored, because that is what reading it
gives; who sends an empty text removes it. What the kind, or the chosen way of authorization, has no
use for is not kept: a secret that nobody sees must not come back to life unnoticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.errors import InvalidInput
from protocols.targets import Target, TargetResources, discover
from protocols.targets.policy import parse_policy
from protocols.targets.setting_names import (
    COMMON_SETTINGS,
    SIGNING_KEYS,
    implied_authorization,
    unused_names,
)
from storage.repositories.data_targets import DataTargetFields
from web.errors import Refusal
from web.signing_keys import NewKey

SHOWN_KEYS = "shownSigningKeys"
"""A setting that no user sends and no kind reads: what may be known of the keys it signs with."""

_AUTHORIZATION_TYPE = "authorizationType"
# An empty address is a mistake; of every other text it says that there is none.
_URL = "url"


@dataclass(frozen=True, slots=True)
class TargetConfiguration:
    """What is stored, or to be stored: `secrets` apart from the rest."""

    fields: DataTargetFields
    secrets: Mapping[str, Any] = field(repr=False)

    def merged(self) -> dict[str, Any]:
        """All of it in one, as `Target.from_settings` reads it."""
        return {**self.fields.settings, **self.secrets}


def kind_of(type_name: str) -> type[Target]:
    """Return the kind of a type. Raises Refusal when it is not available yet."""
    kind = discover().get(type_name)
    if kind is None:
        raise Refusal(
            400,
            f"Data targets of type {type_name} are not available yet; "
            f"available: {', '.join(sorted(discover()))}.",
        )
    return kind


def configuration(
    body: Mapping[str, Any],
    resources: TargetResources,
    stored: TargetConfiguration | None = None,
) -> TargetConfiguration:
    """Return what is to be stored of `body`, whose settings are in the API's names, after `stored`.

    Raises:
        Refusal: this type is not available yet.
        InvalidInput: what the type itself, or delivery, says of settings that it cannot use.
    """
    kind = kind_of(body["type"])
    settings = {
        name: body[name]
        for name in kind.setting_names | COMMON_SETTINGS
        if body.get(name) is not None and (body[name] != "" or name == _URL)
    }
    had: Mapping[str, object] = stored.secrets if stored else {}
    secrets = {name: _secret(body, had, name) for name in kind.secret_names}
    unused = frozenset[str]()
    if _AUTHORIZATION_TYPE in kind.setting_names:
        chosen = settings.get(_AUTHORIZATION_TYPE) or implied_authorization(settings | secrets)
        settings[_AUTHORIZATION_TYPE] = chosen
        unused = unused_names(chosen)
    kept = {name: settings[name] for name in sorted(settings.keys() - unused)}
    found = {name: secrets[name] for name in sorted(secrets.keys() - unused) if secrets[name]}
    if stored and SHOWN_KEYS in stored.fields.settings:
        kept[SHOWN_KEYS] = stored.fields.settings[SHOWN_KEYS]
    fields = DataTargetFields(name=body["name"], type=body["type"], settings=kept)
    wanted = TargetConfiguration(fields, found)
    _check(kind, wanted, resources)
    return wanted


def _check(kind: type[Target], wanted: TargetConfiguration, resources: TargetResources) -> None:
    """Raises InvalidInput: everything that delivery and the kind find wrong, all of it at once."""
    problems: list[str] = []
    try:
        parse_policy(wanted.fields.settings, kind.ordering)
    except InvalidInput as error:
        problems.append(str(error))
    try:
        kind.from_settings(wanted.merged(), resources)
    except InvalidInput as error:
        problems.append(str(error))
    if problems:
        raise InvalidInput(" ".join(problems))


def _secret(body: Mapping[str, Any], stored: Mapping[str, object], name: str) -> object:
    # The hub makes the keys that it signs with itself.
    given = None if name == SIGNING_KEYS else body.get(name)
    return stored.get(name) if given is None else given


def with_key(target: TargetConfiguration, new: NewKey) -> TargetConfiguration:
    """Return `target` with these keys to sign with in place of those that it had."""
    settings = {**target.fields.settings, SHOWN_KEYS: new.shown}
    return TargetConfiguration(
        replace(target.fields, settings=settings), {**target.secrets, SIGNING_KEYS: new.keys}
    )
