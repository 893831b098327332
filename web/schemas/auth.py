"""Logging in, on the wire."""

from marshmallow import fields, validate

from web.schemas.fields import ApiSchema, Flag, IdAndNameSchema, Instant, StampedSchema

# Longer ones are refused before anything is hashed.
_LONGEST_PASSWORD = 1024


class LoginBody(ApiSchema):
    """`username` is the e-mail address."""

    username = fields.String(required=True, validate=validate.Length(min=1, max=254))
    password = fields.String(
        required=True, load_only=True, validate=validate.Length(min=1, max=_LONGEST_PASSWORD)
    )


class TokenSchema(ApiSchema):
    access_token = fields.String()


class ProfileSchema(ApiSchema):
    sub = fields.Integer()
    username = fields.String()


class PermissionTypeSchema(ApiSchema):
    type = fields.String()


class OwnPermissionSchema(ApiSchema):
    name = fields.String()
    type = fields.List(fields.Nested(PermissionTypeSchema))


class UserSchema(StampedSchema):
    name = fields.String()
    email = fields.String()
    active = Flag(attribute="is_active")
    last_login = Instant(attribute="last_login_at")
    permissions = fields.List(fields.Nested(OwnPermissionSchema))


class MeSchema(ApiSchema):
    user = fields.Nested(UserSchema)
    organizations = fields.List(fields.Nested(IdAndNameSchema))
