"""Who may do what: the one place that decides it.

Every route declares what it `needs`; there is no default. A caller holds permission levels in
organizations. What a caller may see is a `Scope` that the repositories apply, so that what lies
outside does not exist for it; what it may change is checked on the `Change` that every write hands
over, inside its transaction (`web/call.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from protocols.errors import AccessDenied, Unauthenticated
from storage.repositories import EVERYWHERE, Scope


class Level(StrEnum):
    """Permission levels in the words of the API."""

    GLOBAL_ADMIN = "GlobalAdmin"
    USER_ADMIN = "OrganizationUserAdmin"
    GATEWAY_ADMIN = "OrganizationGatewayAdmin"
    APPLICATION_ADMIN = "OrganizationApplicationAdmin"
    READ = "Read"


class Needs(StrEnum):
    """What a route asks of its caller."""

    NOTHING = "nothing"
    SIGNED_IN = "signed_in"
    READ = Level.READ
    APPLICATION_ADMIN = Level.APPLICATION_ADMIN
    USER_ADMIN = Level.USER_ADMIN
    GLOBAL_ADMIN = Level.GLOBAL_ADMIN


class CallerKind(StrEnum):
    ANONYMOUS = "anonymous"
    USER = "user"
    API_KEY = "api_key"


PEOPLE = frozenset({CallerKind.USER})
MACHINES = frozenset({CallerKind.API_KEY})
PEOPLE_AND_MACHINES = PEOPLE | MACHINES

# Whoever may change the applications or the users of an organization may also read it.
_READING = frozenset({Level.READ, Level.APPLICATION_ADMIN, Level.USER_ADMIN})
_SUFFICIENT = {
    Needs.READ: _READING,
    Needs.APPLICATION_ADMIN: frozenset({Level.APPLICATION_ADMIN}),
    Needs.USER_ADMIN: frozenset({Level.USER_ADMIN}),
}
_NOWHERE = Scope(frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls. `id` is the account's or the key's; `levels` are per organization."""

    kind: CallerKind
    id: int | None = None
    name: str = "anonymous"
    is_administrator: bool = False
    levels: Mapping[int, frozenset[Level]] = field(default_factory=dict)

    @property
    def user_id(self) -> int | None:
        """The account that rows are stamped with; None for a key."""
        return self.id if self.kind is CallerKind.USER else None


ANONYMOUS = Caller(kind=CallerKind.ANONYMOUS)


def scope_for(caller: Caller, needs: Needs) -> Scope:
    """The organizations in which `caller` has what is needed."""
    if caller.is_administrator:
        return EVERYWHERE
    sufficient = _SUFFICIENT.get(needs)
    if sufficient is None:
        return _NOWHERE
    return Scope(
        frozenset(
            organization_id
            for organization_id, levels in caller.levels.items()
            if levels & sufficient
        )
    )


def readable_scope(caller: Caller) -> Scope:
    """The organizations that `caller` may see."""
    return scope_for(caller, Needs.READ)


def member_scope(caller: Caller) -> Scope:
    """The organizations in which `caller` has any permission at all."""
    return EVERYWHERE if caller.is_administrator else Scope(frozenset(caller.levels))


def admit(caller: Caller, needs: Needs, allowed_kinds: frozenset[CallerKind]) -> None:
    """Let `caller` in, or not. What it may touch once it is in is decided by scopes.

    Raises:
        Unauthenticated: the route wants to know who calls.
        AccessDenied: it knows, and that caller has nothing to do here.
    """
    if needs is Needs.NOTHING:
        return
    if caller.kind is CallerKind.ANONYMOUS:
        raise Unauthenticated("Unauthorized")
    if caller.kind not in allowed_kinds:
        raise AccessDenied("This kind of caller has no access here.")
    if needs is not Needs.SIGNED_IN and scope_for(caller, needs).is_empty:
        raise AccessDenied("Forbidden resource")
