"""The double is worth something only if it refuses what token endpoints refuse."""

import base64
import json
from urllib.parse import quote_plus, urlencode

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tests.support.receivers import ReceivedRequest
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
GRANT = {"grant_type": "client_credentials"}
SHOWN = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


def basic(secret: str, *, encode: bool = True) -> dict[str, str]:
    pair = f"{CLIENT_ID}:{quote_plus(secret) if encode else secret}"
    return FORM | {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def ask(
    endpoint: TokenEndpoint,
    fields: dict[str, str] | str,
    headers: dict[str, str] = FORM,
    *,
    target: str | None = None,
    method: str = "POST",
) -> tuple[int, dict[str, object]]:
    body = fields if isinstance(fields, str) else urlencode(fields)
    head, _, answer = endpoint.answer(
        ReceivedRequest(
            method=method,
            target=target or endpoint.path,
            headers=CIMultiDictProxy(CIMultiDict(headers)),
            body=body.encode(),
            connection=1,
        )
    ).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(answer)


def test_keycloak_takes_the_credentials_in_either_form() -> None:
    endpoint = TokenEndpoint.keycloak()
    for answer in (ask(endpoint, GRANT | SHOWN), ask(endpoint, GRANT, basic(CLIENT_SECRET))):
        assert answer[0] == 200
        assert endpoint.is_live(str(answer[1]["access_token"]))
    endpoint.revoke_all()
    assert not endpoint.is_live(endpoint.issued[-1])


def test_keyrock_takes_them_in_the_header_only() -> None:
    endpoint = TokenEndpoint.keyrock()
    assert ask(endpoint, GRANT | SHOWN)[1]["error"] == "invalid_client"
    assert ask(endpoint, GRANT, basic(CLIENT_SECRET))[0] == 200


@pytest.mark.parametrize(
    ("code", "fields", "headers"),
    [
        ("invalid_client", GRANT, FORM),
        ("invalid_client", GRANT | SHOWN | {"client_secret": "x"}, FORM),
        ("invalid_client", GRANT, basic("wrong")),
        ("invalid_client", GRANT, basic(CLIENT_SECRET, encode=False)),
        ("invalid_request", GRANT | SHOWN, basic(CLIENT_SECRET)),
        ("invalid_request", GRANT | SHOWN | {"more": "1"}, FORM),
        ("invalid_request", urlencode(GRANT | SHOWN) + "&grant_type=client_credentials", FORM),
        ("invalid_request", GRANT | SHOWN, {"Content-Type": "application/json"}),
        ("invalid_request", GRANT, FORM | {"Authorization": "Basic ???"}),
        ("invalid_scope", GRANT | SHOWN | {"scope": "email root"}, FORM),
        ("unsupported_grant_type", SHOWN | {"grant_type": "password"}, FORM),
        ("unsupported_grant_type", SHOWN, FORM),
    ],
)
def test_broken_rule_is_refused(
    code: str, fields: dict[str, str] | str, headers: dict[str, str]
) -> None:
    endpoint = TokenEndpoint.keycloak()
    status, answer = ask(endpoint, fields, headers)
    assert status >= 400
    assert answer["error"] == code
    assert endpoint.issued == []


def test_credentials_in_the_address_and_other_methods_are_refused() -> None:
    endpoint = TokenEndpoint.keycloak()
    query = urlencode(GRANT | SHOWN)
    assert ask(endpoint, "", target=f"{endpoint.path}?{query}")[0] == 404
    assert ask(endpoint, GRANT | SHOWN, method="GET")[0] == 405
