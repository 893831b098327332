"""Awaiting what must not be left in its middle."""

import asyncio
from collections.abc import Coroutine

from aiokafka.errors import KafkaError


async def whole(work: Coroutine[object, object, None]) -> None:
    """Await `work`; cancelled, return only when it has come to its own end.

    aiokafka leaves a connection open for ever when its bootstrap is cancelled. What is awaited here
    has to be bounded by the library's own timeout for requests.

    Raises:
        KafkaError: the library has cancelled it, or what `work` raises.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        if not working.cancelled():
            working.exception()  # nobody wants to know any more
        elif not is_cancelled():
            raise KafkaError("Given up by the library.") from None
        raise


def is_cancelled() -> bool:
    """Whether somebody wants the running task to end; else the library has cancelled a part of itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
