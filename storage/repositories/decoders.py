"""Payload decoders: scripts that make something useful of what a device sends."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, or_, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.repositories.paging import Page, PageOf, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import connection, payload_decoder

_SELECT = select(
    payload_decoder.c.id,
    payload_decoder.c.organization_id,
    payload_decoder.c.name,
    payload_decoder.c.decoding_function,
    payload_decoder.c.created_at,
    payload_decoder.c.updated_at,
    payload_decoder.c.created_by,
    payload_decoder.c.updated_by,
)
_SORTABLE = {
    "name": payload_decoder.c.name,
    "createdAt": payload_decoder.c.created_at,
    "updatedAt": payload_decoder.c.updated_at,
}


@dataclass(frozen=True, slots=True)
class Decoder:
    """One decoder. Without an organization it is everyone's to use and administrators' to change."""

    id: int
    organization_id: int | None
    name: str
    decoding_function: str
    stamps: Stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderFields:
    organization_id: int | None
    name: str
    decoding_function: str

    def columns(self) -> dict[str, object]:
        return {
            "organization_id": self.organization_id,
            "name": self.name,
            "decoding_function": self.decoding_function,
        }


def create(transaction: Transaction, fields: DecoderFields, author: Author) -> int:
    return transaction.insert(payload_decoder, {**fields.columns(), **author.creating()})


def get(reader: Reader, scope: Scope, decoder_id: int) -> Decoder:
    row = reader.fetch_one(_SELECT.where(payload_decoder.c.id == decoder_id, _visible(scope)))
    if row is None:
        raise NotFound("There is no such payload decoder.")
    return _build(row)


def list_page(
    reader: Reader, scope: Scope, page: Page, *, organization_id: int | None = None
) -> PageOf[Decoder]:
    """Those the scope may use; with `organization_id`, those that organization may use."""
    statement = _SELECT.where(_visible(scope))
    if organization_id is not None:
        statement = statement.where(_visible(Scope(frozenset({organization_id}))))
    return fetch_page(
        reader,
        statement,
        page,
        sortable=_SORTABLE,
        row_id=payload_decoder.c.id,
        build=_build,
    )


def names(reader: Reader, decoder_ids: Collection[int]) -> Mapping[int, str]:
    """The names of those of `decoder_ids` that there are."""
    rows = reader.fetch_all(
        select(payload_decoder.c.id, payload_decoder.c.name).where(
            payload_decoder.c.id.in_(sorted(decoder_ids))
        )
    )
    return {row.id: row.name for row in rows}


def is_in_use(reader: Reader, decoder_id: int) -> bool:
    """Whether a connection names it; it cannot be deleted then."""
    statement = select(connection.c.id).where(connection.c.payload_decoder_id == decoder_id)
    return reader.fetch_one(statement.limit(1)) is not None


def update_fields(
    transaction: Transaction, decoder_id: int, fields: DecoderFields, author: Author
) -> None:
    transaction.execute(
        update(payload_decoder)
        .where(payload_decoder.c.id == decoder_id)
        .values(**fields.columns(), **author.updating())
    )


def remove(transaction: Transaction, decoder_id: int) -> int:
    """Returns how many went: 1 or 0."""
    return transaction.execute(delete(payload_decoder).where(payload_decoder.c.id == decoder_id))


def _visible(scope: Scope) -> ColumnElement[bool]:
    return or_(
        payload_decoder.c.organization_id.is_(None),
        scope.condition(payload_decoder.c.organization_id),
    )


def _build(row: Row) -> Decoder:
    return Decoder(row.id, row.organization_id, row.name, row.decoding_function, Stamps.of(row))
