import json
import re
import uuid
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.adapters import AdapterLimits
from protocols.adapters.generic_http import GenericHttpAdapter, parse, parse_api_key
from protocols.errors import (
    InvalidPayload,
    NotFound,
    PayloadTooLarge,
    UnsupportedContentType,
)

LIMITS = AdapterLimits()
KEY = "7f0c5f0e-2f4e-4a7e-9c5b-8d5a1f0b3c11"

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_trees = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4)
    ),
    max_leaves=20,
)
containers = st.lists(json_trees, max_size=5) | st.dictionaries(
    st.text(max_size=5), json_trees, max_size=5
)
# Pieces that make near misses likely: what is built of them is seldom valid, but often almost.
PIECES = (
    b'{ } [ ] , : " \\ \\u d83d de00 "a" "a": 1 - 0 . e9 true null NaN Infinity \n \x00 \xff '
    b'"\\ud83d\\ude00" "\\ud83d" "\\u00e6" \xc3\xa6 \xed\xa0\x80'
).split(b" ")
json_pieces = st.lists(st.sampled_from([*PIECES, b" "]), max_size=12).map(b"".join)


def oracle_accepts(body: bytes) -> bool:
    """The rules once more, slowly, on top of the standard library's parser."""

    def refuse(_: str) -> NoReturn:
        raise ValueError

    def finite(text: str) -> float:
        if float(text) in (float("inf"), float("-inf")):
            raise ValueError
        return float(text)

    try:
        value = json.loads(body.decode(), parse_constant=refuse, parse_float=finite)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list) and depth(value) <= 64


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def accepts(body: bytes) -> bool:
    try:
        assert parse(body, "application/json", LIMITS) == body
    except InvalidPayload:
        return False
    return True


@given(containers, st.booleans(), st.sampled_from([None, 1]))
def test_every_json_container_is_accepted_and_kept_byte_for_byte(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse(body, None, LIMITS) == body


@given(st.binary(max_size=40) | json_pieces)
@example(b'["\\ud83d\\u0041"]')
@example(b'["\\\\ud800"]')
@example(b'{"\\ud800": 1}')
@example(b'{"a": 1, "a": 2}')
def test_verdict_on_any_bytes_is_that_of_a_slow_strict_parser(body: bytes) -> None:
    assert accepts(body) == oracle_accepts(body)


@given(containers, st.data())
def test_verdict_on_damaged_json_is_that_of_a_slow_strict_parser(
    value: object, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(value).encode())
    position = data.draw(st.integers(0, len(body) - 1))
    body[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assert accepts(bytes(body)) == oracle_accepts(bytes(body))


@given(st.integers(55, 75), st.text(alphabet='[]{}"\\a', max_size=80), st.integers(0, 70))
def test_depth_counts_brackets_but_not_those_in_strings(
    levels: int, text: str, siblings: int
) -> None:
    value: object = {text: [text, {}] * siblings}
    for level in range(levels - 3 if siblings else levels - 1):
        value = [text, value] if level % 2 else {"a": value}
    body = json.dumps(value).encode()
    assert accepts(body) == oracle_accepts(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize(("levels", "accepted"), [(64, True), (65, False), (100_000, False)])
def test_sixty_four_levels_are_the_limit(opening: bytes, levels: int, accepted: bool) -> None:
    innermost, closing = (b"", b"]") if opening == b"[" else (b"1", b"}")
    assert accepts(opening * levels + innermost + closing * levels) is accepted


@pytest.mark.timeout(10)  # It takes a tenth of a second; anything quadratic takes hours.
@pytest.mark.parametrize("piece", [b'\\"', b'"', b"[],", b"[[],{}],", b'"a",', b"\\ud800", b"NaN "])
@pytest.mark.parametrize("start", [b"[", b'["', b""])
def test_a_mebibyte_of_malice_is_judged_in_linear_time(start: bytes, piece: bytes) -> None:
    body = start + piece * (1024 * 1024 // len(piece) - 8)
    assert not accepts(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\x00}\x00", "byte order mark"),
        (b'{"a": "\xe6"}', "UTF-8 (byte 7)"),
        (b'["\xed\xa0\x80"]', "UTF-8"),
        (b'["\\ud800"]', "surrogate"),
        (b'["\\ude00\\ud83d"]', "surrogate"),
        (b'{"\\uD83D": 1}', "surrogate"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "NaN or Infinity"),
        (b'["NaN", }', "(byte 8)"),
        (b"[1e999]", "too large"),
        (b"1", "object or array"),
        (b'"text"', "object or array"),
        (b"null", "object or array"),
        (b'{"a": 1', "too early"),
        (b"temperature=21", "not valid JSON"),
        (b'{"a": 1} {"b": 2}', "not valid JSON (byte"),
        (b"{'a': 1}", "not valid JSON"),
        (b'["\x01"]', "not valid JSON"),
        (b"[" * 65 + b"]" * 65, "64"),
    ],
)
def test_refusal_says_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidPayload, match=re.escape(reason)):
        parse(body, "application/json", LIMITS)


def test_duplicate_names_are_kept_as_they_came() -> None:
    assert parse(b'{"a": 1, "a": 2}', None, LIMITS) == b'{"a": 1, "a": 2}'


def test_body_over_the_limit_is_refused() -> None:
    assert parse(b"[1, 2]", None, AdapterLimits(max_body_bytes=6)) == b"[1, 2]"
    with pytest.raises(PayloadTooLarge, match="5 bytes"):
        parse(b"[1, 2]", None, AdapterLimits(max_body_bytes=5))


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/senml+json",
        "application/vnd.example.v2+json; profile=x",
    ],
)
def test_content_types_of_json_are_accepted(content_type: str | None) -> None:
    assert parse(b"{}", content_type, LIMITS) == b"{}"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json; charset=iso-8859-1",
        "multipart/form-data; boundary=application/json",
    ],
)
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedContentType, match="application/json"):
        parse(b"{}", content_type, LIMITS)


@given(st.uuids())
def test_api_key_is_a_uuid_in_either_case(key: uuid.UUID) -> None:
    assert parse_api_key(str(key)) == str(key)
    assert parse_api_key(str(key).upper()) == str(key)


@given(st.text(max_size=40))
@example(KEY.replace("-", ""))
@example(f"{{{KEY}}}")
@example(f"{KEY}\n")
@example(f" {KEY}")
@example(KEY[:-1] + "٣")
@example("")
def test_other_text_is_no_api_key(text: str) -> None:
    with pytest.raises(NotFound):
        parse_api_key(text)


def test_idempotency_key_makes_repeats_recognisable() -> None:
    adapter = GenericHttpAdapter()
    received = adapter.receive(KEY.upper(), {"Idempotency-Key": "run-7/412"}, b"[1.0]")
    assert (received.device_key, received.payload) == (KEY, b"[1.0]")
    assert received.source_key == "run-7/412"
    assert adapter.receive(KEY, {}, b"[]").source_key is None


@pytest.mark.parametrize("key", ["", "a" * 256, "æ", "a\x00"])
def test_idempotency_key_that_is_no_name_is_refused(key: str) -> None:
    with pytest.raises(InvalidPayload, match="Idempotency-Key"):
        GenericHttpAdapter().receive(KEY, {"Idempotency-Key": key}, b"[]")
