"""Where data targets may be: the hub stands inside networks that the people who fill in addresses do
not, and must not be their way in.

An address is judged twice. When it is entered (`check`, `check_url`) everything is refused that can be
seen without asking anybody, so that the mistake is told to whoever made it. Before every connection
(`resolve`) the name is looked up anew, *all* its addresses have to be allowed, and the caller connects to
those very addresses and never to the name: a name that answers differently the next moment has nothing
to gain from it.

The guard knows nothing of HTTP: whoever connects to what a user has entered asks it, with a host and
a port.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from yarl import URL

from protocols.errors import DeliveryFault, DeliveryRefused, InvalidInput
from protocols.targets.guarding.host_names import parse_host
from protocols.targets.guarding.name_lookup import NameLookup
from protocols.targets.guarding.special_addresses import Address, Network, why_special
from protocols.targets.guarding.url_text import parse_url

PortRange = tuple[int, int]
"""The first and the last."""

DEFAULT_PORTS: Final[Sequence[PortRange]] = ((80, 80), (443, 443), (1024, 65_535))
"""Below 1024 live the services of the machines themselves (mail, shells, names), some of which can be
made to act on the lines of a POST; receivers of messages live above, or on the two ports of the web."""

# RFC 6761, section 6.3: such names are the machine itself, whatever a resolver says.
_LOOPBACKS: Final[tuple[Address, ...]] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass(frozen=True, slots=True)
class GuardRules:
    """What the operator allows. The default is the public Internet, over TLS."""

    allow_networks: tuple[Network, ...] = ()
    """Networks that may be reached although they are none of the public Internet's."""
    allow_http: bool = False
    """Whether messages, and the secrets with them, may travel without TLS."""
    allow_ports: tuple[PortRange, ...] = tuple(DEFAULT_PORTS)


class Guard:
    """Belongs to one loop; one for each process, so that names are looked up once for all targets."""

    def __init__(
        self, rules: GuardRules = GuardRules(), *, lookup: NameLookup | None = None
    ) -> None:
        self.rules = rules
        self._lookup = lookup or NameLookup()

    def check(self, host: str, port: int) -> None:
        """Judge what can be judged without looking anything up.

        Raises:
            InvalidInput: a clause that follows the name of the setting, without a full stop.
        """
        self._candidates(host, port)

    def check_url(self, text: str) -> URL:
        """Return the address that `text` is, of http or https; what is not returned was refused.

        Raises:
            InvalidInput: a clause that follows "`url` ...", without a full stop.
        """
        url = parse_url(text)
        if url.scheme != "https" and not self.rules.allow_http:
            raise InvalidInput("must begin with https://: this hub sends nothing unencrypted")
        assert url.raw_host is not None
        assert url.port is not None
        self._candidates(url.raw_host, url.port)
        return url

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses that may be connected to in place of `host`, at least one.

        Connect to them at once, and to nothing else.

        Raises:
            DeliveryRefused: this is, or has become, no place that may be reached.
            DeliveryRetryable: the name has no address now.
        """
        try:
            candidates = self._candidates(host, port)
        except InvalidInput as error:
            raise _refusal(f"The address of the receiver cannot be used: it {error}.") from error
        if isinstance(candidates, str):
            candidates = await self._lookup.addresses(candidates)
            # One bad address among good ones is refused too: which is connected to would be chance.
            for address in candidates:
                if why := self._why_not(address):
                    raise _refusal(
                        f"The name of the receiver stands for {why}, "
                        "where this hub's data targets may not be."
                    )
        return [str(address) for address in candidates]

    def _candidates(self, host: str, port: int) -> list[Address] | str:
        """Return the addresses that are meant, or the name that has to be looked up for them."""
        if not any(first <= port <= last for first, last in self.rules.allow_ports):
            raise InvalidInput(f"must not be at port {port}: this hub sends nothing there")
        try:
            target = parse_host(host)
        except InvalidInput as error:
            raise InvalidInput(f"must name another host: it {error}") from error
        if isinstance(target, str) and not _is_localhost(target):
            return target
        meant = _LOOPBACKS if isinstance(target, str) else (target,)
        # Of the two addresses that the machine itself has, either will do.
        allowed = [address for address in meant if self._why_not(address) is None]
        if not allowed:
            raise InvalidInput(f"must name another host: {host} is {self._why_not(meant[0])}")
        return allowed

    def _why_not(self, address: Address) -> str | None:
        if any(
            address.version == network.version and address in network
            for network in self.rules.allow_networks
        ):
            return None
        return why_special(address)


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _refusal(sentence: str) -> DeliveryRefused:
    return DeliveryRefused(sentence, fault=DeliveryFault.MESSAGE)
