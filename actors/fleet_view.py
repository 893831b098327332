"""All processes of the hub as one of them sees them: one tree, one verdict, one way to reach any actor.

What this process shows of itself is live; of the others it is what they last wrote about themselves,
a few seconds old. Below the root `/` stands one node for each process, `/worker-5f0c2a17`, and below
that its own tree, `/worker-5f0c2a17/hub/writer`.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from actors.membership import Membership
from actors.process_report import ProcessReport, Tree, below, find
from actors.runtime import ActorInfo, ActorState, ActorSystem
from protocols.errors import NotFound, StorageUnavailable
from storage.process_orders import OrderKind
from storage.processes import ProcessRole, ProcessRow

# Who asks for the fleet's health is told within this time that the database does not answer.
_PATIENCE_S: Final = 3.0


class Verdict(NamedTuple):
    """Whether all is well; the path of what is not, or of what to look at, if any; and a sentence."""

    is_well: bool
    cause: str | None
    reason: str


class FleetView:
    """Reads the processes' rows; `system` is this process's own."""

    def __init__(self, membership: Membership, system: ActorSystem) -> None:
        self._membership = membership
        self._system = system

    async def tree(self) -> dict[str, Any]:
        """Return every process with its actors.

        Raises: StorageUnavailable.
        """
        rows = await self._membership.registry.list(with_reports=True)
        since = min((row.started_at for row in rows), default=self._system.clock.now())
        verdict = self._judge(rows)
        root = ActorInfo(
            path="/",
            actor_class="Fleet",
            state=ActorState.RUNNING if verdict.is_well else ActorState.FAILED,
            since=since,
            last_error=None if verdict.is_well else verdict.reason,
        )
        return {**root.to_json(), "children": [self._process(row) for row in rows]}

    async def actor(self, path: str) -> dict[str, Any] | None:
        """Return one actor or process with what is below it, or None if nobody shows it.

        A path without a process is one of this process's own.

        Raises: StorageUnavailable.
        """
        if path == "/":
            return await self.tree()
        process_id, local_path = self._split(path)
        if process_id == self._membership.process_id and local_path is not None:
            return self._own_actor(
                local_path, prefix="" if path == local_path else f"/{process_id}"
            )
        row = await self._membership.registry.find(process_id)
        if row is None or local_path is None:
            return None if row is None else self._process(row)
        report = ProcessReport.read(row.report)
        found = None if report.tree is None else find(local_path, report.tree)
        return None if found is None else below(f"/{process_id}", found)

    async def restart(self, path: str) -> None:
        """Have the actor replaced, here or by the process that it belongs to.

        Of a device's actor elsewhere it is not known whether it is active; if not, nothing happens.

        Raises:
            NotFound: there is no such actor, or its process is lost.
            StorageUnavailable: the other process cannot be asked.
        """
        process_id, local_path = self._split(path)
        if local_path is None:
            raise NotFound("A process cannot be restarted from here; its actors can.")
        if process_id == self._membership.process_id:
            await self._system.restart(local_path)
            return
        row = await self._membership.registry.find(process_id)
        tree = None if row is None else ProcessReport.read(row.report).tree
        if tree is None or not _may_be_there(local_path, tree):
            raise NotFound("There is no such actor.")
        await self._membership.orders.ask(process_id, OrderKind.RESTART_ACTOR, {"path": local_path})

    async def health(self) -> Verdict:
        """Judge the whole fleet; without the database that cannot be done, and is no good sign."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                rows = await self._membership.registry.list()
        except (TimeoutError, StorageUnavailable) as error:
            reason = str(error) or "the database does not answer"
            return Verdict(False, f"/{self._membership.process_id}", reason)
        return self._judge(rows)

    async def lags(self) -> dict[int, int]:
        """Return what is known of how far each partition is behind."""
        lags: dict[int, int] = {}
        for row in await self._membership.registry.list(with_reports=True):
            if not row.is_lost:
                lags |= ProcessReport.read(row.report).lags
        return lags

    def _split(self, path: str) -> tuple[str, str | None]:
        """Return the process that a path names, and the path as that process has it."""
        root = self._system.root.path
        if path == root or path.startswith(f"{root}/"):
            return self._membership.process_id, path
        process_id, slash, rest = path.removeprefix("/").partition("/")
        return process_id, f"/{rest}" if slash and rest else None

    def _own_actor(self, path: str, prefix: str) -> dict[str, Any] | None:
        try:
            return below(prefix, self._system.info(path).to_json())
        except NotFound:
            return None

    # -- one process ---------------------------------------------------------------------------

    def _process(self, row: ProcessRow) -> dict[str, Any]:
        report = ProcessReport.read(row.report)
        tree, verdict = report.tree, _judge(row)
        if row.process_id == self._membership.process_id:
            tree, verdict = self._system.tree().to_json(), self._own_verdict()
        info = ActorInfo(
            path=f"/{row.process_id}",
            actor_class="Process",
            state=ActorState.FAILED if row.is_lost else ActorState.RUNNING,
            since=row.started_at,
            last_error=None if verdict.is_well else verdict.reason,
        )
        return {
            **info.to_json(),
            "role": row.role,
            "host": row.host,
            "pid": row.pid,
            "version": row.version,
            "is_lost": row.is_lost,
            "silent_s": round(row.silent_s, 3),
            "partitions": list(report.partitions),
            "children": [] if tree is None else [below(info.path, tree)],
        }

    # -- the verdict -----------------------------------------------------------------------------

    def _judge(self, rows: list[ProcessRow]) -> Verdict:
        """Name what weighs most: who is lost and not replaced, then who is unwell, then who is missing."""
        others = [row for row in rows if row.process_id != self._membership.process_id]
        living = [row for row in others if not row.is_lost]
        verdicts = [_judge(row) for row in _missed(others)]
        verdicts += [self._own_verdict(), *map(_judge, living)]
        for verdict in verdicts:
            if not verdict.is_well:
                return verdict
        if not any(row.role == ProcessRole.WORKER for row in living):
            return Verdict(False, None, "no worker runs: messages are taken in and wait")
        for verdict in verdicts:
            if verdict.cause is not None:
                return verdict
        return Verdict(True, None, "every actor of every process runs")

    def _own_verdict(self) -> Verdict:
        health = self._system.health()
        path = f"/{self._membership.process_id}"
        worst = None if health.worst is None else path + health.worst.path
        return Verdict(health.ok, worst, f"{path}: {health.reason}")


