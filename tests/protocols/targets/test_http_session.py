"""Where the connections of data targets go, and that nothing turns them elsewhere."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Delivered, Outcome, Push, TargetResources
from protocols.targets.guarding.guard import Guard, GuardRules
from protocols.targets.guarding.name_lookup import NameLookup
from protocols.targets.http.session import http_session
from protocols.targets.http_push import HttpPushTarget
from tests.support import receivers
from tests.support.receiver_certificates import Authority
from tests.support.receivers import Receiver

NAME = "receiver.example"
HERE = "127.0.0.1"
ELSEWHERE = "127.0.0.2"
ONLY_HERE = GuardRules(allow_networks=(ip_network(HERE),), allow_http=True)
AUTHORITY = Authority.make()


class Names:
    """A name server that says what it is told to say, and counts how often it was asked."""

    def __init__(self, *answer: str) -> None:
        self.answer: Sequence[str] = answer
        self.asked = 0

    def __call__(self, name: str) -> Sequence[str]:
        self.asked += 1
        return self.answer


class Sender:
    """Pushes through one session; every push has a target of its own."""

    def __init__(self, resources: TargetResources) -> None:
        self.resources = resources

    async def push(self, url: str, timeout_ms: int = 5000, is_test: bool = False) -> Outcome:
        settings = {"url": url, "timeout": timeout_ms}
        target = HttpPushTarget.from_settings(settings, self.resources)
        push = Push(
            delivery_id=new_delivery_id(),
            message_id=new_message_id(),
            device_id=DeviceId(1),
            attempt=1,
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            body=b"{}",
            is_test=is_test,
        )
        (outcome,) = await target.deliver([push])
        return outcome

    async def fail(self, url: str, timeout_ms: int = 5000) -> DeliveryError:
        outcome = await self.push(url, timeout_ms)
        assert isinstance(outcome, DeliveryError)
        return outcome


@asynccontextmanager
async def sending(
    names: Names, rules: GuardRules = ONLY_HERE, *, max_age_s: float = 60.0
) -> AsyncIterator[Sender]:
    guard = Guard(rules, lookup=NameLookup(names))
    async with http_session(guard=guard, tls=AUTHORITY.trusting(), max_age_s=max_age_s) as session:
        yield Sender(TargetResources(http_session=session, guard=guard))


async def test_request_goes_to_the_address_and_names_the_name() -> None:
    async with Receiver() as receiver, sending(Names(HERE)) as sender:
        outcome = await sender.push(f"http://{NAME}:{receiver.port}/in", is_test=True)
    assert isinstance(outcome, Delivered)
    assert receiver.requests[0].headers["Host"] == f"{NAME}:{receiver.port}"
    assert outcome.exchange is not None
    assert outcome.exchange.address == HERE


async def test_name_that_changes_its_mind_is_refused_at_the_next_connection() -> None:
    names = Names(HERE)
    async with (
        Receiver(receivers.status(200, connection="close")) as receiver,
        Receiver(host=ELSEWHERE, port=receiver.port) as other,
        sending(names) as sender,
    ):
        url = f"http://{NAME}:{receiver.port}/in"
        assert isinstance(await sender.push(url), Delivered)
        names.answer = [ELSEWHERE]
        error = await sender.fail(url)
    assert isinstance(error, DeliveryRefused)
    assert error.fault is DeliveryFault.MESSAGE
    assert (len(receiver.requests), len(other.requests)) == (1, 0)
    assert error.exchange is not None
    assert error.exchange.address is None


async def test_kept_connection_goes_where_it_went_whatever_the_name_says_meanwhile() -> None:
    names = Names(HERE)
    async with (
        Receiver() as receiver,
        Receiver(host=ELSEWHERE, port=receiver.port) as other,
        sending(names) as sender,
    ):
        url = f"http://{NAME}:{receiver.port}/in"
        await sender.push(url)
        names.answer = [ELSEWHERE]
        assert isinstance(await sender.push(url), Delivered)
    assert (receiver.connections, len(receiver.requests), len(other.requests)) == (1, 2, 0)


async def test_connection_that_has_become_too_old_is_not_kept() -> None:
    names = Names(HERE)
    async with Receiver() as receiver, sending(names, max_age_s=0.0) as sender:
        url = f"http://{NAME}:{receiver.port}/in"
        await sender.push(url)
        await sender.push(url)
        names.answer = [ELSEWHERE]
        assert isinstance(await sender.fail(url), DeliveryRefused)
    assert (receiver.connections, len(receiver.requests), names.asked) == (2, 2, 3)


async def test_receiver_that_moves_is_found_at_the_next_connection() -> None:
    names = Names(HERE)
    rules = GuardRules(allow_networks=(ip_network("127.0.0.0/8"),), allow_http=True)
    async with (
        Receiver(receivers.status(200, connection="close")) as receiver,
        Receiver(host=ELSEWHERE, port=receiver.port) as other,
        sending(names, rules) as sender,
    ):
        url = f"http://{NAME}:{receiver.port}/in"
        await sender.push(url)
        names.answer = [ELSEWHERE]
        await sender.push(url)
    assert (len(receiver.requests), len(other.requests), names.asked) == (1, 1, 2)


async def test_next_address_is_tried_where_the_first_is_not_there() -> None:
    rules = GuardRules(allow_networks=(ip_network("127.0.0.0/8"),), allow_http=True)
    async with Receiver() as receiver, sending(Names(ELSEWHERE, HERE), rules) as sender:
        assert isinstance(await sender.push(f"http://{NAME}:{receiver.port}/in"), Delivered)


@pytest.mark.parametrize("host", ["10.0.0.1", "[::1]", "169.254.169.254", "2130706433", "127.1"])
async def test_session_by_itself_refuses_what_no_target_has_checked(host: str) -> None:
    async with sending(Names(HERE)) as sender:
        with pytest.raises((DeliveryRefused, aiohttp.InvalidURL)):
            await sender.resources.http_session.post(f"http://{host}:8080/")


async def test_session_by_itself_refuses_what_is_not_encrypted() -> None:
    rules = GuardRules(allow_networks=(ip_network(HERE),))
    async with Receiver() as receiver, sending(Names(HERE), rules) as sender:
        with pytest.raises(aiohttp.NonHttpUrlClientError):
            await sender.resources.http_session.post(receiver.url)
    assert receiver.connections == 0


async def test_session_by_itself_uses_no_proxy() -> None:
    async with Receiver() as proxy, sending(Names(HERE)) as sender:
        with pytest.raises(ValueError, match="proxy"):
            await sender.resources.http_session.post(f"http://{NAME}/", proxy=proxy.url)
    assert proxy.connections == 0


async def test_tls_asks_for_the_name_and_believes_only_its_certificate(tmp_path: Path) -> None:
    tls = AUTHORITY.serving(tmp_path, NAME)
    async with Receiver(tls=tls) as receiver, sending(Names(HERE)) as sender:
        outcome = await sender.push(f"https://{NAME}:{receiver.port}/in", is_test=True)
        assert isinstance(outcome, Delivered)
        error = await sender.fail(f"https://other.example:{receiver.port}/in")
    assert receiver.server_names == [NAME, "other.example"]
    assert isinstance(error, DeliveryRetryable)
    assert error.fault is DeliveryFault.CONFIGURATION
    assert "certificate is not accepted" in str(error)
    assert len(receiver.requests) == 1


async def test_certificate_may_name_an_address(tmp_path: Path) -> None:
    tls = AUTHORITY.serving(tmp_path, HERE)
    async with Receiver(tls=tls) as receiver, sending(Names()) as sender:
        assert isinstance(await sender.push(f"https://{HERE}:{receiver.port}/in"), Delivered)


@pytest.mark.parametrize(
    ("authority", "ends", "reason"),
    [
        (AUTHORITY, timedelta(days=-1), "expired"),
        (Authority.make(), timedelta(days=1), "unable to get local issuer|signature failure"),
    ],
)
async def test_certificate_that_is_no_good_is_the_owners_to_mend(
    tmp_path: Path, authority: Authority, ends: timedelta, reason: str
) -> None:
    tls = authority.serving(tmp_path, NAME, ends=ends)
    async with Receiver(tls=tls) as receiver, sending(Names(HERE)) as sender:
        error = await sender.fail(f"https://{NAME}:{receiver.port}/in")
    assert error.fault is DeliveryFault.CONFIGURATION
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(str(error))
    assert receiver.requests == []


async def test_receiver_that_speaks_no_tls_is_the_owners_to_mend() -> None:
    async def hello(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hello, HERE, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, sending(Names(HERE)) as sender:
        error = await sender.fail(f"https://{NAME}:{port}/in")
    assert error.fault is DeliveryFault.CONFIGURATION
    assert "TLS" in str(error)


async def test_receiver_that_hangs_up_instead_of_agreeing_on_tls_cannot_be_reached() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, HERE, 0)
    port = server.sockets[0].getsockname()[1]
    async with server, sending(Names(HERE)) as sender:
        error = await sender.fail(f"https://{NAME}:{port}/in")
    assert error.fault is DeliveryFault.CONNECTION


async def test_receiver_that_never_answers_the_handshake_ends_in_time() -> None:
    # The system has taken the connection for a server that never looks.
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        async with sending(Names(HERE)) as sender:
            error = await sender.fail(f"https://{NAME}:{port}/in", timeout_ms=100)
    assert error.fault is DeliveryFault.CONNECTION
    assert "in time" in str(error)
    assert error.exchange is not None
    assert error.exchange.address == HERE


async def test_steps_of_a_new_connection_are_told_apart_and_a_kept_one_has_none(
    tmp_path: Path,
) -> None:
    tls = AUTHORITY.serving(tmp_path, NAME)
    async with Receiver(tls=tls) as receiver, sending(Names(HERE)) as sender:
        url = f"https://{NAME}:{receiver.port}/in"
        first, second = [await sender.push(url, is_test=True) for _ in range(2)]
    assert isinstance(first, Delivered)
    assert isinstance(second, Delivered)
    assert first.exchange is not None
    assert second.exchange is not None
    new, kept = first.exchange.to_json()["timingMs"], second.exchange.to_json()["timingMs"]
    assert list(new) == ["dns", "connect", "tls", "firstByte", "total"]
    assert list(kept) == ["firstByte", "total"]
    assert sum(new.values()) - new["total"] <= new["total"]
    assert first.exchange.address == second.exchange.address == HERE


async def test_name_without_an_address_says_so_and_that_nothing_was_sent() -> None:
    async with sending(Names()) as sender:
        error = await sender.fail(f"https://{NAME}/in")
    assert error.fault is DeliveryFault.CONNECTION
    assert "could not be resolved" in str(error)
    assert error.exchange is not None
    assert error.exchange.first_byte_s is None
