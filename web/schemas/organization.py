"""Organizations on the wire."""

from marshmallow import fields

from web.schemas.fields import (
    ApiSchema,
    Flag,
    IdAndNameSchema,
    Name,
    StampedSchema,
    page_of,
)


class OrganizationBody(ApiSchema):
    name = Name(longest=50, required=True)


class OrganizationSchema(StampedSchema):
    name = fields.String()
    open_data_dk_registered = Flag()


class OrganizationDetailSchema(OrganizationSchema):
    applications = fields.List(fields.Nested(IdAndNameSchema))


OrganizationPage = page_of(OrganizationSchema, "OrganizationPage")
MinimalOrganizationPage = page_of(IdAndNameSchema, "MinimalOrganizationPage")
