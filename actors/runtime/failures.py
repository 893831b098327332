"""What the runtime itself raises, and what it hands to hooks and watchers as an actor's end.

`MailboxFull` is a `HubFull`: whoever answers back-pressure with "come back later" answers it as well.
`WouldDeadlock` is a mistake in the program and therefore no part of the error tree.
"""

from protocols.errors import HubFull, TingbroError

__all__ = [
    "ActorKilled",
    "Escalated",
    "HandlerCancelled",
    "MailboxFull",
    "RestartRequested",
    "WouldDeadlock",
]


class WouldDeadlock(RuntimeError):
    """Blocking on the thread that runs the actors: nothing would ever set the result."""


class MailboxFull(HubFull):
    """The actor's mailbox has no room. The message was not taken: the sender still owns it."""

    code = "mailbox_full"


class ActorKilled(TingbroError):
    """Somebody called `ActorRef.kill()`."""

    code = "actor_killed"


class HandlerCancelled(TingbroError):
    """What a handler awaited was cancelled, although nobody cancelled the handler: a crash."""

    code = "handler_cancelled"


class RestartRequested(TingbroError):
    """A person or a program asked for the restart; nothing had failed."""

    code = "restart_requested"


class Escalated(TingbroError):
    """A supervisor's children failed more often than its restart intensity allows."""

    code = "escalated"
