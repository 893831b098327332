"""Letting go of a descriptor that uvloop still watches although it was closed.

libpq closes its socket by itself when a session fails or is opened in a second attempt, and aiopg may
learn of it too late to end the watch. The next connection gets the same number, and uvloop refuses
to watch it. The connection that failed like this is told from the traceback: there is no
other way to its number, since aiopg raises while it is being made.
"""

import asyncio

import aiopg


def forget_watch(error: RuntimeError) -> None:
    """End the watch that made this error, so that the next attempt can succeed.

    Raises:
        RuntimeError: it is about something else.
    """
    trace = error.__traceback__
    while trace is not None:
        connection = trace.tb_frame.f_locals.get("self")
        if isinstance(connection, aiopg.Connection):
            descriptor: int = connection._fileno  # type: ignore[assignment]  # set before it is watched
            asyncio.get_running_loop().remove_reader(descriptor)
            connection.raw.close()
            return
        trace = trace.tb_next
    raise error
