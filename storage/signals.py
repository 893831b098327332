"""Signals between the processes of a hub: something was made for these data targets.

A signal carries no news, only the advice to look. It may be lost, and come twice or for nothing.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

from protocols.messages import TargetId

OnSignal = Callable[[Collection[TargetId]], None]


class Signals(ABC):
    """Used on the event loop only."""

    @abstractmethod
    async def notify(self, target_ids: Collection[TargetId]) -> None:
        """Signal to all who listen, in this process too, that these were made deliveries for.

        Call it after the commit, outside of any transaction, and not once for every commit.

        Raises:
            StorageUnavailable: some may not have been told; do not repeat it, they look anyway.
        """

    @abstractmethod
    async def listen(self, on_signal: OnSignal) -> None:
        """Call `on_signal` on the loop for each signal, until cancelled; it must only tell.

        Raises:
            StorageUnavailable: it hears nothing any more; listen again in a while.
        """


class LocalSignals(Signals):
    """Signals within one process, for hubs and tests that consist of one."""

    def __init__(self) -> None:
        self._listeners: list[OnSignal] = []

    async def notify(self, target_ids: Collection[TargetId]) -> None:
        for on_signal in tuple(self._listeners):
            on_signal(target_ids)

    async def listen(self, on_signal: OnSignal) -> None:
        self._listeners.append(on_signal)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._listeners.remove(on_signal)
