"""The orderly end of a system: take nothing in, drain, flush, stop in reverse, report."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog

from actors.runtime import events, lifecycle
from actors.runtime.stopping import StopOutcome

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.child import Child
    from actors.runtime.system import ActorSystem

__all__ = ["Shutdown", "ShutdownReport", "ShutdownStage"]

log = structlog.get_logger(__name__)

_DRAIN_SHARE: Final = 0.5  # of the time: the rest is for flushing and stopping
_POLL_S: Final = 0.002
_LAST_MOMENT_S: Final = 0.25  # past the deadline, for what was interrupted to unwind


class ShutdownStage(StrEnum):
    """When a shutdown callback is called."""

    INTAKE = "intake"  # first: close listeners, withhold acknowledgements
    FLUSH = "flush"  # when the mailboxes are empty


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownReport:
    """How the end went."""

    is_clean: bool  # drained, and every actor ended by itself
    is_drained: bool
    duration_s: float
    dead_letters: int  # messages nobody handled because of the end
    interrupted: tuple[str, ...] = ()  # paths of actors that had to be interrupted
    abandoned: tuple[str, ...] = ()  # and of those that did not even react to that
    problems: tuple[str, ...] = ()  # callbacks that failed or ran out of time

    def to_json(self) -> dict[str, Any]:
        return {
            "is_clean": self.is_clean,
            "is_drained": self.is_drained,
            "duration_s": round(self.duration_s, 3),
            "dead_letters": self.dead_letters,
            "interrupted": list(self.interrupted),
            "abandoned": list(self.abandoned),
            "problems": list(self.problems),
        }


class Shutdown:
    """Carries out `ActorSystem.stop`, once."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system
        self._callbacks: dict[ShutdownStage, list[Callable[[], Awaitable[object] | object]]] = {
            stage: [] for stage in ShutdownStage
        }
        self._task: asyncio.Task[ShutdownReport] | None = None
        self._deadline_s: float | None = None
        self._outcomes: dict[str, StopOutcome] = {}
        self._problems: list[str] = []

    @property
    def is_under_way(self) -> bool:
        return self._task is not None

    def add(self, stage: ShutdownStage, callback: Callable[[], Awaitable[object] | object]) -> None:
        self._callbacks[stage].append(callback)

    def limit_s(self, child: Child) -> float:
        """How long a child's stop may take. A supervisor gets what its children need."""
        extras = child.cell.extras
        own_s = child.spec.shutdown_timeout_s if extras.family is None else float("inf")
        return min(own_s, self.left_s())

    def left_s(self) -> float:
        """What is left of the shutdown's time; an hour while there is none under way."""
        if self._deadline_s is None:
            return 3600.0
        return max(0.0, self._deadline_s - asyncio.get_running_loop().time())

    def note(self, path: str, outcome: StopOutcome) -> None:
        if self.is_under_way:
            self._outcomes[path] = outcome

    async def run(self, timeout_s: float) -> ShutdownReport:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(timeout_s))
        return await asyncio.shield(self._task)

    async def _run(self, timeout_s: float) -> ShutdownReport:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._deadline_s = began_s + timeout_s
        letters_before = self._system.dead_letters.total
        await self._call(ShutdownStage.INTAKE)
        is_drained = await self._drain(began_s + timeout_s * _DRAIN_SHARE)
        await self._call(ShutdownStage.FLUSH)
        await self._stop_tree()
        return self._report(is_drained, loop.time() - began_s, letters_before)

    async def _call(self, stage: ShutdownStage) -> None:
        loop = asyncio.get_running_loop()
        assert self._deadline_s is not None
        for callback in self._callbacks[stage]:
            try:
                async with asyncio.timeout(max(0.0, self._deadline_s - loop.time())):
                    await lifecycle.settled(callback())
            except Exception as error:
                self._problems.append(f"{stage}: {error!r}")
                log.exception(events.HOOK_FAIL, actor=self._system.root.path, hook=stage.value)

    async def _drain(self, until_s: float) -> bool:
        """Wait until no mailbox holds anything that can be handled, and no handler runs."""
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            await asyncio.sleep(0)
            if not self._system.dispatcher.is_active:
                return True
            await asyncio.sleep(_POLL_S)
        return not self._system.dispatcher.is_active

    async def _stop_tree(self) -> None:
        root = self._system.root
        ended = root.request(lifecycle.end)
        assert self._deadline_s is not None
        left_s = max(0.0, self._deadline_s - asyncio.get_running_loop().time())
        await asyncio.wait([ended], timeout=left_s + _LAST_MOMENT_S)
        if not ended.done():
            for cell in _cells_below(root):
                self._abandon(cell)

    def _abandon(self, cell: Cell) -> None:
        if not cell.is_closed or cell.actor is not None:
            self._outcomes[cell.path] = StopOutcome.ABANDONED
            log.error(events.ACTOR_ABANDON, actor=cell.path)
            lifecycle.close(cell, None)

    def _report(self, is_drained: bool, duration_s: float, before: int) -> ShutdownReport:
        def paths(wanted: StopOutcome) -> tuple[str, ...]:
            return tuple(path for path, outcome in self._outcomes.items() if outcome is wanted)

        interrupted, abandoned = paths(StopOutcome.INTERRUPTED), paths(StopOutcome.ABANDONED)
        report = ShutdownReport(
            is_clean=is_drained and not (interrupted or abandoned or self._problems),
            is_drained=is_drained,
            duration_s=duration_s,
            dead_letters=self._system.dead_letters.total - before,
            interrupted=interrupted,
            abandoned=abandoned,
            problems=tuple(self._problems),
        )
        log.info(events.SYSTEM_STOP, actor=self._system.root.path, **report.to_json())
        return report


def _cells_below(cell: Cell) -> list[Cell]:
    """The cell and everything supervised below it, the deepest and latest first."""
    family = cell.extras.family
    children = list(family.children.values()) if family is not None else []
    found: list[Cell] = []
    for child in reversed(children):
        found.extend(_cells_below(child.cell))
    return [*found, cell]
