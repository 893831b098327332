"""The HTTP client session that all data targets share."""

import ssl

import aiohttp

from protocols.targets.guarding.guard import Guard
from protocols.targets.http.connector import MAX_AGE_S, GuardedConnector

# What is buffered of one answer before its receiver is held back.
_READ_BUFFER_BYTES = 16 * 1024


def http_session(
    version: str = "0",
    *,
    guard: Guard,
    tls: ssl.SSLContext | None = None,
    max_age_s: float = MAX_AGE_S,
) -> aiohttp.ClientSession:
    """Return a new session; call it on the running loop, and close the session at the end.

    It connects to nothing but what `guard` allows at that very moment. Nothing of the process's
    surroundings has influence on it (no proxies or passwords from the environment, no cookies), and
    answers are never decompressed.

    Args:
        version: the hub's own; receivers see it in `User-Agent`.
        tls: what receivers have to prove themselves by; the system's authorities if there is none.
        max_age_s: how long a connection may be used, however busy it is.
    """
    return aiohttp.ClientSession(
        connector=GuardedConnector(guard, tls=tls, max_age_s=max_age_s),
        headers={
            "User-Agent": f"Tingbro/{version}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        },
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_READ_BUFFER_BYTES,
    )
