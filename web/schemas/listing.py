"""The query of lists: which part, in which order."""

from collections.abc import Mapping
from typing import Any

from marshmallow import fields, pre_load, validate

from web.schemas.fields import LARGEST_ID, ApiSchema, Id

LARGEST_PAGE = 10_000


class QuerySchema(ApiSchema):
    """A query string. Clients write `null` for what they do not mean to say."""

    @pre_load
    def drop_nulls(self, data: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        return {name: value for name, value in data.items() if value not in ("null", "")}


class QueryId(Id):
    """An id in a query, where everything is text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.strict = False

    def _validated(self, value: Any) -> int:
        if isinstance(value, str) and not (value.isascii() and value.isdigit()):
            raise self.make_error("invalid", input=value)
        return super()._validated(value)


class ListQuery(QuerySchema):
    limit = fields.Integer(
        load_default=100,
        validate=validate.Range(min=0, max=LARGEST_PAGE),
        metadata={"description": "how many at most"},
    )
    offset = fields.Integer(
        load_default=0,
        validate=validate.Range(min=0, max=LARGEST_ID),
        metadata={"description": "how many to pass over"},
    )
    sort = fields.String(load_default="ASC", validate=validate.OneOf(["ASC", "DESC"]))
    order_on = fields.String(
        load_default=None, metadata={"description": "the field to sort the whole list on"}
    )

    @pre_load
    def fold_sort(self, data: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        sort = data.get("sort")
        return {**data, "sort": sort.upper()} if isinstance(sort, str) else dict(data)


class OrganizationQuery(ListQuery):
    organization_id = QueryId(load_default=None)


class ApplicationIdQuery(ListQuery):
    application_id = QueryId(load_default=None)
