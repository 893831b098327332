"""Waiting, outside of the way of messages, until the writer has caught up."""

import asyncio
from typing import Any

from actors.messages import AwaitCommit
from actors.runtime import ActorRef

# A writer that is made anew forgets who waits; whoever waits then goes on by itself.
_PATIENCE_S = 30.0


async def all_committed(writer: ActorRef[Any]) -> None:
    """Return when what was told to the writer before is on disk, so that no more than this waits.

    It returns too when the writer was replaced meanwhile, after half a minute: this is for those
    who bound how much they tell, not for those who must know what became of it.
    """
    reached = asyncio.Event()
    writer.tell(AwaitCommit(reached.set))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await reached.wait()
    except TimeoutError:
        return
