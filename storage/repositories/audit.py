"""The audit log: who did what to which object, from where. Rows are only ever added here."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from storage.database import Reader, Row, Transaction
from storage.instants import microseconds
from storage.repositories.paging import Page, PageOf, fetch_page
from storage.repositories.scope import Scope
from storage.tables.entities import audit_entry

_SELECT = select(
    audit_entry.c.id,
    audit_entry.c.at,
    audit_entry.c.actor_type,
    audit_entry.c.actor_id,
    audit_entry.c.actor_name,
    audit_entry.c.address,
    audit_entry.c.action,
    audit_entry.c.entity,
    audit_entry.c.entity_id,
    audit_entry.c.entity_name,
    audit_entry.c.organization_id,
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line. `address` is the caller's, None when it was not a request."""

    id: int
    at: int
    actor_type: str
    actor_id: int | None
    actor_name: str
    address: str | None
    action: str
    entity: str
    entity_id: int | None
    entity_name: str | None
    organization_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAuditEntry:
    at: datetime
    actor_type: str
    actor_id: int | None
    actor_name: str
    address: str | None
    action: str
    entity: str
    entity_id: int | None
    entity_name: str | None
    organization_id: int | None


def record(transaction: Transaction, entry: NewAuditEntry) -> int:
    """Add a line, in the transaction of what it tells of: both happen or neither."""
    return transaction.insert(
        audit_entry,
        {
            "at": microseconds(entry.at),
            "actor_type": entry.actor_type,
            "actor_id": entry.actor_id,
            "actor_name": entry.actor_name,
            "address": entry.address,
            "action": entry.action,
            "entity": entry.entity,
            "entity_id": entry.entity_id,
            "entity_name": entry.entity_name,
            "organization_id": entry.organization_id,
        },
    )


def list_page(reader: Reader, scope: Scope, page: Page) -> PageOf[AuditEntry]:
    return fetch_page(
        reader,
        _SELECT.where(scope.condition(audit_entry.c.organization_id)),
        page,
        sortable={"at": audit_entry.c.at},
        row_id=audit_entry.c.id,
        build=_build,
    )


def _build(row: Row) -> AuditEntry:
    return AuditEntry(**row._asdict())
