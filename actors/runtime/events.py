"""Log events and drop reasons of the actor runtime, in one place so that they can be documented."""

from enum import StrEnum
from typing import Final

__all__ = ["DropReason"]

ACTOR_FAIL: Final = "actor.instance.fail"
ACTOR_CONNECTION_LOST: Final = "actor.connection.lose"
ACTOR_CONNECTION_BACK: Final = "actor.connection.regain"
ACTOR_ABANDON: Final = "actor.instance.abandon"
HOOK_FAIL: Final = "actor.hook.fail"
HANDLER_SLOW: Final = "actor.handler.slow"
HANDLER_STALL: Final = "actor.handler.stall"
LOOP_STALL: Final = "actor.loop.stall"
LETTER_DROP: Final = "actor.dead_letter.add"
SUPERVISOR_ESCALATE: Final = "actor.supervisor.escalate"
SYSTEM_START: Final = "actor.system.start"
SYSTEM_STOP: Final = "actor.system.stop"
SYSTEM_FAIL: Final = "actor.system.fail"
DISPATCHER_FAIL: Final = "actor.dispatcher.fail"


class DropReason(StrEnum):
    """Why a message became a dead letter."""

    STOPPED = "stopped"  # told to an actor that had ended, or was in its mailbox when it ended
    FAILED = "failed"  # the handler raised, and the actor's class does not ask for redelivery
    POISON = "poison"  # the handler raised on it twice
    INTERRUPTED = "interrupted"  # the handler was cancelled by a kill or a restart
    DROP_OLDEST = "drop_oldest"  # pushed out of a full mailbox by a newer message
    DROP_NEWEST = "drop_newest"  # did not get into a full mailbox
    MAILBOX_FULL = "mailbox_full"  # refused, and the sender was on another thread
