"""The example decoders, run in the engine that the hub uses."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import quickjs
from hypothesis import given
from hypothesis import strategies as st

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
    assert files == {*LORAWAN, "os2iot_temperature.js"}


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
