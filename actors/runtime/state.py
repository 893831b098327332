"""The states an actor can be in, as operators see them."""

from enum import StrEnum

__all__ = ["ActorState"]


class ActorState(StrEnum):
    STARTING = "starting"  # made, or about to be; `on_start` is not through yet
    RUNNING = "running"
    BACKING_OFF = "backing_off"  # no instance at the moment; the mailbox waits for the next one
    STOPPED = "stopped"  # ended in an orderly way, for good
    FAILED = "failed"  # crashed; either being cleared away or, if it stays so, for good
