"""What a script returns, and what becomes of it."""

import json

import msgspec
import orjson
import pytest

from protocols.decoders import DecoderPool, DecoderSource
from protocols.errors import ScriptError, ScriptLimitExceeded
from tests.protocols.decoders.asking import RECEIVED_AT, ask, body_of, request, source

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAME = {"data": "AQID", "fPort": 7}


def uplink(result: str) -> str:
    return f"function decodeUplink(input) {{ return {result}; }}"


def decode(result: str) -> str:
    return f"function decode(payload) {{ return {result}; }}"


async def test_body_is_the_returned_data_as_compact_json(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, uplink("{data: {a: 1.5, b: [true, null, 'é']}}"), FRAME)
    assert outcome.body == '{"a":1.5,"b":[true,null,"é"]}'.encode()
    assert outcome.warnings == ()


async def test_warnings_are_kept(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, uplink("{data: {}, warnings: ['low battery', 5]}"), FRAME)
    assert body_of(outcome) == {}
    assert outcome.warnings == ("low battery", "5")


async def test_errors_fail_the_message_and_are_joined(shared_pool: DecoderPool) -> None:
    code = uplink("{data: {a: 1}, errors: ['too short', 'bad port'], warnings: ['w']}")
    outcome = await ask(shared_pool, code, FRAME)
    assert isinstance(outcome.error, ScriptError)
    assert "too short; bad port" in str(outcome.error)
    assert outcome.body is None
    assert outcome.warnings == ("w",)


async def test_empty_errors_are_none(shared_pool: DecoderPool) -> None:
    assert body_of(await ask(shared_pool, uplink("{data: {a: 1}, errors: []}"), FRAME)) == {"a": 1}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (decode("undefined"), "decode returned nothing"),
        (decode("null"), "decode returned nothing"),
        (decode("NaN"), "nothing that JSON can hold"),
        (decode("Symbol('x')"), "a symbol"),
        (decode("function () {}"), "a function"),
        (decode("Promise.resolve({})"), "a promise"),
        (decode("{toJSON() { return undefined; }}"), "nothing that JSON can hold"),
        ("async function decode(p) { return {a: 1}; }", "a promise"),
        ("async function decodeUplink(i) { return {data: {}}; }", "a promise"),
        (uplink("undefined"), "decodeUplink returned nothing"),
        (uplink("{}"), "as data nothing"),
        (uplink("{data: null}"), "as data nothing"),
        (uplink("{data: Promise.resolve(1)}"), "as data a promise"),
        (decode("10n"), "BigInt"),
        (decode("payload.a.b.c"), "cannot read property"),
        ("function decode(p) {\n\n  throw new Error('odd frame');\n}", "odd frame (line 3)"),
        ("function decode(p) { throw 'just text'; }", "just text"),
        ("function decode(p) { throw {message: 'an object'}; }", "an object"),
        ("function decode(p) { throw undefined; }", "undefined"),
        ("function decode(p) { throw Object.create(null); }", "Error"),
        ("function decode(p) {", "SyntaxError"),
        ("throw new Error('at load');", "at load"),
        ("let a = {}; a.self = a; function decode() { return a; }", "circular"),
    ],
)
async def test_unusable_result_is_a_sentence(
    shared_pool: DecoderPool, code: str, words: str
) -> None:
    outcome = await ask(shared_pool, code, FRAME)
    assert isinstance(outcome.error, ScriptError)
    assert words in str(outcome.error)
    assert outcome.body is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("{a: NaN, b: Infinity, c: -Infinity, d: -0}", {"a": None, "b": None, "c": None, "d": 0}),
        ("{a: undefined, b: () => 1, c: Symbol()}", {}),
        ("[undefined, new Date(0)]", [None, "1970-01-01T00:00:00.000Z"]),
        ("{a: 1e308, b: 5e-324, c: 9007199254740993}", {"a": 1e308, "b": 5e-324, "c": 2**53}),
        ("'\\ud800'", "\ufffd"),
        ("'a\\udc00b\\ud83d\\ude00'", "a\ufffdb😀"),
        ("{'\\udfff': '\\\\ud800'}", {"\ufffd": "\\ud800"}),
        ("'\\\\' + '\\ud800'", "\\\ufffd"),
        ("'\\u0000\\u001f\\u2028'", "\x00\x1f\u2028"),
        ("'x'.repeat(20000) + 'y'.repeat(20000)", "x" * 20000 + "y" * 20000),
        ("7", 7),
        ("false", False),
    ],
)
async def test_every_strict_parser_reads_the_body(
    shared_pool: DecoderPool, expression: str, expected: object
) -> None:
    outcome = await ask(shared_pool, decode(f"({expression})"))
    assert body_of(outcome) == expected
    assert outcome.body is not None
    assert orjson.loads(outcome.body) == expected
    assert msgspec.json.decode(outcome.body) == expected


