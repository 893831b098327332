"""What all schemas are made of: the base, and fields with the API's rules."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from storage.instants import instant, microseconds
from web.answers import iso_milliseconds

LARGEST_ID = 2**31 - 1
# Line breaks and tabs belong into comments; nothing else below the blank does anywhere.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class ApiSchema(Schema):
    """camelCase on the wire, unknown fields ignored."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        if field_obj.data_key is None:
            head, *tail = field_name.split("_")
            field_obj.data_key = head + "".join(part.capitalize() for part in tail)


class PlainText(fields.String):
    """Text without control characters, 0 to `longest` characters long."""

    def __init__(self, longest: int, *, shortest: int = 0, **options: Any) -> None:
        length = validate.Length(min=shortest or None, max=longest)
        super().__init__(validate=[length, _refuse_control], **options)


class Name(PlainText):
    """Text that names something: not blank, on one line."""

    def __init__(self, longest: int = 50, **options: Any) -> None:
        super().__init__(longest, shortest=1, **options)
        self.validators.append(_refuse_blank)


class Id(fields.Integer):
    """A whole number from 1 that can be an id."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=1, max=LARGEST_ID), **options)


class Flag(fields.Boolean):
    """true or false, and none of the other spellings."""

    def __init__(self, **options: Any) -> None:
        super().__init__(truthy={True}, falsy={False}, **options)


class Instant(fields.Field[int]):
    """A point in time: microseconds UTC inside, ISO 8601 with milliseconds and Z on the wire."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else iso_milliseconds(instant(value))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str):
            try:
                at = datetime.fromisoformat(value)
                # A date alone, or a time without a zone, is taken as UTC; in UTC it must exist too.
                return microseconds((at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC))
            except (ValueError, OverflowError):
                pass
        raise ValidationError("must be a time such as 2026-01-02T03:04:05.678Z")


class OneOf(fields.String):
    """One of a closed set of texts."""

    def __init__(self, choices: type[StrEnum], **options: Any) -> None:
        super().__init__(validate=validate.OneOf([str(choice) for choice in choices]), **options)


class StampedSchema(ApiSchema):
    """What every stored thing has, from its `id` and `stamps`."""

    id = fields.Integer(required=True)
    created_at = Instant(attribute="stamps.created_at")
    updated_at = Instant(attribute="stamps.updated_at")
    created_by = fields.Integer(attribute="stamps.created_by", allow_none=True)
    updated_by = fields.Integer(attribute="stamps.updated_by", allow_none=True)


class AffectedSchema(ApiSchema):
    """How many rows a deletion took away."""

    affected = fields.Integer()


class IdAndNameSchema(ApiSchema):
    id = fields.Integer()
    name = fields.String()


def page_of(row: type[Schema], name: str) -> type[Schema]:
    """The schema of `{data: [...], count}` over rows of a schema, called `name`."""
    return ApiSchema.from_dict(
        {
            "data": fields.List(fields.Nested(row)),
            "count": fields.Integer(metadata={"description": "of the whole filtered list"}),
        },
        name=name,
    )


def distinct(values: list[Any]) -> None:
    """A validator: no value stands twice."""
    if len(set(values)) != len(values):
        raise ValidationError("must not hold the same value twice")


def _refuse_control(text: str) -> None:
    if _CONTROL.search(text):
        raise ValidationError("must not contain control characters")


def _refuse_blank(text: str) -> None:
    if not text.strip() or "\n" in text or "\r" in text:
        raise ValidationError("must not be blank or hold line breaks")
