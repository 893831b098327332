"""What signals must do, on every database engine."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

import pytest

from protocols.errors import StorageUnavailable
from protocols.messages import TargetId
from storage.engines import open_signals
from storage.signals import Signals

PATIENCE_S = 10.0
READY = TargetId(2**62)


class Listener:
    """Collects what one `listen` tells."""

    def __init__(self) -> None:
        self.heard: set[TargetId] = set()
        self._more = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, target_ids: Collection[TargetId]) -> None:
        self.heard.update(target_ids)
        task = asyncio.get_running_loop().create_task(self._notice())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_for(self, *target_ids: TargetId) -> None:
        async with asyncio.timeout(PATIENCE_S), self._more:
            await self._more.wait_for(lambda: self.heard.issuperset(target_ids))

    async def _notice(self) -> None:
        async with self._more:
            self._more.notify_all()


@pytest.fixture
def signals(database_url: str) -> Signals:
    return open_signals(database_url)


@asynccontextmanager
async def listening(signals: Signals) -> AsyncIterator[Listener]:
    """Listen within the block, which begins when signals are heard."""
    listener = Listener()
    task = asyncio.create_task(signals.listen(listener))
    while READY not in listener.heard:
        assert not task.done(), task
        with suppress(StorageUnavailable):
            await signals.notify([READY])
        await asyncio.sleep(0.01)
    try:
        yield listener
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_everyone_who_listens_hears_a_signal(signals: Signals) -> None:
    async with listening(signals) as listener:
        await signals.notify([TargetId(3), TargetId(17)])
        await listener.wait_for(TargetId(3), TargetId(17))


async def test_signal_may_name_thousands_of_targets(signals: Signals) -> None:
    target_ids = [TargetId(2**61 + number) for number in range(3_000)]
    async with listening(signals) as listener:
        await signals.notify(target_ids)
        await listener.wait_for(*target_ids)


async def test_many_signals_at_once_are_all_heard(signals: Signals) -> None:
    target_ids = [TargetId(number) for number in range(1, 101)]
    async with listening(signals) as listener:
        await asyncio.gather(*(signals.notify([target_id]) for target_id in target_ids))
        await listener.wait_for(*target_ids)


async def test_one_can_listen_again_after_having_stopped(signals: Signals) -> None:
    async with listening(signals):
        pass
    async with listening(signals) as listener:
        await signals.notify([TargetId(5)])
        await listener.wait_for(TargetId(5))
