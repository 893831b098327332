"""The open data of a data target on the wire."""

import re
from enum import StrEnum
from typing import Any

from marshmallow import ValidationError, fields, validate

from web.schemas.fields import ApiSchema, Name, OneOf, PlainText, StampedSchema, distinct
from web.schemas.listing import QuerySchema

_LONGEST_TEXT = 10_000
_LONGEST_ADDRESS = 2_048
_LONGEST_EMAIL = 254
_MOST_KEYWORDS = 100
_KEYWORD = re.compile(r"[\w \-.]{2,100}")
# What may not stand in an IRI, which a licence is in DCAT-AP.
_NOT_IN_AN_IRI = re.compile(r"[\x00-\x20\x7f<>\"{}|\\^`]")


class _Text(PlainText):
    """Text that says something, on any number of lines."""

    def __init__(self, longest: int, **options: Any) -> None:
        super().__init__(longest, shortest=1, **options)
        self.validators.append(_refuse_blank)


def _refuse_blank(text: str) -> None:
    if not text.strip():
        raise ValidationError("must not be blank")


def _keyword(text: str) -> None:
    # One that a portal on CKAN refuses as a tag costs the whole data set.
    if not _KEYWORD.fullmatch(text):
        raise ValidationError("must be 2 to 100 letters, digits, blanks and characters of -_.")


def _address(text: str) -> None:
    if _NOT_IN_AN_IRI.search(text):
        raise ValidationError("must be an address without blanks and brackets")


class DatasetBody(ApiSchema):
    """What is said of the values that are published. Harvesters need all of it but the keywords."""

    name = Name(255, required=True)
    description = _Text(_LONGEST_TEXT, required=True)
    keywords = fields.List(
        fields.String(validate=_keyword),
        load_default=None,
        allow_none=True,
        validate=[validate.Length(max=_MOST_KEYWORDS), distinct],
    )
    license = fields.Url(
        required=True,
        schemes={"http", "https"},
        require_tld=False,
        validate=[validate.Length(max=_LONGEST_ADDRESS), _address],
        metadata={"description": "the address of the licence"},
    )
    author_name = Name(255, required=True)
    author_email = fields.Email(required=True, validate=validate.Length(max=_LONGEST_EMAIL))
    resource_title = Name(255, required=True)


class DatasetSchema(StampedSchema):
    """Its data is at `open-data-dk-sharing/{organizationId}/data/{id}`."""

    name = fields.String()
    description = fields.String()
    keywords = fields.List(fields.String())
    license = fields.String()
    author_name = fields.String()
    author_email = fields.String()
    resource_title = fields.String()


class CatalogFormat(StrEnum):
    JSON = "json"
    JSON_LD = "jsonld"


class CatalogQuery(QuerySchema):
    """What else harvesters put into the query, such as `page`, is passed over."""

    format = OneOf(
        CatalogFormat,
        load_default=None,
        metadata={"description": "instead of what the Accept header prefers"},
    )
