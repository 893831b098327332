"""Virtual actors: addressed by key, there when needed, put away when not.

Theory of operation. A message for a key without an active actor makes one. The active ones stand in
a ring; whenever there are too many, the least recently used of the first few in the ring goes, and a
sweep puts away the idle ones a few at a time, so that neither ever walks through a million entries
at once. An actor with messages, or one that says `can_passivate() is False`, stays; so the bounds
are soft by as many as are busy.

Rules:
1. At most one instance per key: an actor on its way out keeps its cell until `on_stop` is through,
   and messages that come meanwhile are handled by a fresh instance in the same cell.
2. The directory supervises: after a crash the cell stays, with its mailbox, and is begun again
   after a back-off that only keys that failed carry. There is no intensity: one key cannot take
   the others along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

from pykka import ActorDeadError

from actors.runtime import lifecycle
from actors.runtime.actor import Actor
from actors.runtime.backoff import Backoff
from actors.runtime.cell import Cell, Operation
from actors.runtime.events import DropReason
from actors.runtime.messages import Envelope
from actors.runtime.passivation import Passivator
from actors.runtime.props import Props
from actors.runtime.ref import ActorRef
from actors.runtime.size_estimate import estimate_size_bytes
from actors.runtime.spec import EXPECTED
from actors.runtime.state import ActorState
from actors.runtime.virtual_guardian import VirtualFailure, VirtualGuardian

__all__ = ["Directory", "VirtualRef"]

K = TypeVar("K", bound=Hashable)

_PASSIVATION_POLL_S: Final = 0.002
_SHARE_OF_STOP: Final = 0.7  # of what is left: the rest is for ending those that stay busy
_UNWIND_S: Final = 0.5  # for handlers and hooks that were interrupted


class Directory(Generic[K]):
    """Makes, finds, bounds and supervises the virtual actors of one kind. Loop thread only.

    `create(key)` makes an instance; an actor class whose constructor takes the key will do. Made by
    `ActorSystem.directory`, which gives it its place in the tree.

    Args:
        max_active: soft bound on the number of instances.
        max_bytes_estimate: soft bound on `active` times the measured mean size; None for none.
        idle_after_s: how long an actor may do nothing before it is put away.
        on_restarted: called with key and error when a crashed actor runs again as a new instance:
            what it had in hand, its state and any answers it waited for are to be given again.
        size_of: how to measure an instance, if attributes one level deep say too little.
    """

    def __init__(
        self,
        name: str,
        *,
        create: Callable[[K], Actor],
        max_active: int = 100_000,
        max_bytes_estimate: int | None = None,
        idle_after_s: float = 300.0,
        backoff: Backoff | None = None,
        expected: tuple[type[Exception], ...] = EXPECTED,
        on_restarted: Callable[[K, Exception], None] | None = None,
        size_of: Callable[[Any], int] = estimate_size_bytes,
    ) -> None:
        if max_active < 1 or idle_after_s <= 0:
            raise ValueError("a directory needs max_active >= 1 and idle_after_s > 0")
        self.name = name
        self.activations = 0
        self._create = create
        self._cells: dict[K, Cell] = {}
        self._guardian = VirtualGuardian(
            backoff=backoff if backoff is not None else Backoff(),
            expected=expected,
            on_restarted=on_restarted,
            on_closed=self._forget,
        )
        self._passivator = Passivator(
            max_active=max_active,
            max_bytes_estimate=max_bytes_estimate,
            idle_after_s=idle_after_s,
            size_of=size_of,
        )
        self._props: Props | None = None
        self._is_closing = False
        self._emptied: asyncio.Event | None = None

    @property
    def path(self) -> str:
        parent = self._attached().parent
        assert parent is not None
        return parent.path

    @property
    def active(self) -> int:
        """How many instances there are, those backing off included."""
        return len(self._cells)

    @property
    def evictions(self) -> int:
        """How many instances were put away, idle or for lack of room."""
        return self._passivator.evictions

    @property
    def failures(self) -> int:
        """How many times an instance crashed."""
        return self._guardian.count

    @property
    def bytes_estimate(self) -> int:
        """What the active actors hold, by the mean of those measured."""
        return self._passivator.bytes_estimate(len(self._cells))

    def attach(self, keeper: Cell) -> None:
        """Take the place in the tree below `keeper`, whose statistics this shares."""
        keeper.extras.directory = self
        self._props = Props(
            create=self._create,
            actor_class=self._create if isinstance(self._create, type) else Actor,
            system=keeper.props.system,
            parent=keeper,
            guardian=self._guardian,
            statistics=keeper.props.statistics,
            revive=self._put,
        )

    def start_sweeping(self) -> None:
        """Begin to put away idle actors; the keeper calls it whenever it starts."""
        assert self._props is not None
        self._passivator.start(self._props.clock)

    def stop_sweeping(self) -> None:
        self._passivator.stop()

    def tell(self, key: K, message: Any) -> None:
        """Send a message; activates the actor if need be. Raises MailboxFull, ActorDeadError."""
        cell = self._cells.get(key)
        if cell is None:
            cell = self._activate(key)
        cell.put(message)

    def ask(self, key: K, message: Any, *, timeout_s: float | None = None) -> Any:
        """Like `ActorRef.ask`; activates the actor if need be."""
        return ActorRef[Any](self._resolve(key)).ask(message, timeout_s=timeout_s)

    async def offer(self, key: K, message: Any) -> None:
        """Like `ActorRef.offer`; activates the actor if need be."""
        await ActorRef[Any](self._resolve(key)).offer(message)

    def ref(self, key: K) -> VirtualRef[K]:
        """An address to keep: it holds the key only and activates nobody."""
        return VirtualRef(self, key)

    def find(self, key: K) -> ActorRef[Any] | None:
        """The ref of the active actor of that key, for the moment; None if there is none."""
        cell = self._cells.get(key)
        return ActorRef(cell) if cell is not None else None

    def is_active(self, key: K) -> bool:
        """Whether a message for `key` would find an instance, or one that is about to return."""
        return key in self._cells

    def active_keys(self) -> list[K]:
        """The keys of all that are active now; a copy, so not for the way of every message."""
        return list(self._cells)

    def failure_of(self, key: K) -> VirtualFailure | None:
        """What is remembered of the latest crash of that key."""
        return self._guardian.failures.get(key)

    def down_cells(self, limit: int) -> list[Cell]:
        """Some of those that are backing off, for inspection."""
        down: list[Cell] = []
        for failure in self._guardian.failures.values():
            if failure.cell.state is not ActorState.RUNNING and len(down) < limit:
                down.append(failure.cell)
        return down

    def cell_at(self, part: str) -> Cell | None:
        """The active actor whose key reads `part` in a path."""
        cells: dict[Any, Cell] = self._cells
        cell = cells.get(part)
        if cell is None and part.lstrip("-").isdecimal():
            cell = cells.get(int(part))
        return cell

    async def passivate_all(self, timeout_s: float) -> int:
        """Put everyone away for good, each when its mailbox is empty; returns how many were forced.

        New keys are refused from here on. Whoever is still busy after `timeout_s` (of real time)
        is stopped with what it has, its messages becoming dead letters.
        """
        self._is_closing = True
        self._passivator.stop()
        forced = await self.put_away_all(timeout_s)
        self._guardian.close()
        return forced

    async def put_away_all(self, timeout_s: float) -> int:
        """Put everyone away, as `passivate_all` does, and go on: the next message activates anew."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while self._cells and loop.time() < deadline_s:
            if self._passivator.put_away_some(is_final=True):
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(_PASSIVATION_POLL_S)
        forced = list(self._cells.values())
        for cell in forced:
            cell.post(Operation(lifecycle.end), first=True)
            cell.interrupt()
        if forced:
            await self._await_empty()
        return len(forced)

    async def _await_empty(self) -> None:
        """Give those that were interrupted a moment to unwind, then go on without them."""
        self._emptied = asyncio.Event()
        try:
            async with asyncio.timeout(_UNWIND_S):
                await self._emptied.wait()
        except TimeoutError:
            for cell in list(self._cells.values()):
                lifecycle.close(cell, None)

    def _resolve(self, key: K) -> Cell:
        cell = self._cells.get(key)
        return cell if cell is not None else self._activate(key)

    def _put(self, key: K, item: Any) -> None:
        """A message reached the ref of an instance that was put away: hand it to the next one."""
        if self._is_closing and key not in self._cells:
            props = self._attached()
            Cell(props, key).drop(item, DropReason.STOPPED)
            if type(item) is not Envelope:
                raise ActorDeadError(f"{self.name} has stopped")
            return
        self._resolve(key).put(item)

    def _activate(self, key: K) -> Cell:
        props = self._attached()
        if self._is_closing:
            raise ActorDeadError(f"the directory {self.name} has stopped")
        self._passivator.make_room(len(self._cells))
        cell = Cell(props, key)
        self._cells[key] = cell
        self.activations += 1
        lifecycle.begin_now(cell)
        self._passivator.add(cell)
        return cell

    def _attached(self) -> Props:
        if self._props is None:
            raise RuntimeError(
                f"the directory {self.name} has no system: use ActorSystem.directory"
            )
        return self._props

    def _forget(self, cell: Cell) -> None:
        if self._cells.get(cell.name) is cell:
            del self._cells[cell.name]
        if self._emptied is not None and not self._cells:
            self._emptied.set()


