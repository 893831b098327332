"""The actor system: one tree of actors on one event loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final

import structlog
from pykka import ActorRegistry

from actors.runtime import events, lifecycle
from actors.runtime.actor import Actor
from actors.runtime.cell import Cell, Operation
from actors.runtime.clock import Clock, SystemClock, VirtualClock
from actors.runtime.dead_letters import DeadLetters
from actors.runtime.directory import Directory, DirectoryKeeper
from actors.runtime.dispatcher import Dispatcher
from actors.runtime.inspection import ActorInfo, Health, inspect_cell, inspect_virtual, judge
from actors.runtime.log_limiter import LogLimiter
from actors.runtime.messages import unwrapped
from actors.runtime.props import Props, Verdict
from actors.runtime.ref import ActorRef
from actors.runtime.shutdown import Shutdown, ShutdownReport, ShutdownStage
from actors.runtime.spec import ChildSpec, Restart, Strategy
from actors.runtime.statistics import ActorStatistics
from actors.runtime.stopping import StopOutcome
from actors.runtime.supervision import Supervisor
from actors.runtime.watchdog import Watchdog
from protocols.errors import Conflict, NotFound

if TYPE_CHECKING:
    from actors.runtime.child import Child
    from actors.runtime.family import Family

__all__ = ["ActorSystem"]

log = structlog.get_logger(__name__)

SLOW_S: Final = 0.05  # a handler that holds the loop longer is logged,
STALL_S: Final = 1.0  # and beyond this it is an error that health names

# pykka's `Actor.start()` has no parameter for the system, so the thread must know.
_of_thread = threading.local()


class ActorSystem:
    """Owns the root supervisor ``/<name>``, the dispatcher, the dead letters and the clock.

    Construct it anywhere, `start` it on the loop that shall run the actors, and use it on that
    loop's thread from then on. One system per thread at a time.

    Args:
        clock: where actors get the time from; a VirtualClock in tests.
        seed: fixes the jitter of back-offs, for tests.
        strategy, max_restarts, window_s: the root supervisor's.
    """

    def __init__(
        self,
        *,
        name: str = "hub",
        clock: Clock | None = None,
        seed: int | None = None,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 5,
        window_s: float = 60.0,
    ) -> None:
        self.name = name
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.random = Random(seed)
        self.dead_letters = DeadLetters(self.clock)
        self.dispatcher: Dispatcher
        self._root_options: dict[str, Any] = {
            "strategy": strategy,
            "max_restarts": max_restarts,
            "window_s": window_s,
        }
        self._root: Cell | None = None
        self._failed: asyncio.Future[Exception] | None = None
        self._names = itertools.count(1)
        self._slow_limiter = LogLimiter()
        self._shutdown = Shutdown(self)
        self._watchdog: Watchdog | None = None

    @staticmethod
    def of_this_thread() -> ActorSystem:
        """The system started on this thread. Raises RuntimeError if there is none."""
        system = getattr(_of_thread, "system", None)
        if system is None:
            raise RuntimeError("no ActorSystem was started on this thread")
        return system  # type: ignore[no-any-return]  # thread-local attributes have no type

    async def start(self) -> None:
        """Start the root supervisor on the running loop."""
        if self._root is not None:
            raise RuntimeError("this system was started before; make a new one")
        other: ActorSystem | None = getattr(_of_thread, "system", None)
        if other is not None and not other.dispatcher.loop.is_closed():
            raise RuntimeError("another system runs on this thread")
        self.dispatcher = Dispatcher(
            self.clock.monotonic, on_slow=self._on_slow, on_fatal=self._on_fatal, slow_s=SLOW_S
        )
        if isinstance(self.clock, VirtualClock):
            self.clock.watch_activity(lambda: self.dispatcher.activity)
        self._watchdog = Watchdog(self.dispatcher, STALL_S)
        self._watchdog.start()
        self._failed = asyncio.get_running_loop().create_future()
        _of_thread.system = self
        props = Props(
            create=lambda _name: Supervisor(**self._root_options),
            actor_class=Supervisor,
            system=self,
            parent=None,
            guardian=_RootGuardian(self),
            statistics=ActorStatistics(self.clock.now()),
        )
        self._root = Cell(props, self.name)
        self.register(self._root)
        await self._root.request(lifecycle.begin)
        log.info(events.SYSTEM_START, actor=self._root.path)

    def spawn(self, parent_path: str, spec: ChildSpec) -> ActorRef[Any]:
        """Start a child of the supervisor at `parent_path`; its ref can be told at once.

        Raises:
            NotFound: there is no supervisor at that path.
            Conflict: it has a child of that name, or the system is stopping.
        """
        if self._shutdown.is_under_way:
            raise Conflict(f"{spec.name} cannot be started: the system is stopping")
        family = self._family_at(parent_path)
        if spec.name in family.children:
            raise Conflict(f"{parent_path} has a child called {spec.name} already")
        return self.ref_of(family.add(spec).cell)

    def spawn_temporary(
        self, actor_class: type[Actor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ActorRef[Any]:
        """Start an actor below the root that nobody restarts, under a made-up name."""
        name = f"{actor_class.__name__}-{next(self._names)}"
        spec = ChildSpec(name, actor_class, args, kwargs, restart=Restart.TEMPORARY)
        return self.spawn(self.root.path, spec)

    def directory(
        self,
        name: str,
        create: Callable[[Any], Actor],
        *,
        parent_path: str | None = None,
        stop_timeout_s: float = 5.0,
        **options: Any,
    ) -> Directory[Any]:
        """Make a directory of virtual actors, at ``/hub/<name>`` unless said otherwise.

        `create` and `options` are those of `Directory`. `stop_timeout_s` is how long its actors
        may take to be put away at the end.
        """
        directory: Directory[Any] = Directory(name, create=create, **options)
        spec = ChildSpec(
            name,
            DirectoryKeeper,
            (directory, stop_timeout_s),
            shutdown_timeout_s=stop_timeout_s + 1.0,
        )
        parent_path = parent_path or self.root.path
        self.spawn(parent_path, spec)
        directory.attach(self._family_at(parent_path).children[name].cell)
        return directory

    async def stop_child(self, path: str) -> None:
        """Stop an actor for good, its mailbox drained if its time allows, and forget it.

        Raises NotFound if there is no such child.
        """
        family, child = self._child_at(path)
        await family.remove(child)

    async def restart(self, path: str) -> None:
        """Replace an actor's instance now; it does not count as a failure. Returns when it runs.

        Revives a child that had ended, and cuts a back-off short. Raises NotFound.
        """
        cell = self._virtual_at(path)
        if cell is not None:
            await cell.request(lifecycle.restart)
        elif self._root is not None and path == self._root.path:
            await self._root.request(lifecycle.restart)
        else:
            family, child = self._child_at(path)
            await family.restart(child)

    def find(self, path: str) -> ActorRef[Any] | None:
        """The ref of the actor at `path`; of virtual actors only the active ones."""
        cell = self._cell_at(path)
        return self.ref_of(cell) if cell is not None else None

    def children(self, path: str) -> list[ActorRef[Any]]:
        """The refs of a supervisor's children, in order of start; none if there is no supervisor."""
        cell = self._cell_at(path)
        family = cell.extras.family if cell is not None and cell.has_extras else None
        return [self.ref_of(child.cell) for child in family.children.values()] if family else []

    def tree(self) -> ActorInfo:
        """Describe the root and everything below it."""
        return inspect_cell(self.root, None)

    def info(self, path: str) -> ActorInfo:
        """Describe the actor at `path` and what is below it. Raises NotFound."""
        cell = self._cell_at(path)
        if cell is None:
            raise NotFound(f"there is no actor at {path}")
        directory = self._directory_of(cell)
        if directory is not None:
            return inspect_virtual(cell, directory)
        return inspect_cell(cell, self._child_of(cell))

    def health(self) -> Health:
        """The tree's verdict: `ok`, the actor that is the cause (or None), and a sentence."""
        return judge(self.tree(), self.clock.now())

    def on_shutdown(
        self, stage: ShutdownStage, callback: Callable[[], Awaitable[object] | object]
    ) -> None:
        """Have `stop` call this at `ShutdownStage.INTAKE` or `FLUSH`, in order of registration."""
        self._shutdown.add(stage, callback)

    async def stop(self, timeout_s: float = 10.0) -> ShutdownReport:
        """End everything in order, in about `timeout_s` seconds of real time, and report.

        Intake callbacks; wait until every mailbox is empty; flush callbacks; stop the children in
        reverse order. What does not end in time is interrupted, then abandoned. Repeated calls
        wait for the first.
        """
        report = await self._shutdown.run(timeout_s)
        self.dispatcher.close()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if getattr(_of_thread, "system", None) is self:
            _of_thread.system = None
        return report

    async def wait_failed(self) -> Exception:
        """Return, with the error, when the root supervisor has given up: end the process then."""
        assert self._failed is not None, "start the system first"
        return await asyncio.shield(self._failed)

    @property
    def root(self) -> Cell:
        if self._root is None:
            raise RuntimeError("start the system first")
        return self._root

    def ref_of(self, cell: Cell) -> ActorRef[Any]:
        return ActorRef(cell)

    def register(self, cell: Cell) -> None:
        """Show a cell to pykka's registry, if its class wants that."""
        if cell.props.registered:
            ActorRegistry.register(self.ref_of(cell))

    def stop_time_s(self, child: Child) -> float:
        """How long a child may take to stop: its own time, or what is left of the shutdown's."""
        return self._shutdown.limit_s(child)

    def stop_time_left_s(self) -> float:
        """What is left of the shutdown's time, for hooks that divide it up."""
        return self._shutdown.left_s()

    def note_stop(self, path: str, outcome: StopOutcome) -> None:
        self._shutdown.note(path, outcome)

    def note_failure(self, error: Exception) -> None:
        """The root supervisor has failed: there is nobody above it."""
        log.critical(events.SYSTEM_FAIL, actor=f"/{self.name}", exc_info=error)
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)

    def _cell_at(self, path: str) -> Cell | None:
        parts = path.strip("/").split("/")
        if self._root is None or parts[0] != self.name:
            return None
        cell = self._root
        for part in parts[1:]:
            directory = cell.extras.directory if cell.has_extras else None
            family = cell.extras.family if cell.has_extras else None
            below: Cell | None = None
            if directory is not None:
                below = directory.cell_at(part)
            elif family is not None and part in family.children:
                below = family.children[part].cell
            if below is None:
                return None
            cell = below
        return cell

    def _family_at(self, path: str) -> Family:
        cell = self._cell_at(path)
        family = cell.extras.family if cell is not None and cell.has_extras else None
        if family is None:
            raise NotFound(f"there is no supervisor at {path}")
        return family

    def _child_at(self, path: str) -> tuple[Family, Child]:
        parent_path, _, name = path.rstrip("/").rpartition("/")
        cell = self._cell_at(path)
        if cell is None or not parent_path:
            raise NotFound(f"there is no actor at {path}")
        family = self._family_at(parent_path)
        return family, family.children[name]

    def _child_of(self, cell: Cell) -> Child | None:
        parent = cell.props.parent
        family = parent.extras.family if parent is not None else None
        return family.children.get(cell.name) if family is not None else None

    def _directory_of(self, cell: Cell) -> Directory[Any] | None:
        parent = cell.props.parent
        return parent.extras.directory if parent is not None else None

    def _virtual_at(self, path: str) -> Cell | None:
        cell = self._cell_at(path)
        return cell if cell is not None and cell.props.is_virtual else None

    def _on_slow(self, cell: Cell, item: Any, held_s: float) -> None:
        statistics = cell.props.statistics
        statistics.slow_handlers += 1
        message = type(item).__name__ if type(item) is Operation else type(unwrapped(item)).__name__
        fields = {"actor": cell.path, "message_type": message, "duration_s": round(held_s, 4)}
        if held_s > STALL_S:
            statistics.last_stall_at = self.clock.now()
            log.error(events.HANDLER_STALL, **fields)
        elif self._slow_limiter.allows(self.clock.monotonic()):
            suppressed = self._slow_limiter.take_suppressed()
            log.warning(events.HANDLER_SLOW, **fields, suppressed=suppressed)

    def _on_fatal(self, cell: Cell, error: BaseException) -> None:
        """A handler raised what is no Exception: as in pykka, every actor stops."""
        log.critical(events.DISPATCHER_FAIL, actor=cell.path, exc_info=error)
        lifecycle.close(cell, None)
        for ref in reversed(ActorRegistry.get_all()):
            ref.stop(block=False)


class _RootGuardian:
    """Answers for the root: nobody restarts it."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    def on_failed(self, cell: Cell, error: Exception) -> Verdict:
        self._system.note_failure(error)
        return Verdict.KEEP

    def on_finished(self, cell: Cell) -> Verdict:
        return Verdict.END

    def on_started(self, cell: Cell) -> None:
        """Nothing hangs on it."""

    def on_stopped(self, cell: Cell, error: Exception | None) -> None:
        """`ActorSystem.stop` waits for it."""
