"""The HTTP client session that all data targets share."""

import aiohttp

# Many servers drop a connection that was idle for 5 s (Node's default, for one). A POST sent into
# that moment is lost and may not be repeated blindly, so idle connections are given up before.
_KEEPALIVE_S = 4.0
# Names of receivers are looked up again after so long.
_NAME_CACHE_S = 30
# What is buffered of one answer before its receiver is held back.
_READ_BUFFER_BYTES = 16 * 1024


def http_session(version: str = "0") -> aiohttp.ClientSession:
    """Return a new session; call it on the running loop, and close the session at the end.

    `version` is the hub's own: receivers see it in `User-Agent`.

    Nothing of the process's surroundings has influence on it (no proxies or passwords from the
    environment, no cookies), answers are never decompressed, and the number of connections is
    bounded by whoever sends, not by the session: a target that holds many cannot starve another.
    """
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=_NAME_CACHE_S
    )
    return aiohttp.ClientSession(
        connector=connector,
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
