"""Awaiting what must not be left in its middle."""

import asyncio
from collections.abc import Coroutine


async def whole(work: Coroutine[object, object, None]) -> None:
    """Await `work`; cancelled, return only when it has come to its own end.

    aiokafka leaves a connection open for ever when its bootstrap is cancelled. What is awaited here
    has to be bounded by the library's own timeout for requests.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        if not working.cancelled():
            working.exception()  # nobody wants to know any more
        raise
