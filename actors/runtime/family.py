"""A supervisor's children, and what becomes of them.

The family hangs on the supervisor's cell, not on its instance. So a restarted supervisor finds its
children's cells again: the same refs, the same mailboxes, the ones spawned later included.

Theory of operation. A child's own turn reports its failure here (`on_failed`), synchronously. Under
one_for_one the answer is a timer that begins the child again. Under the other strategies it is a
recovery: one task which halts the affected children last to first, waits for the back-off and begins
them first to last. A further failure meanwhile replaces the recovery by one for both.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from actors.runtime import events, lifecycle
from actors.runtime.cell import Cell, Operation
from actors.runtime.child import Child
from actors.runtime.failures import Escalated
from actors.runtime.intensity import RestartIntensity
from actors.runtime.props import Props, Verdict
from actors.runtime.spec import ChildSpec, Restart, Strategy
from actors.runtime.state import ActorState
from actors.runtime.statistics import ActorStatistics
from actors.runtime.stopping import halt_within, stop_within

if TYPE_CHECKING:
    pass

__all__ = ["Family"]

log = structlog.get_logger(__name__)


class Family:
    """The guardian of one supervisor's children. Loop thread only."""

    def __init__(self, owner: Cell) -> None:
        self._owner = owner
        self.children: dict[str, Child] = {}
        self.strategy = Strategy.ONE_FOR_ONE
        self._intensity = RestartIntensity(5, 60.0)
        self._stop_together = False
        self._is_down = True  # the supervisor has no running instance
        self._is_closing = False  # for good
        self._recovery: asyncio.Task[None] | None = None
        self._recovering: list[Child] = []

    def configure(
        self, *, strategy: Strategy, intensity: RestartIntensity, stop_together: bool
    ) -> None:
        """Take over what a new instance of the supervisor was made with."""
        self.strategy = strategy
        self._intensity = intensity
        self._stop_together = stop_together

    def add(self, spec: ChildSpec) -> Child:
        """Take in a child; it starts with the supervisor, or at once if that is running."""
        props = Props(
            create=lambda _name: spec.actor_class(*spec.args, **spec.kwargs),
            actor_class=spec.actor_class,
            system=self._owner.props.system,
            parent=self._owner,
            guardian=self,
            statistics=ActorStatistics(self._owner.props.clock.now()),
        )
        child = Child(spec, Cell(props, spec.name))
        self.children[spec.name] = child
        self._owner.props.system.register(child.cell)
        if not self._is_down:
            lifecycle.begin_now(child.cell)
        return child

    def start_children(self) -> None:
        """The supervisor runs: begin all children in order."""
        self._is_down = self._is_closing = False
        waiting = [child for child in self.children.values() if not child.cell.is_closed]
        if self.strategy is Strategy.ONE_FOR_ONE:
            for child in waiting:
                self._begin(child)
        elif waiting:
            self._recover(waiting, 0.0)

    async def halt(self) -> None:
        """The supervisor's instance goes: halt or, when it goes for good, stop the children."""
        self._is_down = True
        self._is_closing = self._owner.is_closed
        self._cancel_recovery()
        self._recovering = []
        for child in self.children.values():
            child.cancel_timer()
        await self._take_down_all(list(self.children.values()))

    async def remove(self, child: Child) -> None:
        """Stop a child for good and forget it."""
        child.is_leaving = True
        child.cancel_timer()
        await stop_within(child)
        self.children.pop(child.spec.name, None)

    async def restart(self, child: Child) -> None:
        """Replace a child's instance because somebody asked; also revives one that has ended."""
        child.cancel_timer()
        child.attempt = 0
        if child.cell.is_closed:
            child.cell.state = ActorState.STARTING
            self._owner.props.system.register(child.cell)
        await child.cell.request(lifecycle.restart)

    def on_failed(self, cell: Cell, error: Exception) -> Verdict:
        child = self.children[cell.name]
        if child.is_leaving or self._is_closing or child.spec.restart is Restart.TEMPORARY:
            self._log_failure(child, error)
            return Verdict.END
        if self._is_down:
            return Verdict.KEEP  # begun again with the supervisor
        is_expected = isinstance(error, child.spec.expected)
        child.is_expected_down = is_expected
        self._log_failure(child, error, is_expected=is_expected)
        self._answer(child, error, counts=not is_expected)
        return Verdict.KEEP

    def on_finished(self, cell: Cell) -> Verdict:
        child = self.children[cell.name]
        stays_down = child.is_leaving or self._is_closing
        if stays_down or child.spec.restart is not Restart.PERMANENT:
            return Verdict.END
        if not self._is_down:
            child.is_expected_down = True
            self._answer(child, None, counts=True)
        return Verdict.KEEP

    def on_started(self, cell: Cell) -> None:
        child = self.children[cell.name]
        child.started_s = self._owner.props.clock.monotonic()
        child.next_start_at = None
        if child.is_out:
            child.is_out = False
            log.info(events.ACTOR_CONNECTION_BACK, actor=cell.path)

    def on_stopped(self, cell: Cell, error: Exception | None) -> None:
        child = self.children.get(cell.name)
        if child is None or child.cell is not cell:
            return
        child.cancel_timer()
        if child.spec.restart is Restart.TEMPORARY and not self._is_closing:
            del self.children[cell.name]

    def _answer(self, child: Child, error: Exception | None, *, counts: bool) -> None:
        """Restart whom the strategy names, unless the intensity says that it is enough."""
        clock = self._owner.props.clock
        now_s = clock.monotonic()
        if counts and self._intensity.note_crash(now_s):
            self._escalate(child, error)
            return
        delay_s = child.next_delay_s(now_s, self._owner.props.system.random)
        group = self._affected(child)
        if len(group) > 1:
            self._recover(group, delay_s)
        elif child not in self._recovering:
            child.wait(clock, delay_s, lambda: self._begin(child))
        else:
            self._recover([child], delay_s)

    def _affected(self, child: Child) -> list[Child]:
        everyone = [each for each in self.children.values() if not each.cell.is_closed]
        match self.strategy:
            case Strategy.ONE_FOR_ONE:
                return [child]
            case Strategy.ONE_FOR_ALL:
                return everyone
            case Strategy.REST_FOR_ONE:
                return everyone[everyone.index(child) :]

    def _escalate(self, child: Child, error: Exception | None) -> None:
        intensity = self._intensity
        escalated = Escalated(
            f"{child.cell.path} was the last of more than {intensity.max_restarts} crashes "
            f"within {intensity.window_s:g} s: {error!r}"
        )
        escalated.__cause__ = error
        self._is_down = True  # further failures until then change nothing
        log.error(events.SUPERVISOR_ESCALATE, actor=self._owner.path, cause=child.cell.path)
        self._owner.post(Operation(lambda cell: lifecycle.crash(cell, escalated)), first=True)
        self._owner.interrupt()

    def _begin(self, child: Child) -> None:
        child.timer = None
        if not self._is_down and not child.is_leaving:
            child.cell.post(Operation(lifecycle.begin))

    def _recover(self, group: list[Child], delay_s: float) -> None:
        self._cancel_recovery()
        affected = set(map(id, (*group, *self._recovering)))
        self._recovering = [each for each in self.children.values() if id(each) in affected]
        self._recovery = asyncio.get_running_loop().create_task(self._run_recovery(delay_s))

    def _cancel_recovery(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            self._recovery = None

    async def _run_recovery(self, delay_s: float) -> None:
        clock = self._owner.props.clock
        group = self._recovering
        for child in reversed(group):
            child.cancel_timer()
            child.next_start_at = clock.now()
            await self._take_down(child)
        group = [child for child in group if not child.is_leaving]
        if delay_s > 0:
            for child in group:
                child.announce_start_in(clock, delay_s)
            await clock.sleep(delay_s)
        for child in group:
            await child.cell.request(lifecycle.begin)
        self._recovering = []
        self._recovery = None

    async def _take_down_all(self, children: list[Child]) -> None:
        if self._stop_together:
            await asyncio.gather(*(self._take_down(child) for child in reversed(children)))
            return
        for child in reversed(children):
            await self._take_down(child)

    async def _take_down(self, child: Child) -> None:
        """Halt a child until it is begun again; for good if nothing may begin it again."""
        if self._is_closing:
            await stop_within(child)
        elif child.spec.restart is Restart.TEMPORARY:
            await self.remove(child)
        else:
            await halt_within(child)

    def _log_failure(self, child: Child, error: Exception, *, is_expected: bool = False) -> None:
        if not is_expected:
            log.error(events.ACTOR_FAIL, actor=child.cell.path, exc_info=error)
        elif not child.is_out:  # once per outage
            child.is_out = True
            log.warning(events.ACTOR_CONNECTION_LOST, actor=child.cell.path, reason=str(error))
