"""Where data targets may be: every spelling of an address, and every address of a name."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import (
    DeliveryError,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
    InvalidInput,
)
from protocols.targets.guarding.guard import Guard, GuardRules
from protocols.targets.guarding.name_lookup import NameLookup
from tests.support.guards import loopback_guard

# What can be seen without looking a name up: the host as it stands in an address, and why it is
# refused; None where it may be reached.
HOSTS: Sequence[tuple[str, str | None]] = (
    # -- the public Internet, spelled plainly --
    ("example.org", None),
    ("EXAMPLE.org", None),
    ("a.b.c.d.e.example.org", None),
    ("1.example.org", None),
    ("123.example.org", None),
    ("0x7f.example.org", None),  # the number is not last, so nobody reads an address
    ("my_service.example.org", None),
    ("a--b.example.org", None),
    ("blåbær.dk", None),
    ("BLÅBÆR.dk", None),
    ("xn--blbr-roah.dk", None),
    ("xn--fa-hia.de", None),
    ("faß.de", None),
    ("8.8.8.8", None),
    ("1.1.1.1", None),
    ("9.255.255.255", None),
    ("11.0.0.0", None),
    ("100.63.255.255", None),
    ("100.128.0.0", None),
    ("126.255.255.255", None),
    ("128.0.0.0", None),
    ("169.253.255.255", None),
    ("172.15.255.255", None),
    ("172.32.0.0", None),
    ("192.0.1.255", None),
    ("192.167.255.255", None),
    ("198.17.255.255", None),
    ("198.20.0.0", None),
    ("223.255.255.255", None),
    ("[2606:4700::1111]", None),
    ("[2606:4700:0:0:0:0:0:1111]", None),
    ("[2A00:1450:400F:80D::200E]", None),
    ("[2001:200::1]", None),  # the first behind the protocol assignments
    ("[2003::1]", None),
    # -- the hub's own machine --
    ("127.0.0.1", "own machine"),
    ("127.255.255.254", "own machine"),
    ("0.0.0.0", "own machine"),
    ("0.1.2.3", "own machine"),
    ("[::1]", "own machine"),
    ("[0:0:0:0:0:0:0:1]", "own machine"),
    ("[0000:0000:0000:0000:0000:0000:0000:0001]", "own machine"),
    ("[::]", "own machine"),
    ("localhost", "own machine"),
    ("LOCALHOST", "own machine"),
    ("db.localhost", "own machine"),
    # -- private --
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.0.1", "private"),
    ("100.64.0.1", "private"),
    ("100.127.255.255", "private"),
    ("[fc00::1]", "private"),
    ("[fd12:3456:789a::1]", "private"),
    ("[fec0::1]", "private"),
    # -- link-local, where clouds keep credentials --
    ("169.254.0.0", "link-local"),
    ("169.254.169.254", "link-local"),
    ("[fe80::1]", "link-local"),
    ("[febf::1]", "link-local"),
    # -- documentation, benchmarks, reserved --
    ("192.0.2.1", "documentation"),
    ("198.51.100.1", "documentation"),
    ("203.0.113.1", "documentation"),
    ("[2001:db8::1]", "documentation"),
    ("[3fff::1]", "documentation"),
    ("192.0.0.192", "reserved"),
    ("192.31.196.1", "reserved"),
    ("192.175.48.1", "reserved"),
    ("198.18.0.1", "reserved"),
    ("198.19.255.255", "reserved"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("[100::1]", "reserved"),
    ("[100:0:0:1::1]", "reserved"),
    ("[2001:2::1]", "reserved"),
    ("[2001:10::1]", "reserved"),
    ("[2001:20::1]", "reserved"),
    ("[2620:4f:8000::1]", "reserved"),
    ("[4000::1]", "reserved"),
    ("[5f00::1]", "reserved"),
    ("[f000::1]", "reserved"),
    # -- multicast --
    ("224.0.0.1", "multicast"),
    ("239.255.255.250", "multicast"),
    ("192.52.193.1", "multicast"),
    ("[ff02::1]", "multicast"),
    ("[ff0e::1]", "multicast"),
    # -- another address in disguise --
    ("192.88.99.1", "translated"),
    ("[::ffff:127.0.0.1]", "translated"),
    ("[::ffff:7f00:1]", "translated"),
    ("[::ffff:8.8.8.8]", "translated"),  # public inside, and still no plain spelling of it
    ("[0:0:0:0:0:ffff:10.0.0.1]", "translated"),
    ("[::127.0.0.1]", "translated"),
    ("[::7f00:1]", "translated"),
    ("[::ffff:0:127.0.0.1]", "translated"),
    ("[64:ff9b::127.0.0.1]", "translated"),
    ("[64:ff9b::7f00:1]", "translated"),
    ("[64:ff9b:1::a00:1]", "translated"),
    ("[2001::1]", "translated"),
    ("[2001:0:7f00:1::1]", "translated"),
    ("[2002:7f00:1::]", "translated"),
    ("[2002:a00:1::1]", "translated"),
    # -- numbers that some programs read as an IPv4 address --
    ("2130706433", "four decimal numbers"),
    ("017700000001", "four decimal numbers"),
    ("0x7f000001", "four decimal numbers"),
    ("0X7F000001", "four decimal numbers"),
    ("127.1", "four decimal numbers"),
    ("127.0.1", "four decimal numbers"),
    ("0177.0.0.1", "four decimal numbers"),
    ("0127.0.0.1", "four decimal numbers"),
    ("127.0.0.01", "four decimal numbers"),
    ("0x7f.0.0.1", "four decimal numbers"),
    ("0x7f.0x0.0x0.0x1", "four decimal numbers"),
    ("127.0.0.0x1", "four decimal numbers"),
    ("0", "four decimal numbers"),
    ("0x", "four decimal numbers"),
    ("256.1.1.1", "four decimal numbers"),
    ("1.1.1.256", "four decimal numbers"),
    ("8.8.8.8.8", "four decimal numbers"),
    ("a.1", "four decimal numbers"),
    ("example.0x1f", "four decimal numbers"),
    # -- letters and dots that become others --
    ("①②⑦.0.0.1", "international name"),
    ("１２７.0.0.1", "international name"),
    ("127。0。0。1", "international name"),
    ("127．0．0．1", "international name"),
    ("127｡0｡0｡1", "international name"),
    ("ⓔxample.org", "international name"),
    ("ｅxample.org", "international name"),
    ("loc\u212alhost", "international name"),  # the sign for kelvin
    ("\u0130.org", "international name"),
    ("exam\u00adple.org", "international name"),  # a soft hyphen, which disappears
    ("exam\u200bple.org", "international name"),
    ("example.org\u2044x", "international name"),
    ("xn--a", "international name"),
    ("xn--localhost-.org", "not a valid"),
    # -- dots and labels --
    ("example.org.", "a dot too many"),
    ("127.0.0.1.", "a dot too many"),
    ("localhost.", "a dot too many"),
    (".example.org", "a dot too many"),
    ("example..org", "a dot too many"),
    (".", "a dot too many"),
    ("-a.org", "not a valid name"),
    ("a-.org", "not a valid name"),
    ("a" * 64 + ".org", "not a valid name"),
    (".".join(["a" * 60] * 5), "not a valid name"),
    ("exa!mple.org", "not a valid name"),
    ("exa,mple.org", "not a valid name"),
    ("*.example.org", "not a valid name"),
)

# Whole addresses, where the danger is in how they are taken apart.
URLS: Sequence[tuple[str, str | None]] = (
    ("https://example.org", None),
    ("https://example.org/", None),
    ("https://example.org?a=b", None),
    ("https://example.org/path/to?a=http://127.0.0.1/", None),
    ("https://example.org/#@127.0.0.1/", None),
    ("https://example.org#@127.0.0.1/", None),
    ("https://example.org/@127.0.0.1", None),
    ("https://example.org:443/", None),
    ("https://example.org:80/", None),
    ("https://example.org:1024/", None),
    ("https://example.org:65535/", None),
    ("HTTPS://example.org/", None),
    ("https://[2606:4700::1111]:8443/x", None),
    ("http://example.org/", "https://"),
    ("ftp://example.org/", "https://"),
    ("gopher://example.org/", "https://"),
    ("file:///etc/passwd", "https://"),
    ("//example.org/", "https://"),
    ("https:/example.org/", "https://"),
    ("https:example.org", "https://"),
    ("https:///example.org", "https://"),
    ("https://", "https://"),
    ("example.org", "https://"),
    ("https://user@example.org/", "user or password"),
    ("https://user:pass@example.org/", "user or password"),
    ("https://example.org@127.0.0.1/", "user or password"),
    ("https://example.org:443@127.0.0.1/", "user or password"),
    ("https://@example.org/", "user or password"),
    ("https://127.0.0.1\\@example.org/", "backslash"),
    ("https://example.org\\.evil.org/", "backslash"),
    ("https://127%2e0.0.1/", "name a host"),
    ("https://%31%32%37.0.0.1/", "name a host"),
    ("https://example.org%00.evil.org/", "name a host"),
    ("https://[fe80::1%25eth0]/", "name a host"),
    ("https://[fe80::1%eth0]/", "name a host"),
    ("https://[::1/", "name a host"),
    ("https://::1/", "name a host"),
    ("https://[v1.a]/", "name a host"),
    ("https://[127.0.0.1]/", "not a valid"),
    ("https://[1::2::3]/", "not a valid"),
    ("https://example.org:22/", "port 22"),
    ("https://example.org:25/", "port 25"),
    ("https://example.org:1023/", "port 1023"),
    ("https://example.org:0/", "not a valid"),
    ("https://example.org:65536/", "not a valid"),
    ("https://example.org:/", "name a host"),
    ("https://example.org:+443/", "name a host"),
    ("https://example.org:-1/", "name a host"),
    ("https://example.org:443:80/", "name a host"),
    ("https://example.org:0x1bb/", "name a host"),
    ("https://example.org:４４３/", "name a host"),
    ("https://example.org /", "blanks"),
    ("https://exam\tple.org/", "blanks"),
    ("https://exam\nple.org/", "blanks"),
    ("https://example.org/\r\nHost: x", "blanks"),
    ("https://example.org/" + "a" * 1024, "1024 characters"),
)


def in_url(host: str) -> str:
    return f"https://{host}/in"


@pytest.mark.parametrize(("host", "why"), HOSTS, ids=[repr(host) for host, _ in HOSTS])
def test_host_is_let_through_or_refused_with_its_reason(host: str, why: str | None) -> None:
    if why is None:
        assert Guard().check_url(in_url(host)).path == "/in"
    else:
        with pytest.raises(InvalidInput, match=why):
            Guard().check_url(in_url(host))


@pytest.mark.parametrize(("text", "why"), URLS, ids=[repr(text[:60]) for text, _ in URLS])
def test_address_is_taken_apart_in_one_way_or_refused(text: str, why: str | None) -> None:
    if why is None:
        Guard().check_url(text)
    else:
        with pytest.raises(InvalidInput, match=why):
            Guard().check_url(text)


@pytest.mark.parametrize("host", [host for host, why in HOSTS if why is not None])
async def test_what_is_refused_when_entered_is_refused_before_a_connection_too(host: str) -> None:
    guard = Guard(lookup=NameLookup(lambda _: ["8.8.8.8"]))
    with pytest.raises(DeliveryRefused, match=r"\.$") as caught:
        await guard.resolve(host.strip("[]"), 443)
    assert caught.value.fault is DeliveryFault.MESSAGE


@given(address=st.ip_addresses(v=4))
def test_no_ipv4_address_is_let_through_that_python_does_not_call_global(
    address: IPv4Address,
) -> None:
    if not address.is_global or address.is_multicast:
        with pytest.raises(InvalidInput):
            Guard().check(str(address), 443)


@given(address=st.ip_addresses(v=6))
def test_no_ipv6_address_is_let_through_that_python_does_not_call_global(
    address: IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast or address.ipv4_mapped or address.sixtofour:
        with pytest.raises(InvalidInput):
            Guard().check(str(address), 443)


@given(text=st.text(max_size=30))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    for address in (text, f"https://{text}", f"https://{text}.org:8080/x"):
        try:
            url = Guard().check_url(address)
        except InvalidInput:
            continue
        assert url.scheme == "https"
        assert url.raw_host


def answering(*addresses: str) -> Guard:
    return Guard(lookup=NameLookup(lambda _: addresses))


async def test_name_becomes_the_addresses_that_it_stands_for_each_once() -> None:
    guard = answering("93.184.216.34", "2606:2800::1", "93.184.216.34")
    assert await guard.resolve("example.org", 443) == ["93.184.216.34", "2606:2800::1"]


@pytest.mark.parametrize(
    "bad",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "::1",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "fd00::1",
    ],
)
async def test_one_forbidden_address_among_good_ones_is_enough_to_refuse(bad: str) -> None:
    for answer in ((bad, "8.8.8.8"), ("8.8.8.8", bad)):
        with pytest.raises(DeliveryRefused) as caught:
            await answering(*answer).resolve("example.org", 443)
        assert caught.value.fault is DeliveryFault.MESSAGE
        # What stands in the names of the hub's own network is not for those outside it.
        assert str(ip_address(bad.partition("%")[0])) not in str(caught.value)


async def test_name_is_looked_up_again_for_every_connection() -> None:
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])
    guard = Guard(lookup=NameLookup(lambda _: next(answers)))
    assert await guard.resolve("example.org", 443) == ["8.8.8.8"]
    with pytest.raises(DeliveryRefused, match="own machine"):
        await guard.resolve("example.org", 443)


async def test_address_that_is_written_out_is_not_looked_up() -> None:
    def ask(name: str) -> Sequence[str]:
        raise AssertionError(name)

    guard = Guard(lookup=NameLookup(ask))
    assert await guard.resolve("8.8.8.8", 443) == ["8.8.8.8"]
    assert await guard.resolve("2606:4700::1111", 443) == ["2606:4700::1111"]


@pytest.mark.parametrize("failure", [OSError("no"), UnicodeError("label too long")])
async def test_name_without_an_address_may_be_retried(failure: Exception) -> None:
    def ask(name: str) -> Sequence[str]:
        raise failure

    with pytest.raises(DeliveryRetryable, match="could not be resolved") as caught:
        await Guard(lookup=NameLookup(ask)).resolve("example.org", 443)
    assert caught.value.fault is DeliveryFault.CONNECTION


async def test_name_with_no_answer_at_all_may_be_retried() -> None:
    with pytest.raises(DeliveryRetryable):
        await answering().resolve("example.org", 443)


def hanging(released: threading.Event, asked: list[str]) -> Callable[[str], Sequence[str]]:
    def ask(name: str) -> Sequence[str]:
        asked.append(name)
        if name.startswith("dead"):
            released.wait()
        return ["8.8.8.8"]

    return ask


async def test_names_whose_servers_hang_hold_up_no_other_name() -> None:
    released, asked = threading.Event(), list[str]()
    guard = Guard(lookup=NameLookup(hanging(released, asked)))
    waiting = [
        asyncio.ensure_future(guard.resolve(f"dead{number}.org", 443)) for number in range(40)
    ]
    async with asyncio.timeout(5):
        assert await guard.resolve("alive.org", 443) == ["8.8.8.8"]
    assert not any(task.done() for task in waiting)
    released.set()
    assert await asyncio.gather(*waiting) == [["8.8.8.8"]] * 40


async def test_name_that_is_being_looked_up_is_not_looked_up_twice() -> None:
    released, asked = threading.Event(), list[str]()
    guard = Guard(lookup=NameLookup(hanging(released, asked)))
    waiting = [asyncio.ensure_future(guard.resolve("dead.org", 443)) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # which must not take the answer away from the others
    released.set()
    assert await asyncio.gather(*waiting[1:]) == [["8.8.8.8"]] * 9
    assert asked == ["dead.org"]


async def test_lookup_that_hangs_ends_in_time_and_is_not_begun_again() -> None:
    released, asked = threading.Event(), list[str]()
    guard = Guard(lookup=NameLookup(hanging(released, asked), timeout_s=0.01))
    for _ in range(3):
        with pytest.raises(DeliveryRetryable, match="in time"):
            await guard.resolve("dead.org", 443)
    assert asked == ["dead.org"]
    released.set()


async def test_system_is_asked_when_nothing_else_is_given() -> None:
    with pytest.raises(DeliveryError):
        await Guard().resolve("nowhere.invalid", 443)


def test_operator_lets_networks_through_and_their_neighbours_stay_outside() -> None:
    guard = Guard(GuardRules(allow_networks=(ip_network("10.20.0.0/16"), ip_network("fd12::/16"))))
    guard.check("10.20.255.255", 443)
    guard.check("fd12::1", 443)
    for outside in ("10.21.0.0", "127.0.0.1", "fd13::1", "::ffff:10.20.0.1"):
        with pytest.raises(InvalidInput):
            guard.check(outside, 443)


async def test_name_that_stands_for_an_allowed_network_is_let_through() -> None:
    rules = GuardRules(allow_networks=(ip_network("10.20.0.0/16"),))
    guard = Guard(rules, lookup=NameLookup(lambda _: ["10.20.0.7"]))
    assert await guard.resolve("fiware.intern", 1026) == ["10.20.0.7"]


async def test_localhost_is_those_of_its_addresses_that_are_allowed() -> None:
    assert await loopback_guard().resolve("localhost", 9000) == ["127.0.0.1"]
    both = Guard(GuardRules(allow_networks=(ip_network("127.0.0.1"), ip_network("::1"))))
    assert await both.resolve("localhost", 9000) == ["127.0.0.1", "::1"]


def test_operator_decides_about_encryption_and_ports() -> None:
    guard = Guard(GuardRules(allow_http=True, allow_ports=((443, 443), (25, 25))))
    assert str(guard.check_url("http://example.org:25/")) == "http://example.org:25/"
    with pytest.raises(InvalidInput, match="port 80"):
        guard.check_url("http://example.org/")
    with pytest.raises(InvalidInput, match="port 8443"):
        guard.check("example.org", 8443)
