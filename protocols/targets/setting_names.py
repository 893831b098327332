"""Which settings several kinds of data target share, and which of them a way of authorization uses.

A kind names what it reads in `Target.setting_names` and `Target.secret_names`, from these sets and
from names of its own. What a user sends under other names is not kept.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from protocols.targets.policy import POLICY_SETTINGS

SIGNING_KEYS: Final = "signingKeys"
"""A secret of the kinds that sign what they send. The hub makes it; no user ever sends it."""

OPERATIONAL_EVENTS: Final = "operationalEvents"
"""Whether the target is also told what befalls the data targets of its application."""

COMMON_SETTINGS: Final = frozenset((*POLICY_SETTINGS, OPERATIONAL_EVENTS))
"""Those of every kind: about delivery itself, not about a protocol."""

HTTP_SETTINGS: Final = frozenset(
    {
        "url",
        "timeout",
        "authorizationType",
        "username",
        "secretHeaderName",
        "secretParameterName",
        "clientId",
        "tokenEndpoint",
        "scope",
        "clientAuthentication",
    }
)
HTTP_SECRETS: Final = frozenset(
    {
        "authorizationHeader",
        "password",
        "secretHeaderValue",
        "secretParameterValue",
        "clientSecret",
        SIGNING_KEYS,
    }
)

USED_BY_AUTHORIZATION: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "NO_AUTHORIZATION": frozenset(),
        "HEADER_BASED_AUTHORIZATION": frozenset({"authorizationHeader"}),
        "HTTP_BASIC_AUTHORIZATION": frozenset({"username", "password"}),
        "SECRET_HEADER": frozenset({"secretHeaderName", "secretHeaderValue"}),
        "SECRET_URL_PARAMETER": frozenset({"secretParameterName", "secretParameterValue"}),
        "OAUTH_AUTHORIZATION": frozenset(
            {"clientId", "clientSecret", "tokenEndpoint", "scope", "clientAuthentication"}
        ),
    }
)
"""Which settings and secrets each way of authorization uses, for kinds that read `authorizationType`."""

_AUTHORIZATION: Final = frozenset[str]().union(*USED_BY_AUTHORIZATION.values())


def implied_authorization(settings: Mapping[str, object]) -> str:
    """Return the way of authorization of settings that name none, as clients of OS2iot send them.

    A token endpoint decides by itself: who has set one and forgotten the rest is told so, and does not
    find out from pushes that nobody authorizes.
    """
    if settings.get("tokenEndpoint"):
        return "OAUTH_AUTHORIZATION"
    if settings.get("authorizationHeader"):
        return "HEADER_BASED_AUTHORIZATION"
    return "NO_AUTHORIZATION"


def unused_names(authorization_type: str) -> frozenset[str]:
    """Return the settings and secrets that only other ways of authorization have a use for."""
    return _AUTHORIZATION - USED_BY_AUTHORIZATION.get(authorization_type, frozenset())