def _judge(row: ProcessRow) -> Verdict:
    path = f"/{row.process_id}"
    if row.is_lost:
        where = f"{row.role} on {row.host}, process {row.pid}"
        reason = f"{path} ({where}) has not been heard of for {row.silent_s:.0f} s"
        return Verdict(False, path, reason)
    worst = None if row.cause is None else path + row.cause
    return Verdict(row.is_well, worst, f"{path}: {row.reason}")


def _missed(rows: Iterable[ProcessRow]) -> Iterable[ProcessRow]:
    """Yield the lost whose place nobody has taken: one of the same role that started afterwards."""
    lost = sorted((row for row in rows if row.is_lost), key=lambda row: row.silent_s)
    successors = [row for row in rows if not row.is_lost]
    for row in lost:
        heir = next((each for each in successors if _follows(each, row)), None)
        if heir is None:
            yield row
        else:
            successors.remove(heir)


def _follows(heir: ProcessRow, lost: ProcessRow) -> bool:
    # Both by the database's clock: how long ago the one began and the other was last heard of.
    return heir.role == lost.role and heir.age_s < lost.silent_s


def _may_be_there(path: str, tree: Tree) -> bool:
    """Whether it is shown, or belongs to a directory, of whose actors only those down are shown."""
    if find(path, tree) is not None:
        return True
    parent = find(path.rpartition("/")[0], tree)
    return parent is not None and parent.get("active") is not None
