"""What the engine lacks and scripts use: TextEncoder, TextDecoder, Buffer, module."""

import base64
import json
import random

import pytest

from protocols.decoders import DecoderPool
from tests.protocols.decoders.asking import ask, body_of, source

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def value_of(pool: DecoderPool, expression: str) -> object:
    return body_of(await ask(pool, f"function decode(p) {{ return ({expression}); }}"))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Array.from(new TextEncoder().encode('aæ€😀'))", list("aæ€😀".encode())),
        ("Array.from(new TextEncoder().encode('\\ud800x'))", list("\ufffdx".encode())),
        ("new TextEncoder().encode().length", 0),
        ("new TextEncoder().encodeInto('a€b', new Uint8Array(4))", {"read": 2, "written": 4}),
        ("new TextDecoder().decode(new Uint8Array([97, 195, 166]))", "aæ"),
        ("new TextDecoder('UTF8').decode(new Uint8Array([0xef, 0xbb, 0xbf, 97]))", "a"),
        ("new TextDecoder().decode(new Uint8Array([97, 0xff, 98]))", "a\ufffdb"),
        ("new TextDecoder().decode(new Uint8Array([0xed, 0xa0, 0x80]))", "\ufffd" * 3),
        ("new TextDecoder().decode(new Uint8Array([1, 65, 66, 2]).subarray(1, 3))", "AB"),
        ("new TextDecoder().decode(new Uint8Array([65]).buffer)", "A"),
        ("new TextDecoder().decode()", ""),
        (
            "(() => { try { new TextDecoder('utf-8', {fatal: true})"
            ".decode(new Uint8Array([0xc3])); } catch (e) { return e.name; } })()",
            "TypeError",
        ),
        (
            "(() => { try { new TextDecoder('utf-16'); } catch (e) { return e.name; } })()",
            "RangeError",
        ),
        ("atob(btoa('hi'))", "hi"),
    ],
)
async def test_text_codecs(shared_pool: DecoderPool, expression: str, expected: object) -> None:
    assert await value_of(shared_pool, expression) == expected


