"""One call of a route: what a handler is given, and the only ways it has to read and to change.

Every change goes through `Call.change`. There, in the transaction of the change itself, it is
checked against what the caller may do in that organization and written to the audit log; after
the commit the rest of the hub is told. A handler cannot forget any of the three.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from protocols.errors import AccessDenied, StorageUnavailable
from storage.configuration_changes import ANNOUNCED_ACTIONS
from storage.database import Reader, Transaction
from storage.repositories import Author, Page, Scope, audit
from storage.repositories.audit import NewAuditEntry
from web.access import Caller, Needs, readable_scope, scope_for
from web.hub_port import Entity
from web.services import Services

T = TypeVar("T")

# A database that cannot be written is retried for as long as it takes; a caller has less patience.
COMMIT_TIMEOUT_S = 15.0
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
# What the rest of the hub has no interest in.
_UNANNOUNCED = frozenset({Entity.API_KEY, Entity.USER, Entity.ACTOR})


class Action(StrEnum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    REPLAY = "REPLAY"
    STOP = "STOP"
    RESTART = "RESTART"
    ENABLE = "ENABLE"
    DISABLE = "DISABLE"
    ROTATE = "ROTATE"
    TEST = "TEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done. `organization_ids`: every organization that it touches; None is no one's."""

    action: Action
    entity: Entity
    entity_id: int | None
    name: str | None
    organization_ids: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """The result of a unit, and what it did to come by it."""

    result: T
    change: Change


class Call:
    """`query` and `body` have been validated by the route's schemas; without one they are empty.

    `headers` are the request's, whatever the case of their names.
    """

    def __init__(
        self,
        *,
        services: Services,
        caller: Caller,
        needs: Needs,
        address: str,
        path: Mapping[str, Any],
        query: Mapping[str, Any],
        body: Mapping[str, Any],
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        self.services = services
        self.caller = caller
        self.address = address
        self.path = path
        self.query = query
        self.body = body
        self.headers = headers
        self._needs = needs

    @property
    def id(self) -> int:
        """The number that the path ends in."""
        return int(self.path["id"])

    @property
    def scope(self) -> Scope:
        """The organizations whose things exist for this caller."""
        return readable_scope(self.caller)

    @property
    def page(self) -> Page:
        """The part of a list that the query asks for."""
        return Page(
            limit=self.query["limit"],
            offset=self.query["offset"],
            order_on=self.query["order_on"],
            is_descending=self.query["sort"] == "DESC",
        )

    async def read(self, unit: Callable[[Reader], T]) -> T:
        return await self.services.database.read(unit)

    async def change(self, unit: Callable[[Transaction, Author], Changed[T]]) -> T:
        """Run `unit` in one transaction; it may be run again, so it makes nothing up.

        Raises:
            AccessDenied: the caller may not change things in that organization; nothing is.
            StorageUnavailable: it could not be committed in time; it may be, later on.
        """
        author = Author(self.caller.user_id, self.services.clock())

        def run(transaction: Transaction) -> Changed[T]:
            changed = unit(transaction, author)
            self._demand(changed.change)
            audit.record(transaction, self._entry(changed.change, author))
            return changed

        # A task of its own: whatever becomes of this request, what is committed is announced.
        return await self.in_time(self._commit(run))

    def demand(self, needs: Needs, organization_id: int) -> None:
        """Insist on what is needed in that organization, where it is not a `Change` that says so.

        Raises: AccessDenied.
        """
        if not scope_for(self.caller, needs).allows(organization_id):
            raise AccessDenied("Forbidden resource")

    async def in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what writes to the database, though not for ever; it goes on all the same.

        Raises:
            StorageUnavailable: it could not be committed in time; it may be, later on.
        """
        working = asyncio.create_task(work)
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                return await asyncio.shield(working)
        except TimeoutError as exc:
            working.add_done_callback(_forget)
            raise StorageUnavailable("The change could not be stored in time.") from exc

    async def _commit(self, run: Callable[[Transaction], Changed[T]]) -> T:
        changed = await self.services.database.write(run)
        await self._announce(changed.change)
        return changed.result

    def _demand(self, change: Change) -> None:
        scope = scope_for(self.caller, self._needs)
        if not all(scope.allows(organization_id) for organization_id in change.organization_ids):
            raise AccessDenied("Forbidden resource")

    def _entry(self, change: Change, author: Author) -> NewAuditEntry:
        return NewAuditEntry(
            at=author.at,
            actor_type=self.caller.kind,
            actor_id=self.caller.id,
            actor_name=self.caller.name,
            address=self.address,
            action=change.action,
            entity=change.entity,
            entity_id=change.entity_id,
            entity_name=change.name,
            organization_id=change.organization_ids[0] if change.organization_ids else None,
        )

    async def _announce(self, change: Change) -> None:
        is_of_interest = change.entity not in _UNANNOUNCED and change.action in ANNOUNCED_ACTIONS
        if is_of_interest and change.entity_id is not None:
            await self.services.hub.configuration_changed(
                what=change.entity, entity_id=change.entity_id
            )


def _forget(working: asyncio.Task[Any]) -> None:
    """Look at the outcome that nobody waits for, so that asyncio does not report it as lost."""
    if not working.cancelled():
        working.exception()
