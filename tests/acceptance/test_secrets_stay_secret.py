"""Secrets are given to a whole hub in every way it takes them, and looked for wherever they could be."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import receivers
from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.receivers import Receiver
from tests.support.token_endpoint import CLIENT_ID, TokenEndpoint

SECRET = "s3cr3t-0123456789"
WAYS: list[dict[str, str]] = [
    {"authorizationHeader": f"Bearer {SECRET}"},
    {"authorizationType": "HTTP_BASIC_AUTHORIZATION", "username": "u", "password": SECRET},
    {"authorizationType": "SECRET_HEADER", "secretHeaderName": "X-K", "secretHeaderValue": SECRET},
    {
        "authorizationType": "SECRET_URL_PARAMETER",
        "secretParameterName": "key",
        "secretParameterValue": SECRET,
    },
]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    # On debug everything is logged that ever could be.
    with HubProcess(tmp_path, settings={"LOG_LEVEL": "debug"}) as process:
        yield process


@pytest.fixture
async def city(hub: HubProcess) -> AsyncIterator[City]:
    async with HubClient(hub.url) as client:
        await client.login()
        yield await City.found(client)


def contents(directory: Path) -> list[bytes]:
    """What stands in the files there: the log and what was printed, or the database."""
    return [path.read_bytes() for path in directory.iterdir() if path.is_file()]


async def answers_of(client: HubClient, ids: set[int]) -> str:
    """Everything that anybody can read."""
    document = await client.get("docs-json")
    texts: list[str] = []
    for path, operations in document["paths"].items():
        if "get" in operations:
            for number in sorted(ids) if "{" in path else [0]:
                concrete = path.replace("{id}", str(number)).replace("{path}", "hub")
                answer = await client.request("GET", concrete)
                texts.append(json.dumps(answer.body))
    assert any('"authorizationHeaderIsSet": true' in text for text in texts)
    return "\n".join(texts)


async def test_no_log_no_answer_and_no_file_holds_a_secret_of_a_target(
    hub: HubProcess, city: City, tmp_path: Path
) -> None:
    client, signing = city.client, []
    said: list[str] = []

    async def ask(method: str, path: str, body: Any = None, *, shows_key: bool = False) -> Any:
        answer = await client.request(method, f"/api/v1/{path}", json=body)
        if shows_key:
            signing.append(answer.body.pop("signingSecret").removeprefix("whsec_"))
        said.append(json.dumps(answer.body))
        return answer.body

    tokens = TokenEndpoint.keycloak()
    tokens.secret = SECRET
    async with (
        Receiver(receivers.status(500, f"You sent {SECRET}".encode())) as receiver,
        Receiver(tokens) as token_receiver,
    ):
        device = await city.device()
        targets: set[int] = set()
        oauth = {
            "authorizationType": "OAUTH_AUTHORIZATION",
            "tokenEndpoint": tokens.url_of(token_receiver),
            "clientId": CLIENT_ID,
            "clientSecret": SECRET,
        }
        ways = [*WAYS, oauth]
        for way in ways:
            base = {
                "name": "t",
                "type": "HTTP_PUSH",
                "applicationId": city.application_id,
                "url": receiver.url,
            }
            made = await ask("POST", "data-target", {**base, **way}, shows_key=True)
            path = f"data-target/{made['id']}"
            targets.add(made["id"])
            await client.connect([device], made["id"])
            await ask("POST", f"{path}/rotate-secret", shows_key=True)
            await ask("POST", f"{path}/rotate-secret", {"algorithm": "ed25519"})
            await ask("POST", f"{path}/test")
            await ask("POST", "data-target/testDataTarget", {"dataTargetId": made["id"]})
            await ask("PUT", path, {**base, **way, "url": f"ftp://{SECRET}"})
            await ask("PUT", path, {**base, **way, "timeout": SECRET})
            await ask("PUT", path, {**base, **way})
        before = len(receiver.requests)
        await client.send(device, {"n": 1})
        await receiver.wait_for(before + len(ways))
        said.append(await answers_of(client, targets | {device.id, city.application_id}))
    assert any(SECRET in str(request) for request in receiver.requests)
    hub.terminate()
    said += [text.decode() for text in contents(tmp_path)]
    kept = contents(hub.data_dir)
    assert len(said) > 2
    assert len(kept) > 1
    assert len(signing) == 2 * len(ways)
    encoded = base64.b64encode(f"u:{SECRET}".encode()).decode()
    assert tokens.issued
    for secret in (SECRET, encoded, *tokens.issued, *signing, "whsk_"):
        assert not [text for text in said if secret in text], secret
        assert not [content for content in kept if secret.encode() in content], secret
