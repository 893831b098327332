"""Actors on one event loop: real pykka actors, scheduled on demand."""

from actors.runtime.actor import Actor
from actors.runtime.backoff import Backoff
from actors.runtime.clock import Clock, SystemClock, VirtualClock
from actors.runtime.dead_letters import DeadLetter, DeadLetters
from actors.runtime.directory import Directory, VirtualRef
from actors.runtime.events import DropReason
from actors.runtime.failures import (
    ActorKilled,
    Escalated,
    HandlerCancelled,
    MailboxFull,
    RestartRequested,
    WouldDeadlock,
)
from actors.runtime.future import ActorFuture
from actors.runtime.inspection import ActorInfo, Health
from actors.runtime.mailbox import Overflow
from actors.runtime.messages import Restarted, Terminated
from actors.runtime.ref import ActorRef
from actors.runtime.shutdown import ShutdownReport, ShutdownStage
from actors.runtime.spec import ChildSpec, Restart, Strategy
from actors.runtime.state import ActorState
from actors.runtime.supervision import Supervisor
from actors.runtime.system import ActorSystem
from actors.runtime.timer import Timer

__all__ = [
    "Actor",
    "ActorFuture",
    "ActorInfo",
    "ActorKilled",
    "ActorRef",
    "ActorState",
    "ActorSystem",
    "Backoff",
    "ChildSpec",
    "Clock",
    "DeadLetter",
    "DeadLetters",
    "Directory",
    "DropReason",
    "Escalated",
    "HandlerCancelled",
    "Health",
    "MailboxFull",
    "Overflow",
    "Restart",
    "RestartRequested",
    "Restarted",
    "ShutdownReport",
    "ShutdownStage",
    "Strategy",
    "Supervisor",
    "SystemClock",
    "Terminated",
    "Timer",
    "VirtualClock",
    "VirtualRef",
    "WouldDeadlock",
]
