"""Which IP addresses are not on the public Internet, and what they are instead.

Written out, and not asked of `ipaddress`: what its `is_global` says differs between the versions of
Python that the hub runs on, and it counts some addresses as global that only wrap another one.

Source: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6890, RFC 8190.
"""

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PRIVATE: Final = "a private address"
_LOOPBACK: Final = "an address of the hub's own machine"
_LINK_LOCAL: Final = "a link-local address"
_DOCUMENTATION: Final = "an address for documentation"
_MULTICAST: Final = "a multicast address"
_RESERVED: Final = "a reserved address"
_TRANSLATED: Final = "an address that is translated into another one"

_IPV4: Final = (
    ("0.0.0.0/8", _LOOPBACK),  # RFC 1122: "this network"; Linux connects it to itself.
    ("10.0.0.0/8", _PRIVATE),
    ("100.64.0.0/10", _PRIVATE),  # RFC 6598: between a provider and its customers.
    ("127.0.0.0/8", _LOOPBACK),
    ("169.254.0.0/16", _LINK_LOCAL),  # Where clouds hand out credentials.
    ("172.16.0.0/12", _PRIVATE),
    ("192.0.0.0/24", _RESERVED),  # RFC 6890: protocol assignments; also Oracle's metadata.
    ("192.0.2.0/24", _DOCUMENTATION),
    ("192.31.196.0/24", _RESERVED),  # RFC 7535: AS112, answers queries about private names.
    ("192.52.193.0/24", _MULTICAST),  # RFC 7450: relays of multicast.
    ("192.88.99.0/24", _TRANSLATED),  # RFC 7526: relays of 6to4.
    ("192.168.0.0/16", _PRIVATE),
    ("192.175.48.0/24", _RESERVED),  # RFC 7534: AS112.
    ("198.18.0.0/15", _RESERVED),  # RFC 2544: benchmarks of network gear.
    ("198.51.100.0/24", _DOCUMENTATION),
    ("203.0.113.0/24", _DOCUMENTATION),
    ("224.0.0.0/4", _MULTICAST),
    ("240.0.0.0/4", _RESERVED),  # And 255.255.255.255, everybody on the link.
)

_IPV6: Final = (
    ("::/128", _LOOPBACK),  # Unspecified; Linux connects it to itself.
    ("::1/128", _LOOPBACK),
    ("::/96", _TRANSLATED),  # RFC 4291: IPv4-compatible.
    ("::ffff:0:0/96", _TRANSLATED),  # RFC 4291: IPv4-mapped; connects to that IPv4 address.
    ("::ffff:0:0:0/96", _TRANSLATED),  # RFC 2765: IPv4-translated.
    ("64:ff9b::/96", _TRANSLATED),  # RFC 6052: NAT64.
    ("64:ff9b:1::/48", _TRANSLATED),  # RFC 8215: NAT64 of one's own.
    ("100::/64", _RESERVED),  # RFC 6666: to be thrown away.
    ("2001::/32", _TRANSLATED),  # RFC 4380: Teredo.
    ("2001::/23", _RESERVED),  # RFC 2928: protocol assignments, benchmarks and ORCHIDs among them.
    ("2001:db8::/32", _DOCUMENTATION),
    ("2002::/16", _TRANSLATED),  # RFC 3056: 6to4.
    ("2620:4f:8000::/48", _RESERVED),  # RFC 7534: AS112.
    ("3fff::/20", _DOCUMENTATION),  # RFC 9637.
    ("5f00::/16", _RESERVED),  # RFC 9602: segments of a route.
    ("fc00::/7", _PRIVATE),  # RFC 4193: unique local.
    ("fe80::/10", _LINK_LOCAL),
    ("fec0::/10", _PRIVATE),  # RFC 3879: site-local, deprecated and still routed by some.
    ("ff00::/8", _MULTICAST),
)

# RFC 4291, section 2.4, and IANA's table: nothing else is given to anybody as unicast.
_IPV6_UNICAST: Final = IPv6Network("2000::/3")

_SPECIAL: Final = {
    version: tuple((ip_network(text), what) for text, what in table)
    for version, table in ((4, _IPV4), (6, _IPV6))
}


def why_special(address: Address) -> str | None:
    """Return what `address` is if it is none of the public Internet's, in words that follow "is"."""
    for network, what in _SPECIAL[address.version]:
        if address in network:
            return what
    if address.version == 6 and address not in _IPV6_UNICAST:
        return _RESERVED
    return None
