"""The example decoders, run in the engine that the hub uses."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import quickjs
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from tests.support.ngsi_ld_broker import UPSERT, NgsiLdBroker
from tests.support.receivers import ReceivedRequest
from tests.vectors.vendor_uplinks import VENDOR_UPLINKS, UplinkVector

DECODERS = Path(__file__).parents[2] / "examples" / "decoders"
LORAWAN = sorted({vector.decoder for vector in VENDOR_UPLINKS})
PORTS = sorted({vector.f_port for vector in VENDOR_UPLINKS})


@cache
def loaded(decoder: str) -> quickjs.Context:
    context = quickjs.Context()
    # The harness returns text: the engine's own conversion of values is not under test here.
    context.eval((DECODERS / decoder).read_text() + "\n;undefined")
    return context


def run(decoder: str, function: str, *arguments: object) -> Any:
    context = loaded(decoder)
    texts = ", ".join(json.dumps(argument) for argument in arguments)
    return json.loads(context.eval(f"JSON.stringify({function}({texts}))"))


def decode_uplink(decoder: str, payload: bytes, f_port: int) -> Any:
    return run(decoder, "decodeUplink", {"bytes": list(payload), "fPort": f_port})


@pytest.mark.parametrize(
    "vector", VENDOR_UPLINKS, ids=lambda vector: f"{vector.decoder}-{vector.product}"
)
def test_published_uplink_decodes_to_the_published_values(vector: UplinkVector) -> None:
    decoded = decode_uplink(vector.decoder, bytes.fromhex(vector.payload_hex), vector.f_port)
    # As text, because to Python 1 equals true and 1.0.
    assert json.dumps(decoded, sort_keys=True) == json.dumps({"data": vector.data}, sort_keys=True)


def test_every_example_decoder_is_tried_here() -> None:
    files = {path.relative_to(DECODERS).as_posix() for path in DECODERS.rglob("*.js")}
    assert files == {*LORAWAN, "os2iot_temperature.js", "elsys_ngsi_ld.js"}


@pytest.mark.parametrize("decoder", LORAWAN)
def test_empty_payload_is_an_error_and_not_a_reading(decoder: str) -> None:
    for f_port in PORTS:
        decoded = decode_uplink(decoder, b"", f_port)
        assert decoded["errors"]
        assert "data" not in decoded


@pytest.mark.parametrize("vector", VENDOR_UPLINKS, ids=lambda vector: vector.product)
def test_uplink_that_is_cut_off_within_a_value_is_an_error(vector: UplinkVector) -> None:
    payload = bytes.fromhex(vector.payload_hex)[:-1]
    assert decode_uplink(vector.decoder, payload, vector.f_port)["errors"]


@given(st.sampled_from(LORAWAN), st.binary(max_size=20), st.sampled_from(PORTS))
def test_any_bytes_end_in_data_or_in_errors(decoder: str, payload: bytes, f_port: int) -> None:
    decoded = decode_uplink(decoder, payload, f_port)
    assert bool(decoded.get("errors")) != bool(decoded.get("data"))


def test_temperatures_below_zero_are_below_zero() -> None:
    assert decode_uplink("elsys.js", b"\x01\xff\xe5", 1) == {"data": {"temperature": -2.7}}
    cold = decode_uplink("browan.js", bytes.fromhex("110fe5ff430719"), 127)
    assert cold["data"]["temperature"] == -2.7


def test_os2iot_decoder_converts_units_and_adds_the_place() -> None:
    payload = {"temperature": 2153, "humidity": 401, "battery": 3.6}
    metadata = {
        "name": "Rådhuspladsen 1",
        "location": {"type": "Point", "coordinates": [10.2039, 56.1529]},
    }
    assert run("os2iot_temperature.js", "decode", payload, metadata) == {
        "sensor": "Rådhuspladsen 1",
        "temperature": 21.53,
        "humidity": 40.1,
        "location": {"latitude": 56.1529, "longitude": 10.2039},
    }


def test_os2iot_decoder_without_a_temperature_fails_with_a_sentence() -> None:
    with pytest.raises(quickjs.JSException, match="holds no temperature"):
        run("os2iot_temperature.js", "decode", {}, {"name": "x"})


METADATA = {
    "id": 17,
    "name": "Rådhuspladsen 1",
    "location": {"type": "Point", "coordinates": [10.2039, 56.1529]},
}
SENT = "2026-05-04T03:02:01.000Z"


def entities_of(payload_hex: str, **more: object) -> Any:
    payload = {"payload_hex": payload_hex, "time": SENT, **more}
    return run("elsys_ngsi_ld.js", "decode", payload, METADATA)


def property_of(value: object, unit: str) -> dict[str, object]:
    return {"type": "Property", "value": value, "observedAt": SENT, "unitCode": unit}


def test_elsys_values_become_entities_of_what_was_measured_and_of_the_sensor() -> None:
    # Temperature 22.6, humidity 41, acceleration, co2 400, battery 3.6 V.
    environment, device = entities_of("0100e2022903012705060190070e10")
    assert environment == {
        "id": "urn:ngsi-ld:IndoorEnvironmentObserved:tingbro-17",
        "type": "IndoorEnvironmentObserved",
        "temperature": property_of(22.6, "CEL"),
        "relativeHumidity": property_of(41, "P1"),
        "co2": property_of(400, "59"),
        "refDevice": {"type": "Relationship", "object": "urn:ngsi-ld:Device:tingbro-17"},
        "location": {"type": "GeoProperty", "value": METADATA["location"]},
    }
    assert device == {
        "id": "urn:ngsi-ld:Device:tingbro-17",
        "type": "Device",
        "batteryVoltage": property_of(3.6, "VLT"),
        "name": {"type": "Property", "value": "Rådhuspladsen 1"},
    }


def test_entities_say_the_same_as_the_readings_of_the_other_decoder() -> None:
    for vector in VENDOR_UPLINKS:
        if vector.decoder != "elsys.js" or "temperature" not in vector.data:
            continue
        environment, _ = entities_of(vector.payload_hex)
        assert environment["temperature"]["value"] == vector.data["temperature"]
    environment, _ = entities_of("01ffe5")
    assert environment["temperature"]["value"] == -2.7


def test_entities_of_a_message_without_a_time_are_of_now() -> None:
    for nothing in (None, "yesterday", 7):
        # JavaScript knows milliseconds only.
        before = datetime.now(UTC).replace(microsecond=0)
        environment, _ = entities_of("0100e2", time=nothing)
        assert datetime.fromisoformat(environment["temperature"]["observedAt"]) >= before


@pytest.mark.parametrize(
    ("payload_hex", "said"),
    [("", "nothing"), ("0100", "cut off"), ("ff00", "type 255"), ("0g", "neither")],
)
def test_payload_that_gives_no_entities_fails_with_a_sentence(payload_hex: str, said: str) -> None:
    with pytest.raises(quickjs.JSException, match=said):
        entities_of(payload_hex)


def test_entities_are_such_as_a_broker_takes() -> None:
    broker = NgsiLdBroker()
    body = json.dumps(entities_of("0100e202290400640501060190070e10")).encode()
    answer = broker.answer(
        ReceivedRequest(
            method="POST",
            target=f"{UPSERT}/",
            headers=CIMultiDictProxy(
                CIMultiDict({"Content-Type": "application/json", "Content-Length": str(len(body))})
            ),
            body=body,
            connection=1,
        )
    )
    assert answer.status == 201
