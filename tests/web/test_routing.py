"""What a path may hold besides words."""

from typing import Any

import pytest

from web.access import Needs
from web.call import Call
from web.errors import Refusal
from web.openapi import build_document
from web.routing import Route, RouteTable

UUID = "019b7d7e-0000-7000-8000-00000000000a"


async def _handler(_call: Call) -> Any:
    raise AssertionError("only the way to it is tested here")


def route(path: str) -> Route:
    return Route(
        method="GET", path=path, needs=Needs.READ, handler=_handler, summary="", tag="things"
    )


def test_uuid_is_a_parameter_in_its_canonical_form() -> None:
    table = RouteTable([route("/things/{id}/parts/{part:uuid}")])
    match = table.match("GET", f"/things/7/parts/{UUID.upper()}")
    assert match.parameters == {"id": 7, "part": UUID}


@pytest.mark.parametrize(
    "text", ["7", UUID[:-1], UUID + "0", UUID.replace("-", ""), "g" + UUID[1:], f"{{{UUID}}}"]
)
def test_what_is_no_uuid_is_refused_where_one_is_expected(text: str) -> None:
    with pytest.raises(Refusal, match="uuid is expected") as refused:
        RouteTable([route("/things/{id:uuid}")]).match("GET", f"/things/{text}")
    assert refused.value.status == 400


def test_uuid_is_documented_as_one() -> None:
    document = build_document([route("/things/{id:uuid}")], version="0")
    (parameter,) = document["paths"]["/things/{id}"]["get"]["parameters"]
    assert parameter["schema"] == {"type": "string", "format": "uuid"}


def test_two_names_for_the_same_place_are_refused() -> None:
    with pytest.raises(ValueError, match="another route"):
        RouteTable([route("/things/{id}"), route("/things/{other}/parts")])
