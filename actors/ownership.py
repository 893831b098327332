"""Who acts for what must exist once: data targets, housekeeping, and what is still to come.

Such a thing has a *name*: its kind, or its kind and an id (`housekeeping`, `target/17`). For each
kind a `Keeper` knows which names there are and runs the actors of one. An `Ownership` decides which
of them this process acts for, and has its keepers take up and put down accordingly.

A hub of one process owns everything (`SoleOwnership`); in a hub of several each owns what it has
leased (`LeasedOwnership`). Neither keepers nor actors can tell the difference: they ask their
`Tenure` before they act, and write in its name.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Final

from actors.runtime import ActorSystem
from storage.leases import Lease


class Tenure(ABC):
    """This process's right to act for one thing, from one taking up to the next putting down."""

    @property
    @abstractmethod
    def lease(self) -> Lease | None:
        """Under what to write; None where nobody else could be acting."""

    @property
    @abstractmethod
    def act_limit_s(self) -> float | None:
        """How long one act may take at the most; None for as long as it likes."""

    @abstractmethod
    def may_begin(self) -> bool:
        """Say whether an act that begins now ends within the tenure. Cheap: ask before each.

        False may become True again: the database was away for a while. Ask again later.
        """

    @abstractmethod
    def refuse(self) -> None:
        """Report that a write under `lease` raised LeaseLost. `may_begin` is False from now on."""


class Keeper(ABC):
    """Runs the actors of one kind of things. Called on the loop, for different names at once."""

    kind: ClassVar[str]
    """What stands before the slash in its names."""

    asks_before_acting: ClassVar[bool]
    """Whether what it runs asks `Tenure.may_begin` before every act. It may then stay up while the
    tenure cannot be proved; what does not ask is put down as soon as that is so."""

    @abstractmethod
    async def wanted(self) -> Collection[str]:
        """Return the names there are. Raises StorageUnavailable."""

    @abstractmethod
    def take_up(self, name: str, tenure: Tenure) -> None:
        """Start what acts for `name`; it is not up. Must only start, and not fail for its settings."""

    @abstractmethod
    async def put_down(self, name: str) -> None:
        """Stop what acts for `name`; when this returns nothing does any more.

        Acts that have begun come to their end, and what became of them is written, if the time
        suffices. Must not raise.
        """


class Ownership(ABC):
    """Decides what this process acts for. `prepare`, `begin`, any number of `reconsider`, `retire`."""

    @abstractmethod
    def prepare(self, system: ActorSystem, keepers: Sequence[Keeper]) -> None:
        """Learn who keeps what, and spawn what is needed: it is to stop after all that is kept."""

    @abstractmethod
    async def begin(self) -> None:
        """Have the keepers take up what is owned from now on."""

    @abstractmethod
    async def reconsider(self, *, replaced: str | None = None) -> None:
        """Act on a change of the names there are; start `replaced` anew if it is up here."""

    @abstractmethod
    def holds(self, name: str) -> bool:
        """Say whether this process acts for `name` at present."""

    @abstractmethod
    def retire(self) -> None:
        """Take up nothing more: the process is about to end."""


class _SoleTenure(Tenure):
    lease = None
    act_limit_s = None

    def may_begin(self) -> bool:
        return True

    def refuse(self) -> None:
        raise AssertionError("nothing is written under a lease here")


SOLE_TENURE: Final[Tenure] = _SoleTenure()
"""Of a process that is alone: it never ends, and nothing is asked of a database for it."""


class SoleOwnership(Ownership):
    """Everything is this process's: there is no other on its database."""

    def __init__(self) -> None:
        self._keepers: Mapping[str, Keeper] = {}
        self._up: set[str] = set()
        # Two changes at once: the one that has read the older list must not act on it last.
        self._reconsidering = asyncio.Lock()
        self._is_retired = False

    def prepare(self, _system: ActorSystem, keepers: Sequence[Keeper]) -> None:
        self._keepers = {keeper.kind: keeper for keeper in keepers}

    async def begin(self) -> None:
        await self.reconsider()

    async def reconsider(self, *, replaced: str | None = None) -> None:
        async with self._reconsidering:
            wanted = [name for one in self._keepers.values() for name in await one.wanted()]
            leaving = self._up.difference(wanted)
            if replaced in self._up:
                leaving.add(replaced)
            # All at once: each may take seconds to let what is in flight come to its end.
            await asyncio.gather(*(self._keeper(name).put_down(name) for name in leaving))
            self._up -= leaving
            for name in wanted:
                if name not in self._up and not self._is_retired:
                    self._keeper(name).take_up(name, SOLE_TENURE)
                    self._up.add(name)

    def holds(self, name: str) -> bool:
        return name in self._up

    def retire(self) -> None:
        self._is_retired = True

    def _keeper(self, name: str) -> Keeper:
        return self._keepers[kind_of(name)]


def kind_of(name: str) -> str:
    """Return the kind of the thing that `name` names."""
    return name.partition("/")[0]
