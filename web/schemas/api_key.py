"""API keys on the wire. The key itself is in the answer to its creation and nowhere else."""

from marshmallow import fields, validate

from web.access import Level
from web.schemas.fields import (
    ApiSchema,
    Id,
    IdAndNameSchema,
    Instant,
    Name,
    StampedSchema,
    distinct,
    page_of,
)
from web.schemas.listing import ListQuery, QueryId

# A key never is an administrator of the whole hub, nor of people.
LEVELS = [Level.READ, Level.APPLICATION_ADMIN, Level.GATEWAY_ADMIN]


class ApiKeyUpdateBody(ApiSchema):
    name = Name(required=True)
    levels = fields.List(
        fields.String(validate=validate.OneOf([str(level) for level in LEVELS])),
        load_default=[Level.READ.value],
        validate=[validate.Length(min=1), distinct],
    )
    expires_on = Instant(load_default=None, allow_none=True)


class ApiKeyBody(ApiKeyUpdateBody):
    organization_id = Id(required=True)


class ApiKeyQuery(ListQuery):
    organization_id = QueryId(load_default=None)


class ApiKeySchema(StampedSchema):
    name = fields.String()
    organization = fields.Nested(IdAndNameSchema)
    levels = fields.List(fields.String())
    expires_on = Instant()
    last_used_at = Instant()


class CreatedApiKeySchema(ApiKeySchema):
    key = fields.String(metadata={"description": "shown once; keep it"})


ApiKeyPage = page_of(ApiKeySchema, "ApiKeyPage")
