"""Which of a script's functions is called, and with what."""

from typing import Any

import pytest

from protocols.decoders import Convention, DecoderFunction, DecoderPool
from protocols.errors import ScriptError
from tests.protocols.decoders.asking import RECEIVED_AT, ask, body_of, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAME = {"data": "AQID", "fPort": 7}

# Every body says which function produced it.
UPLINK = "function decodeUplink(input) { return {data: {by: 'decodeUplink'}}; }"
PAYLOAD = "function decode(payload, metadata) { return {by: 'decode'}; }"
DECODER = "function Decoder(bytes, port) { return {by: 'Decoder'}; }"
DECODE = "function Decode(fPort, bytes, variables) { return {by: 'Decode'}; }"

MIXTURES = {
    "decodeUplink alone": (UPLINK, "decodeUplink"),
    "decode alone": (PAYLOAD, "decode"),
    "Decoder alone": (DECODER, "Decoder"),
    "Decode alone": (DECODE, "Decode"),
    "decodeUplink with a helper called decode": (
        "function decode(bytes) { return bytes.length; }"
        "function decodeUplink(i) { return {data: {by: 'decodeUplink', n: decode(i.bytes)}}; }",
        "decodeUplink",
    ),
    "decodeUplink and an unrelated decode": (UPLINK + PAYLOAD, "decodeUplink"),
    "decode wraps decodeUplink": (
        UPLINK + "function decode(payload) { decodeUplink({bytes: []}); return {by: 'decode'}; }",
        "decode",
    ),
    "decode wraps Decoder": (
        DECODER + "function decode(payload) { Decoder([], 1); return {by: 'decode'}; }",
        "decode",
    ),
    "decode wraps Decode": (
        DECODE + "const decode = (payload) => { Decode(1, []); return {by: 'decode'}; };",
        "decode",
    ),
    "decode wraps decodeUplink through call": (
        UPLINK + "function decode(p) { decodeUplink.call(null, {}); return {by: 'decode'}; }",
        "decode",
    ),
    "decode only mentions decodeUplink in a comment": (
        UPLINK + "function decode(b) { /* see decodeUplink(input) */ return {by: 'decode'}; }",
        "decodeUplink",
    ),
    "decode only mentions decodeUplink in a line comment": (
        UPLINK + "function decode(b) {\n // decodeUplink(input) calls this\n return 1; }",
        "decodeUplink",
    ),
    "decode only mentions decodeUplink in a string": (
        UPLINK + "function decode(b) { return 'use decodeUplink(input)'; }",
        "decodeUplink",
    ),
    "decode calls something whose name ends alike": (
        DECODER
        + UPLINK
        + "function myDecoder() {} function decode(b) { myDecoder(b); x.Decoder(b); }",
        "decodeUplink",
    ),
    "a URL in a string does not hide the call behind it": (
        UPLINK
        + "function decode(p) { const u = 'http://x'; decodeUplink({}); return {by: 'decode'}; }",
        "decode",
    ),
    "Decoder with a helper called decode": (
        "function decode(bytes, mask, names) { return {by: 'Decoder'}; }"
        "function Decoder(bytes, port) { return decode(bytes, [1], ['x']); }",
        "Decoder",
    ),
    "Decode with a helper called decode": (
        "function decode(bytes) { return {by: 'Decode'}; }"
        "function Decode(fPort, bytes) { return decode(bytes); }",
        "Decode",
    ),
    "decode and an unrelated Decoder": (DECODER + PAYLOAD, "decode"),
    "Decoder before Decode": (DECODE + DECODER, "Decoder"),
    "all four": (DECODE + DECODER + PAYLOAD + UPLINK, "decodeUplink"),
    "const arrow": ("const decodeUplink = (i) => ({data: {by: 'decodeUplink'}});", "decodeUplink"),
    "let function expression": ("let decode = function (p) { return {by: 'decode'}; };", "decode"),
    "var": ("var Decoder = function (b) { return {by: 'Decoder'}; };", "Decoder"),
    "undeclared assignment": ("Decode = function () { return {by: 'Decode'}; };", "Decode"),
    "property of the global object": (
        "globalThis.decodeUplink = () => ({data: {by: 'decodeUplink'}});",
        "decodeUplink",
    ),
    "property of this": ("this.decode = () => ({by: 'decode'});", "decode"),
    "module.exports object": (
        "module.exports = {decodeUplink(i) { return {data: {by: 'decodeUplink'}}; }};",
        "decodeUplink",
    ),
    "module.exports function": (
        "module.exports = function decode(p) { return {by: 'decode'}; };",
        "decode",
    ),
    "exports property": ("exports.decode = (p) => ({by: 'decode'});", "decode"),
    "exports in a universal wrapper": (
        "(function (root, factory) { if (typeof exports === 'object') factory(exports);"
        "else factory(root); })(this, function (x) { x.Decoder = () => ({by: 'Decoder'}); });",
        "Decoder",
    ),
    "static method of an exported class": (
        "class C { static decodeUplink(i) { return {data: {by: 'decodeUplink'}}; } }"
        "module.exports = C;",
        "decodeUplink",
    ),
    "field of an exported instance": (
        "class C { decodeUplink = () => ({data: {by: 'decodeUplink'}}); }module.exports = new C();",
        "decodeUplink",
    ),
    "a class called Decoder is no function to call": (
        "class Decoder { constructor(b) {} }" + DECODE,
        "Decode",
    ),
    "strict script": ("'use strict'; const decode = () => ({by: 'decode'});", "decode"),
    "undeclared variables in a function": (
        "function decode(p) { by = 'decode'; return {by: by}; }",
        "decode",
    ),
    "a comment at the very end": (PAYLOAD + " // the end", "decode"),
}