async def test_text_decoder_agrees_with_python_on_broken_input(shared_pool: DecoderPool) -> None:
    broken = [
        bytes([lead, *tail])
        for lead in (0x41, 0xC1, 0xC3, 0xE0, 0xE2, 0xED, 0xF0, 0xF4, 0xF5)
        for tail in ([], [0x80], [0x9F, 0x41], [0x80, 0x80, 0x80], [0xBF, 0xBF, 0xBF], [0xC3, 0xA6])
    ]
    chance = random.Random(5)
    inputs = [*broken, *(chance.randbytes(chance.randrange(12)) for _ in range(400))]
    code = (
        "function decode(p) { return p.map((b) => new TextDecoder().decode(new Uint8Array(b))); }"
    )
    decoded = body_of(await ask(shared_pool, code, [list(each) for each in inputs]))
    assert decoded == [each.decode("utf-8", "replace").removeprefix("\ufeff") for each in inputs]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Array.from(Buffer.from('00ff10', 'hex'))", [0, 255, 16]),
        ("Array.from(Buffer.from('00fg10', 'hex'))", [0]),
        ("Array.from(Buffer.from('AQID', 'base64'))", [1, 2, 3]),
        ("Array.from(Buffer.from('AQ', 'base64'))", [1]),
        ("Array.from(Buffer.from('_-8=', 'base64'))", [255, 239]),
        ("Array.from(Buffer.from('æ'))", [195, 166]),
        ("Array.from(Buffer.from('aæ', 'latin1'))", [97, 230]),
        ("Array.from(Buffer.from('ab', 'ascii'))", [97, 98]),
        ("Array.from(Buffer.from('a€', 'utf16le'))", [97, 0, 0xAC, 0x20]),
        ("Array.from(Buffer.from([1, 2, 300]))", [1, 2, 44]),
        ("Array.from(Buffer.from(new Uint8Array([1, 2, 3]).buffer, 1, 2))", [2, 3]),
        ("Array.from(new Buffer([1, 2]))", [1, 2]),
        ("Array.from(Buffer('0102', 'hex'))", [1, 2]),
        ("Buffer.from([0, 255, 16]).toString('hex')", "00ff10"),
        ("Buffer.from([1, 2, 3]).toString('base64')", "AQID"),
        ("Buffer.from([255, 239]).toString('base64url')", "_-8"),
        ("Buffer.from([97, 195, 166]).toString()", "aæ"),
        ("Buffer.from([97, 195, 166]).toString('ascii')", "aC&"),
        ("Buffer.from([97, 230]).toString('latin1')", "aæ"),
        ("Buffer.from([97, 98, 99, 100]).toString('utf8', 1, 3)", "bc"),
        ("Buffer.from('a€', 'ucs2').toString('ucs2')", "a€"),
        ("Buffer.from('hello').slice(1, 3).toString()", "el"),
        (
            "(() => { const b = Buffer.from([1, 2]); b.slice(1)[0] = 9; return Array.from(b); })()",
            [1, 9],
        ),
        ("Buffer.isBuffer(Buffer.from([1]).subarray(0))", True),
        ("Buffer.isBuffer(new Uint8Array(1))", False),
        ("Buffer.from([1]) instanceof Uint8Array", True),
        ("Array.from(Buffer.concat([Buffer.from([1]), new Uint8Array([2, 3])]))", [1, 2, 3]),
        ("Array.from(Buffer.concat([Buffer.from([1, 2]), Buffer.from([3])], 2))", [1, 2]),
        ("Array.from(Buffer.alloc(3, 7))", [7, 7, 7]),
        ("Array.from(Buffer.alloc(3, 'ab'))", [97, 98, 97]),
        ("Buffer.byteLength('æ')", 2),
        ("Buffer.from([1, 2])", {"type": "Buffer", "data": [1, 2]}),
        ("Buffer.from([1, 2]).equals(Buffer.from([1, 2]))", True),
        ("Buffer.from([0x80]).readUInt8()", 128),
        ("Buffer.from([0x80]).readInt8(0)", -128),
        ("Buffer.from([0, 1, 2]).readUInt16BE(1)", 0x0102),
        ("Buffer.from([0, 1, 2]).readUint16LE(1)", 0x0201),
        ("Buffer.from([0xff, 0xfe]).readInt16BE(0)", -2),
        ("Buffer.from([0xfe, 0xff]).readInt16LE(0)", -2),
        ("Buffer.from('ffffffff', 'hex').readUInt32BE(0)", 0xFFFFFFFF),
        ("Buffer.from('ffffffff', 'hex').readInt32LE(0)", -1),
        ("Buffer.from('3fc00000', 'hex').readFloatBE(0)", 1.5),
        ("Buffer.from('000000000000f83f', 'hex').readDoubleLE(0)", 1.5),
        ("Buffer.from('010203', 'hex').readUIntBE(0, 3)", 0x010203),
        ("Buffer.from('010203', 'hex').readUIntLE(0, 3)", 0x030201),
        ("Buffer.from('ffffff', 'hex').readIntBE(0, 3)", -1),
        ("Buffer.from('feffff', 'hex').readIntLE(0, 3)", -2),
        ("String(Buffer.from('ffffffffffffffff', 'hex').readBigInt64BE(0))", "-1"),
        (
            "(() => { const b = Buffer.alloc(8); b.writeUInt16BE(0x0102); b.writeInt16LE(-2, 2);"
            "b.writeFloatBE(1.5, 4); return b.toString('hex'); })()",
            "0102feff3fc00000",
        ),
        (
            "(() => { const b = Buffer.alloc(6); b.writeUIntBE(0x010203, 0, 3);"
            "b.writeIntLE(-2, 3, 3); return b.toString('hex'); })()",
            "010203feffff",
        ),
        (
            "(() => { const b = Buffer.alloc(4); return [b.write('abc', 1), b.toString('hex')]; })()",
            [3, "00616263"],
        ),
        (
            "(() => { const b = Buffer.alloc(2); return [b.write('6162', 'hex'), b.toString()]; })()",
            [2, "ab"],
        ),
        (
            "(() => { const b = Buffer.alloc(2); Buffer.from([1, 2, 3]).copy(b); return [...b]; })()",
            [1, 2],
        ),
        (
            "(() => { try { Buffer.from([1]).readUInt16BE(0); } catch (e) { return e.name; } })()",
            "RangeError",
        ),
        (
            "(() => { try { Buffer.from([1]).toString('klingon'); } catch (e) { return e.name; } })()",
            "TypeError",
        ),
    ],
)
async def test_buffer(shared_pool: DecoderPool, expression: str, expected: object) -> None:
    assert await value_of(shared_pool, expression) == expected


async def test_every_byte_survives_every_text_form(shared_pool: DecoderPool) -> None:
    data = bytes(range(256))
    code = """function decode(p) {
        return ['hex', 'base64', 'base64url', 'latin1'].map((encoding) => {
            const text = Buffer.from(p).toString(encoding);
            return [text, Buffer.from(text, encoding).equals(Buffer.from(p))]; }); }"""
    shown = body_of(await ask(shared_pool, source(code), list(data)))
    assert all(is_same for _, is_same in shown)
    assert shown[0][0] == data.hex()
    assert shown[1][0] == base64.b64encode(data).decode()
    assert shown[3][0] == data.decode("latin1")
    assert json.dumps(shown)
