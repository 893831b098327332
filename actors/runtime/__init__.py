"""Actors on one event loop: real pykka actors, scheduled on demand.

An idle actor owns no thread, no task and no queue; a message gives it a turn on the loop. What the
rest of the hub relies on:

- Subclass `Actor`, describe it with a `ChildSpec`, hand that to `ActorSystem.spawn`. Many actors of
  one kind, each with a key, belong in a `Directory`, which makes them at their first message and puts
  them away when they are idle or too many.
- An actor's handlers never overlap, and messages from one sender arrive in the order they were told.
  `tell` never blocks. `ask` gives an `ActorFuture`: await it, with a `timeout_s`. `offer` waits for
  room and is for the edge only.
- A handler that raises on a told message crashes its actor; on an asked one the asker gets the
  exception. The supervisor answers a crash with a new instance after a back-off. Ref and mailbox
  stay, also when it is the supervisor that was restarted. An error of an *expected* class backs off
  too but never counts towards the restart intensity.
- With `redeliver_once`, the message at hand during a crash comes first to the next instance; a second
  crash makes it poison: dead-lettered, and handed to `on_poison`. Without it, it is a dead letter.
- Nothing disappears silently: what no actor handled is in `ActorSystem.dead_letters`, counted by
  `DropReason`.
- Everything belongs to the loop's thread, except `tell`, `ask`, `stop` and `kill` of a ref and `get`
  of a future, which belong to any thread. Blocking calls on the loop's thread raise `WouldDeadlock`.
- Time comes from a `Clock`; with a `VirtualClock` a test decides when it passes.

An actor may keep private state, tell, spawn through its supervisor, await with a timeout. It may not
block, share mutable state, change a message it has sent, give away `self` (only `actor_ref`), ask
upward or in a circle, swallow CancelledError, or keep a virtual actor's ref over time (keep its key).
"""

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