async def test_raw_json_cannot_smuggle_what_parsers_refuse(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, decode("{a: typeof JSON.rawJSON}"))
    assert body_of(outcome) == {"a": "undefined"}


async def test_result_may_be_64_levels_deep_and_no_deeper(shared_pool: DecoderPool) -> None:
    code = "function decode(p) { let v = 1; for (let i = 0; i < p.n; i++) v = [v]; return v; }"
    assert (await ask(shared_pool, code, {"n": 64})).body == b"[" * 64 + b"1" + b"]" * 64
    outcome = await ask(shared_pool, code, {"n": 65})
    assert isinstance(outcome.error, ScriptError)
    assert "deeper than 64" in str(outcome.error)


async def test_brackets_in_text_are_no_depth(shared_pool: DecoderPool) -> None:
    expected = '[{"\\'.join("x" * 100)
    code = decode(json.dumps(expected))
    assert body_of(await ask(shared_pool, code)) == expected


async def test_result_larger_than_the_limit_is_refused(shared_pool: DecoderPool) -> None:
    code = "function decode(p) { return p.letter.repeat(p.n); }"
    limit = 256 * 1024 - 2
    assert (await ask(shared_pool, code, {"letter": "x", "n": limit})).error is None
    for letter in ("x", "€"):
        outcome = await ask(shared_pool, code, {"letter": letter, "n": limit + 1})
        assert isinstance(outcome.error, ScriptLimitExceeded)
        assert "256 KB" in str(outcome.error)


async def test_text_beyond_ascii_counts_in_bytes(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, decode("'€'.repeat(100000)"))
    assert isinstance(outcome.error, ScriptLimitExceeded)


async def test_payload_that_is_no_json_is_reported(shared_pool: DecoderPool) -> None:
    asked = request(decode("payload"))
    for payload in (b"{", b'{"a":"\xff"}', b""):
        broken = type(asked)(
            source=asked.source, payload=payload, metadata=b"", received_at=RECEIVED_AT
        )
        outcome = await shared_pool.decode(broken)
        assert isinstance(outcome.error, ScriptError)
        assert "payload is not valid" in str(outcome.error)


async def test_console_lines_come_with_the_outcome(shared_pool: DecoderPool) -> None:
    code = """function decode(p) {
        console.log('text', 1, {a: [1]}, null, undefined, [1, 'x'], new Error('oops'), NaN);
        console.warn('warned'); console.table([1]); console.time('t'); console.group();
        return 1; }"""
    outcome = await ask(shared_pool, code)
    assert outcome.logs[:2] == (
        'text 1 {"a":[1]} null undefined [1,"x"] Error: oops NaN',
        "warned",
    )
    assert body_of(outcome) == 1


async def test_only_the_last_fifty_console_lines_are_kept(shared_pool: DecoderPool) -> None:
    code = "function decode(p) { for (let i = 0; i < 120; i++) console.log(i); return 1; }"
    outcome = await ask(shared_pool, code)
    assert outcome.logs == tuple(str(i) for i in range(70, 120))


async def test_console_of_a_failed_call_is_kept(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, "function decode(p) { console.log('here'); p.x.y(); }")
    assert outcome.logs == ("here",)
    outcome = await ask(shared_pool, "function decode(p) { console.log('there'); for (;;); }")
    assert outcome.logs == ("there",)
    assert isinstance(outcome.error, ScriptLimitExceeded)


async def test_console_does_not_trip_over_odd_values(shared_pool: DecoderPool) -> None:
    code = """function decode(p) { const loop = {}; loop.loop = loop;
        console.log(loop, Object.create(null), Symbol('s'), 10n, () => 1, '\\ud800');
        return 1; }"""
    outcome = await ask(shared_pool, code)
    assert body_of(outcome) == 1
    assert len(outcome.logs) == 1
    assert "\ufffd" in outcome.logs[0]


async def test_state_of_one_decoder_is_not_seen_by_another(shared_pool: DecoderPool) -> None:
    counting = (
        "count = typeof count === 'number' ? count : 0; function decode(p) { return ++count; }"
    )
    one, two = source(counting), source(counting)
    assert body_of(await ask(shared_pool, one)) == 1
    assert body_of(await ask(shared_pool, two)) == 1


async def test_version_is_the_hash_of_the_code() -> None:
    one = DecoderSource(decoder_id=1, code="function decode() {}")
    assert one.version == DecoderSource(decoder_id=2, code="function decode() {}").version
    assert one.version == "".join(c for c in one.version if c in "0123456789abcdef")
    assert len(one.version) == 16
    assert one.version != DecoderSource(decoder_id=1, code="function decode() {} ").version


async def test_code_with_a_lone_surrogate_has_a_version_too(shared_pool: DecoderPool) -> None:
    outcome = await ask(shared_pool, "function decode() { return '\ud800'.length; }")
    assert body_of(outcome) == 1