@pytest.mark.parametrize(("code", "expected"), MIXTURES.values(), ids=MIXTURES.keys())
async def test_convention_is_found_in_the_mixture(
    shared_pool: DecoderPool, code: str, expected: str
) -> None:
    outcome = await ask(shared_pool, code, FRAME)
    assert body_of(outcome)["by"] == expected
    assert outcome.convention is Convention(expected)


async def test_decode_uplink_gets_bytes_port_time_and_variables(shared_pool: DecoderPool) -> None:
    code = """function decodeUplink(input) {
        return {data: {bytes: input.bytes, list: Array.isArray(input.bytes), port: input.fPort,
                       time: input.recvTime, isDate: input.recvTime instanceof Date,
                       year: input.recvTime.getUTCFullYear(), unit: input.variables.unit}}; }"""
    asked = request(code, FRAME, metadata={"variables": {"unit": "C"}})
    body = body_of(await shared_pool.decode(asked))
    assert body == {
        "bytes": [1, 2, 3],
        "list": True,
        "port": 7,
        "time": RECEIVED_AT.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "isDate": True,
        "year": 2024,
        "unit": "C",
    }


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"data": "AQID", "fPort": 2}, [[1, 2, 3], 2]),
        ({"data": "_-8", "f_port": 3}, [[255, 239], 3]),
        ({"payload_hex": "00fF10", "f_port": 9}, [[0, 255, 16], 9]),
        ({"data": "", "fPort": 0}, [[], 0]),
        ({"data": "AQ==", "payload_hex": "02"}, [[1], None]),
    ],
)
async def test_frame_is_taken_from_data_or_payload_hex(
    shared_pool: DecoderPool, payload: Any, expected: Any
) -> None:
    code = "function Decoder(bytes, port) { return [bytes, port]; }"
    assert body_of(await ask(shared_pool, code, payload)) == expected


@pytest.mark.parametrize(
    ("payload", "hint"),
    [
        ({"temperature": 1}, '"data" (base64) nor "payload_hex"'),
        ([1, 2], '"data" (base64) nor "payload_hex"'),
        (5, '"data" (base64) nor "payload_hex"'),
        ({"data": "!!!"}, '"data" is not base64'),
        ({"payload_hex": "0g"}, '"payload_hex" is not hexadecimal'),
    ],
)
@pytest.mark.parametrize("code", [UPLINK, DECODER, DECODE])
async def test_missing_bytes_are_named(
    shared_pool: DecoderPool, code: str, payload: Any, hint: str
) -> None:
    outcome = await ask(shared_pool, code, payload)
    assert isinstance(outcome.error, ScriptError)
    assert hint in str(outcome.error)
    assert outcome.body is None


async def test_decode_gets_the_payload_and_the_metadata_as_they_are(
    shared_pool: DecoderPool,
) -> None:
    code = "function decode(payload, metadata) { return {payload, metadata}; }"
    asked = request(code, {"x": [1, {"y": "æ€😀"}]}, metadata={"name": "sensor"})
    body = body_of(await shared_pool.decode(asked))
    assert body == {"payload": {"x": [1, {"y": "æ€😀"}]}, "metadata": {"name": "sensor"}}


async def test_legacy_decode_gets_port_bytes_and_variables(shared_pool: DecoderPool) -> None:
    code = "function Decode(fPort, bytes, variables) { return [fPort, bytes, variables]; }"
    asked = request(code, FRAME, metadata={"variables": {"k": "v"}})
    assert body_of(await shared_pool.decode(asked)) == [7, [1, 2, 3], {"k": "v"}]


async def test_script_without_any_known_function_is_told_so(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, "function parse(x) { return x; }", FRAME)
    assert isinstance(outcome.error, ScriptError)
    assert "decodeUplink, decode, Decoder or Decode" in str(outcome.error)
    assert outcome.convention is None


async def test_downlink_is_encoded_to_bytes(shared_pool: DecoderPool) -> None:
    code = "function encodeDownlink(i) { return {bytes: [i.data.on ? 1 : 0], fPort: 4}; }"
    for payload in ({"on": True}, {"data": {"on": True}}):
        asked = request(code, payload, function=DecoderFunction.ENCODE_DOWNLINK)
        outcome = await shared_pool.decode(asked)
        assert body_of(outcome) == {"bytes": [1], "fPort": 4}
        assert outcome.convention is Convention.ENCODE_DOWNLINK


async def test_typed_array_is_as_good_as_a_list_of_bytes(shared_pool: DecoderPool) -> None:
    code = "function encodeDownlink(i) { return {bytes: new Uint8Array([1, 2])}; }"
    asked = request(code, {}, function=DecoderFunction.ENCODE_DOWNLINK)
    assert body_of(await shared_pool.decode(asked)) == {"bytes": [1, 2]}


async def test_downlink_is_decoded_to_data(shared_pool: DecoderPool) -> None:
    code = "function decodeDownlink(i) { return {data: {on: i.bytes[0] === 1, port: i.fPort}}; }"
    asked = request(code, FRAME, function=DecoderFunction.DECODE_DOWNLINK)
    assert body_of(await shared_pool.decode(asked)) == {"on": True, "port": 7}


@pytest.mark.parametrize(
    "function", [DecoderFunction.ENCODE_DOWNLINK, DecoderFunction.DECODE_DOWNLINK]
)
async def test_missing_downlink_function_is_named(
    shared_pool: DecoderPool, function: DecoderFunction
) -> None:
    outcome = await shared_pool.decode(request(UPLINK, FRAME, function=function))
    assert isinstance(outcome.error, ScriptError)
    assert function in str(outcome.error)