class VirtualRef(Generic[K]):
    """A virtual actor's address: it holds the key only, so it may be kept for ever."""

    __slots__ = ("directory", "key")

    def __init__(self, directory: Directory[K], key: K) -> None:
        self.directory = directory
        self.key = key

    def __repr__(self) -> str:
        return f"<VirtualRef {self.path}>"

    @property
    def path(self) -> str:
        return f"{self.directory.path}/{self.key}"

    def tell(self, message: Any) -> None:
        self.directory.tell(self.key, message)

    def ask(self, message: Any, *, timeout_s: float | None = None) -> Any:
        return self.directory.ask(self.key, message, timeout_s=timeout_s)

    async def offer(self, message: Any) -> None:
        await self.directory.offer(self.key, message)


class DirectoryKeeper(Actor):
    """A directory's place in the tree: starts its sweep, puts everyone away at the end."""

    def __init__(self, directory: Directory[Any], stop_timeout_s: float) -> None:
        super().__init__()
        self.directory = directory
        self._stop_timeout_s = stop_timeout_s

    def on_start(self) -> None:
        self.directory.start_sweeping()

    def on_restart(self, error: Exception | None) -> None:
        self.directory.stop_sweeping()

    async def on_stop(self) -> None:
        left_s = self.system.stop_time_left_s() * _SHARE_OF_STOP
        await self.directory.passivate_all(min(self._stop_timeout_s, left_s))
