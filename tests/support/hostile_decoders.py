"""Payload decoders of every kind of malice: what a public hub has to expect.

Each is a whole decoder. None may cost anybody but the devices that use it, and none may come out as
a decoded message, except where `HARMLESS` says what it may come out as.
"""

from typing import Final


def _decode(body: str) -> str:
    return f"function decode(payload, metadata) {{ {body} }}"


HOSTILE_DECODERS: Final = {
    "spins and catches everything": _decode(
        "while (true) { try { for (;;); } catch (e) {} finally { continue; } }"
    ),
    "fills the memory": _decode("let a = []; for (;;) a.push(new Array(1e6).fill(1));"),
    "doubles a string for ever": _decode("let s = 'x'; for (;;) s += s;"),
    "backtracks in a regular expression": _decode(
        "return {is: /^(a+)+$/.test('a'.repeat(45) + '!')};"
    ),
    "recurses and catches": _decode(
        "function f() { try { return f(); } catch (e) { return f(); } } return f();"
    ),
    "parses a million levels": _decode("return JSON.parse('['.repeat(1e6) + ']'.repeat(1e6));"),
    "stays in native code": _decode("return {s: Array(4294967295).join('')};"),
    "throws what cannot be printed": _decode(
        "throw {get message() { for (;;); }, get stack() { for (;;); }, toString() { for (;;); }};"
    ),
    "returns what spins when serialized": _decode("return {toJSON() { for (;;); }};"),
    "returns a proxy that spins": _decode(
        "return new Proxy({}, {ownKeys() { for (;;); }, get() { for (;;); }});"
    ),
    "promises without end": _decode(
        "(function f() { Promise.resolve().then(f); })(); return Promise.resolve(1);"
    ),
    "is asynchronous for ever": (
        "async function decode(payload, metadata) { for (;;) await null; }"
    ),
    "returns 30 million characters": _decode("return {data: 'x'.repeat(3e7)};"),
    "returns 300,000 keys": _decode(
        "const o = {}; for (let i = 0; i < 300000; i++) o['k' + i] = i; return o;"
    ),
    "returns 200,000 levels": _decode(
        "let a = []; for (let i = 0; i < 200000; i++) a = [a]; return a;"
    ),
    "waits on shared memory": _decode(
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); return {};"
    ),
    "exhausts memory inside the engine": _decode(
        "const hold = []; try { for (;;) hold.push(new ArrayBuffer(65536)); } catch (e) {}"
        " let f = () => 1; for (let i = 0; i < 200000; i++) f = f.bind(null);"
    ),
    "spins while it is loaded": "for (;;); function decode(p, m) { return p; }",
    "is no JavaScript": "this is not a decoder",
    "defines nothing": "var x = 1;",
}

# Changes what every script of the same engine would use, and then works as if nothing were.
POISONING_DECODER: Final = """
JSON.stringify = () => '"pwned"';
Object.prototype.toJSON = function () { return "pwned"; };
Array.prototype.push = () => { throw new Error("pwned"); };
Object.prototype.n = "pwned";
function decode(payload, metadata) { return {n: payload.n}; }
"""

# Looks for a way out; every answer but these is one.
ESCAPING_DECODER: Final = """
function decode(payload, metadata) {
  const global = constructor.constructor("return this")();
  const names = ["process", "require", "std", "os", "Deno", "Bun", "fetch", "XMLHttpRequest"];
  return {found: names.filter((name) => typeof global[name] !== "undefined")};
}
"""
IMPORTING_DECODERS: Final = (
    _decode('return import("os");'),
    _decode('return import("/etc/hostname");'),
)
