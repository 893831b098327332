"""Asking the system what addresses a name stands for, without anybody waiting for somebody else's name.

The resolver of the C library takes a thread for as long as it likes: with dead name servers, half a
minute. The pool that asyncio lends for it has a handful of threads, so that four names whose servers are
dead would hold up every receiver of the hub. Here each lookup has a thread of its own, a name that is
being looked up is not looked up twice, and a thread that hangs ends with the process.

Nothing is remembered: who asks gets an answer that is younger than the question, or one that somebody
else was waiting for already.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from protocols.errors import DeliveryFault, DeliveryRetryable
from protocols.targets.guarding.special_addresses import Address

SystemLookup = Callable[[str], Sequence[str]]
"""Blocks; returns IP addresses in the order in which they are to be tried, or raises OSError."""

# One dead name server costs glibc 5 s before it asks the next, which must still be in time.
TIMEOUT_S: Final = 6.0
# 8 MB of address space each, none of it touched. Beyond that many names with dead servers the next ones
# are answered "not in time", until their targets have been given a rest.
_MOST_THREADS: Final = 64


def ask_system(name: str) -> Sequence[str]:
    # ADDRCONFIG: no IPv6 where the machine has none, or the first attempt would always fail.
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class NameLookup:
    """Belongs to one loop."""

    def __init__(self, ask: SystemLookup = ask_system, *, timeout_s: float = TIMEOUT_S) -> None:
        self._ask = ask
        self._timeout_s = timeout_s
        self._pending: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def addresses(self, name: str) -> list[Address]:
        """Return every address of `name`, each once.

        Raises:
            DeliveryRetryable: it has none, or there was no answer in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await asyncio.shield(self._pending.get(name) or self._begin(name))
        except TimeoutError as exc:
            raise _failed("could not be resolved in time") from exc
        except (OSError, UnicodeError) as exc:
            raise _failed("could not be resolved") from exc
        # A zone names an interface; whether the address behind it is allowed does not depend on it.
        addresses = [ip_address(text.partition("%")[0]) for text in dict.fromkeys(found)]
        if not addresses:
            raise _failed("could not be resolved")
        return addresses

    def _begin(self, name: str) -> asyncio.Future[Sequence[str]]:
        if len(self._pending) >= _MOST_THREADS:
            raise _failed("could not be resolved in time")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()
        self._pending[name] = answer

        def settle(found: Sequence[str] | Exception) -> None:
            del self._pending[name]
            if isinstance(found, Exception):
                answer.set_exception(found)
                answer.exception()  # Whoever asked may have given up long ago.
            else:
                answer.set_result(found)

        def run() -> None:
            found: Sequence[str] | Exception
            try:
                found = self._ask(name)
            except (OSError, UnicodeError) as exc:
                found = exc
            with suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=run, name="name-lookup", daemon=True).start()
        return answer


def _failed(what: str) -> DeliveryRetryable:
    return DeliveryRetryable(f"The name of the receiver {what}.", fault=DeliveryFault.CONNECTION)
