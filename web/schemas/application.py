"""Applications on the wire."""

import re
from enum import StrEnum
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from protocols.messages import DeviceType
from storage.repositories.application_status import StatusCheck
from web.schemas.data_target import DataTargetSchema
from web.schemas.fields import (
    ApiSchema,
    Flag,
    Id,
    IdAndNameSchema,
    Instant,
    Name,
    OneOf,
    PlainText,
    StampedSchema,
    distinct,
    page_of,
)
from web.schemas.iot_device import ReceivedMessageSchema
from web.schemas.listing import OrganizationQuery

_PHONE = re.compile(r"[-+0-9]{6,12}")
# The FIWARE list as the clients know it, with the typo that they send.
CONTROLLED_PROPERTIES = [
    "airPollution",
    "atmosphericPressure",
    "cdom",
    "conductance",
    "conductivity",
    "depth",
    "eatingActivity",
    "electricityConsumption",
    "energy",
    "fillingLevel",
    "gasComsumption",
    "heading",
    "humidity",
    "light",
    "location",
    "milking",
    "motion",
    "movementActivity",
    "noiseLevel",
    "occupancy",
    "orp",
    "pH",
    "power",
    "precipitation",
    "pressure",
    "salinity",
    "smoke",
    "soilMoisture",
    "solarRadiation",
    "speed",
    "tds",
    "temperature",
    "trafficFlow",
    "tss",
    "turbidity",
    "waterConsumption",
    "waterPollution",
    "weatherConditions",
    "weight",
    "windDirection",
    "windSpeed",
]
DEVICE_TYPES = [*DeviceType, "OTHER"]


class ApplicationStatus(StrEnum):
    NONE = "NONE"
    IN_OPERATION = "IN-OPERATION"
    PROJECT = "PROJECT"
    PROTOTYPE = "PROTOTYPE"
    OTHER = "OTHER"


def _traits(choices: list[str]) -> fields.List[Any]:
    return fields.List(
        fields.String(validate=validate.OneOf(choices)),
        load_default=None,
        allow_none=True,
        validate=lambda values: distinct(values or []),
    )


class ApplicationBody(ApiSchema):
    name = Name(required=True)
    organization_id = Id(required=True)
    description = PlainText(1024, load_default=None, allow_none=True)
    status = OneOf(ApplicationStatus, load_default=None, allow_none=True)
    start_at = Instant(data_key="startDate", load_default=None, allow_none=True)
    end_at = Instant(data_key="endDate", load_default=None, allow_none=True)
    category = PlainText(100, load_default=None, allow_none=True)
    owner = PlainText(100, load_default=None, allow_none=True)
    contact_person = PlainText(100, load_default=None, allow_none=True)
    contact_email = fields.Email(
        load_default=None, allow_none=True, validate=validate.Length(max=100)
    )
    contact_phone = fields.String(load_default=None, allow_none=True)
    personal_data = Flag(load_default=None, allow_none=True)
    hardware = PlainText(1024, load_default=None, allow_none=True)
    controlled_properties = _traits(CONTROLLED_PROPERTIES)
    device_types = _traits(DEVICE_TYPES)

    @validates_schema
    def check_phone(self, data: dict[str, Any], **_: Any) -> None:
        phone = data.get("contact_phone")
        if phone and not _PHONE.fullmatch(phone):
            raise ValidationError("must be 6 to 12 digits, + or -", "contactPhone")


class ApplicationUpdateBody(ApplicationBody):
    """An application stays in its organization unless it is moved on purpose."""

    organization_id = Id(load_default=None, allow_none=True)


class MoveApplicationBody(ApiSchema):
    organization_id = Id(required=True)


class ApplicationQuery(OrganizationQuery):
    status = OneOf(ApplicationStatus, load_default=None)
    status_check = OneOf(StatusCheck, load_default=None)
    owner = fields.String(load_default=None)


class TraitSchema(ApiSchema):
    type = fields.String()


class ApplicationDeviceSchema(ApiSchema):
    """A device as a list of applications shows it."""

    id = fields.Integer()
    name = fields.String()
    type = fields.String()
    latest_received_message = fields.Nested(ReceivedMessageSchema, allow_none=True)


class ApplicationSchema(StampedSchema):
    name = fields.String()
    description = fields.String(allow_none=True)
    status = fields.String(allow_none=True)
    start_at = Instant(data_key="startDate")
    end_at = Instant(data_key="endDate")
    category = fields.String(allow_none=True)
    owner = fields.String(allow_none=True)
    contact_person = fields.String(allow_none=True)
    contact_email = fields.String(allow_none=True)
    contact_phone = fields.String(allow_none=True)
    personal_data = Flag(allow_none=True)
    hardware = fields.String(allow_none=True)
    belongs_to = fields.Nested(IdAndNameSchema)
    permission_ids = fields.List(fields.Integer())
    controlled_properties = fields.List(fields.Nested(TraitSchema))
    device_types = fields.List(fields.Nested(TraitSchema))
    iot_devices = fields.List(fields.Nested(ApplicationDeviceSchema))
    data_targets = fields.List(fields.Nested(DataTargetSchema))
    status_check = fields.String()


class FilterInformationSchema(ApiSchema):
    owners = fields.List(fields.String())


class DashboardSchema(ApiSchema):
    total = fields.Integer()
    with_error = fields.Integer()
    total_devices = fields.Integer()


ApplicationPage = page_of(ApplicationSchema, "ApplicationPage")
