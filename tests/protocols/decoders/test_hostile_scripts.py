"""A script of any malice costs its own messages only."""

import time

import pytest

from protocols.decoders import DecoderPool
from protocols.errors import ScriptError, ScriptLimitExceeded
from tests.protocols.decoders.asking import ask, body_of, quick_settings, source
from tests.support.hostile_decoders import (
    ESCAPING_DECODER,
    HOSTILE_DECODERS,
    IMPORTING_DECODERS,
    POISONING_DECODER,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

INNOCENT = "function decodeUplink(input) { return {data: {n: input.bytes.length}}; }"
FRAME = {"data": "AQID", "fPort": 1, "n": 5}

MORE_HOSTILE = {
    "mutates while it is sorted": (
        "function decode(p) { const a = []; for (let i = 0; i < 1e6; i++) a[i] = i;"
        "for (;;) a.sort(() => { a.length = 0; return 1; }); }"
    ),
    "resizes a buffer while it is read": (
        "function decode(p) { const b = new ArrayBuffer(1024, {maxByteLength: 4096});"
        "const v = new Uint8Array(b);"
        "v.fill({valueOf() { b.resize(0); return 1; }}); return 1n; }"
    ),
    "splices a huge array": (
        "function decode(p) { const a = new Array(1e6).fill(0); for (;;) a.splice(1, 1, 2, 3); }"
    ),
    "parses a huge date": (
        "function decode(p) { const s = 'x'.repeat(1e7); for (;;) new Date(s); }"
    ),
    "spins in a getter that detection reads": (
        "Object.defineProperty(globalThis, 'decodeUplink', {get() { for (;;); }});"
    ),
    "spins in the promise check": "function decode(p) { return {get then() { for (;;); }}; }",
    "endless errors": (
        "function decodeUplink(i) { return {errors: new Proxy([], {get(t, k) {"
        "return k === 'length' ? 1e15 : 'x'; }})}; }"
    ),
}


@pytest.mark.parametrize(
    "code",
    [*HOSTILE_DECODERS.values(), *IMPORTING_DECODERS, *MORE_HOSTILE.values()],
    ids=[*HOSTILE_DECODERS, "imports a module", "imports a file", *MORE_HOSTILE],
)
async def test_hostile_script_fails_and_the_next_decoder_runs(
    shared_pool: DecoderPool, code: str
) -> None:
    outcome = await ask(shared_pool, code, FRAME)
    assert outcome.error is not None
    assert str(outcome.error)
    assert outcome.body is None
    started_s = time.monotonic()
    assert body_of(await ask(shared_pool, INNOCENT, FRAME)) == {"n": 3}
    assert time.monotonic() - started_s < 3
    assert shared_pool.health().workers_alive >= 3


async def test_poisoned_built_ins_are_not_seen_by_another_decoder(
    shared_pool: DecoderPool,
) -> None:
    # Even ids: the same shared worker.
    poisoner, innocent = source(POISONING_DECODER, 10_000), source(INNOCENT, 10_002)
    for _ in range(3):
        await ask(shared_pool, poisoner, FRAME)
        assert body_of(await ask(shared_pool, innocent, FRAME)) == {"n": 3}


async def test_poisoned_built_ins_do_not_forge_the_hosts_own_words(
    shared_pool: DecoderPool,
) -> None:
    code = """
    for (const name of ["toJSON", "0", "body", "kind", "message", "logs"]) {
      Object.defineProperty(Object.prototype, name, {get() { return "pwned"; }, set() {}});
      Object.defineProperty(Array.prototype, name, {get() { return "pwned"; }, set() {}});
    }
    String.prototype.slice = RegExp.prototype.exec = () => "pwned";
    JSON.parse = JSON.stringify = Array.isArray = () => "pwned";
    function decode(payload) { console.log("seen"); throw new Error("mine"); }
    """
    outcome = await ask(shared_pool, code, FRAME)
    assert isinstance(outcome.error, ScriptError)
    assert str(outcome.error).startswith("Error: mine")
    assert outcome.logs == ("seen",)


async def test_interrupt_is_described_without_running_the_script_again(
    shared_pool: DecoderPool,
) -> None:
    code = """
    const spin = () => { for (;;); };
    for (const holder of [Object.prototype, Error.prototype, InternalError.prototype]) {
      try { holder.toString = spin; } catch (e) {}
      try { holder[Symbol.toPrimitive] = spin; } catch (e) {}
    }
    try { Error.prepareStackTrace = spin; } catch (e) {}
    globalThis.InternalError = globalThis.RangeError = class { static [Symbol.hasInstance]() { spin(); } };
    function decode(payload) { spin(); }
    """
    outcome = await ask(shared_pool, code, FRAME)
    assert isinstance(outcome.error, ScriptLimitExceeded)
    assert "250 ms" in str(outcome.error)


async def test_script_finds_no_way_out(shared_pool: DecoderPool) -> None:
    assert body_of(await ask(shared_pool, ESCAPING_DECODER, FRAME)) == {"found": []}


@pytest.mark.timeout(110)
async def test_crash_of_the_engine_when_memory_runs_out_is_contained() -> None:
    """Fills the heap, frees a little, and runs out inside bind: may crash the engine, or not."""
    code = """function decode(p) {
      const hold = [];
      try { for (;;) hold.push(new ArrayBuffer(4096)); } catch (e) {}
      hold.length -= p.slack;
      let f = () => 1;
      for (let i = 0; i < 200000; i++) f = f.bind(null);
    }"""
    pool = DecoderPool(quick_settings(memory_limit_bytes=4 * 1024 * 1024))
    await pool.start()
    try:
        innocent = source(INNOCENT)
        for slack in range(40):
            outcome = await ask(pool, code, {"slack": slack})
            assert outcome.error is not None
            assert body_of(await ask(pool, innocent, FRAME)) == {"n": 3}
    finally:
        await pool.stop(timeout_s=5)
