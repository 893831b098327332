"""Settings of FIWARE targets, in the names that OS2iot gives them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from yarl import URL

from protocols.errors import InvalidInput
from protocols.targets.guarding.guard import Guard
from protocols.targets.guarding.url_text import MAX_URL_LENGTH
from protocols.targets.http.settings import HttpTargetSettings, parse_http_settings
from protocols.targets.setting_names import OPERATIONAL_EVENTS

UPSERT_PATH: Final = "/ngsi-ld/v1/entityOperations/upsert/"

# RFC 3986, section 2: what an address consists of; anything else has to be percent-encoded.
_ADDRESS = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
# RFC 9110, section 5.6.2: Orion-LD takes letters, digits, "_" and "-" only, and others take more.
_TENANT = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NgsiLdSettings:
    http: HttpTargetSettings
    """Its address is that of the batch upsert."""
    tenant: str | None
    context: str | None


def parse_ngsi_ld_settings(settings: Mapping[str, object], guard: Guard) -> NgsiLdSettings:
    """Read `settings`; the addresses have to be such that `guard` lets them through.

    Raises:
        InvalidInput: one sentence for each setting that cannot be used.
    """
    problems: list[str] = []
    http: HttpTargetSettings | None = None
    try:
        http = parse_http_settings(settings, guard)
    except InvalidInput as error:
        problems.append(str(error))
    if http is not None and "/ngsi-ld/" in f"{http.url.path}/":
        problems.append(
            "`url` must be the broker's own address: /ngsi-ld/v1 and what follows is added to it."
        )
    tenant = _tenant(settings.get("tenant"), problems)
    context = _context(settings.get("context"), problems)
    if settings.get(OPERATIONAL_EVENTS):
        problems.append(
            f"`{OPERATIONAL_EVENTS}` cannot be used here: they are no entities, and a broker takes "
            "nothing else."
        )
    if problems or http is None:
        raise InvalidInput(" ".join(problems))
    return NgsiLdSettings(http=_at_upsert(http), tenant=tenant, context=context)


def _at_upsert(http: HttpTargetSettings) -> HttpTargetSettings:
    url = URL(_upsert_address(str(http.url)), encoded=True)
    return replace(http, url=url, shown_url=_upsert_address(http.shown_url))


def _upsert_address(address: str) -> str:
    # A query stays: it may hold a key, or the broker's `options=update`.
    base, mark, query = address.partition("?")
    return f"{base.rstrip('/')}{UPSERT_PATH}{mark}{query}"


def _tenant(value: object, problems: list[str]) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and _TENANT.fullmatch(value):
        return value
    problems.append(
        "`tenant` must be at most 100 letters, digits and characters such as `_` and `-`, "
        "without blanks."
    )
    return None


def _context(value: object, problems: list[str]) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= MAX_URL_LENGTH and _is_address(value):
        return value
    problems.append(
        "`context` must be the address of a JSON-LD context that the broker can download, beginning "
        f"with https:// or http://, without a user or password, and at most {MAX_URL_LENGTH} "
        "characters long."
    )
    return None


def _is_address(text: str) -> bool:
    if not _ADDRESS.fullmatch(text):
        return False
    try:
        url = URL(text)
    except ValueError:
        return False
    return bool(url.host) and url.user is None and url.password is None
