"""The port that the hub listens on.

It is claimed before anything else is touched, so that a hub whose port is taken changes nothing: no
database is made and no administrator, whose password nobody would have seen.
"""

import contextlib
import socket
from collections.abc import Iterator

from protocols.errors import PortUnavailable


@contextlib.contextmanager
def claimed_port(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Bind a socket to each address of `host` and close them at the end; nobody listens yet.

    On Linux two processes may bind one port until the first of them listens; the other then fails
    when it listens too.

    Raises:
        PortUnavailable: the port is taken, may not be used, or the host has no address here.
    """
    with contextlib.ExitStack() as stack:
        try:
            addresses = _addresses(host, port)
            sockets = [stack.enter_context(socket.socket(family)) for family, _ in addresses]
            for bound, (family, address) in zip(sockets, addresses, strict=True):
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    # `::` alone means every address, of both kinds.
                    is_ipv6_only = len(addresses) > 1
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_ipv6_only)
                bound.bind(address)
        except OSError as exc:
            raise PortUnavailable(
                f"{host}:{port} cannot be listened on ({exc.strerror}): stop what uses it, "
                "or change TINGBRO_HTTP_PORT or TINGBRO_HTTP_HOST."
            ) from exc
        yield sockets


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))
