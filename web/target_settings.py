"""What a data target keeps of what a user sends: settings and secrets apart, both checked.

Who sends null for a secret, or leaves it out, keeps what is stored, because that is what reading it
gives; who sends an empty text removes it. What the chosen kind of authorization has no use for is
not kept: a secret that nobody sees must not come back to life unnoticed.
"""

from collections.abc import Mapping
from typing import Any

from protocols.targets import TargetResources, discover
from storage.repositories.data_targets import DataTargetFields
from web.errors import Refusal
from web.schemas.data_target import SECRETS, SETTINGS

_HEADER = "HEADER_BASED_AUTHORIZATION"
# What each way of authorization uses, besides the address.
_USED = {
    "NO_AUTHORIZATION": frozenset(),
    _HEADER: frozenset({"authorizationHeader"}),
    "HTTP_BASIC_AUTHORIZATION": frozenset({"username", "password"}),
    "SECRET_HEADER": frozenset({"secretHeaderName", "secretHeaderValue"}),
    "SECRET_URL_PARAMETER": frozenset({"secretParameterName", "secretParameterValue"}),
}
_ALWAYS_USED = frozenset({"url", "timeout", "authorizationType"})


def target_fields(
    body: Mapping[str, Any],
    stored_secrets: Mapping[str, str],
    resources: TargetResources,
) -> DataTargetFields:
    """Return what is to be stored of `body`, whose settings are in the API's names.

    Raises:
        Refusal: this type is not available yet.
        InvalidInput: what the type itself says of settings that it cannot use.
    """
    kind = discover().get(body["type"])
    if kind is None:
        raise Refusal(
            400,
            f"Data targets of type {body['type']} are not available yet; "
            f"available: {', '.join(sorted(discover()))}.",
        )
    settings = {name: body[name] for name in SETTINGS if body.get(name) is not None}
    secrets = {name: _secret(body.get(name), stored_secrets.get(name)) for name in SECRETS}
    if not settings.get("authorizationType"):
        settings["authorizationType"] = (
            _HEADER if secrets["authorizationHeader"] else "NO_AUTHORIZATION"
        )
    used = _USED.get(str(settings["authorizationType"]), frozenset()) | _ALWAYS_USED
    fields = DataTargetFields(
        name=body["name"],
        type=body["type"],
        settings={name: value for name, value in settings.items() if name in used},
        secrets={name: value for name, value in secrets.items() if value and name in used},
    )
    kind.from_settings(fields.merged(), resources)
    return fields


def _secret(given: str | None, stored: str | None) -> str | None:
    return stored if given is None else given
