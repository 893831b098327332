"""Where a request comes from, also behind a reverse proxy."""

from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp.web import BaseRequest

UNKNOWN = "unknown"


def client_address(
    request: BaseRequest, trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
) -> str:
    """The address of the peer, or what trusted proxies say about whom they speak for.

    `X-Forwarded-For` is read from its end, for as long as the one who wrote it is trusted: what
    stands further left may be anyone's invention.
    """
    address = request.remote or UNKNOWN
    if not trusted_proxies:
        return address
    hops = [
        hop.strip() for hop in ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
    ]
    while hops and _is_trusted(address, trusted_proxies):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(address: str, trusted: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in trusted)
