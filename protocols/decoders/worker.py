"""The engine: scripts in contexts of their own, run within limits. Lives in worker processes only.

This is the one module that imports the engine, and only forked workers run it: a hostile script can
crash the engine, so neither the hub nor the zygote may ever call into it. It imports `_quickjs`, not
`quickjs`, because the latter starts a thread on import, and the zygote forks.

A context belongs to one version of one decoder and is thrown away after anything that leaves the
engine on an error path: an interrupt, memory running out, a stack overflow.
"""

import contextlib
import re
import time
from collections import OrderedDict
from pathlib import Path
from typing import Protocol, cast

import _quickjs  # type: ignore[import-not-found]  # the engine brings no types
import msgspec

from protocols.decoders.frames import Status, WorkerLimits, WorkItem, WorkResult
from protocols.decoders.progress import Running

# Deeper results are refused: the hub takes no deeper payload either, and parsers downstream recurse.
MAX_DEPTH = 64

_HERE = Path(__file__).parent
_HARNESS = (_HERE / "harness.js").read_text(encoding="utf-8")
_SHIMS = tuple((_HERE / name).read_text(encoding="utf-8") for name in ("text.js", "buffer.js"))
# The shims double the cost of a context, and few scripts use them.
_NEEDS_SHIMS = re.compile(r"\b(?:Buffer|TextEncoder|TextDecoder)\b")
# JSON.stringify writes paired surrogates as characters, so an escaped one is always a lone one.
_ESCAPE = re.compile(r"\\(?:u(d[89a-f][0-9a-f]{2})|.)")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')

_LIMIT_SENTENCES = {
    "memory": "The script used more than {memory_mb} MB of memory",
    "stack": "The script's calls or data are nested too deeply",
    "result": "The result is larger than {result_kb} KB",
    "cpu": "The script ran longer than {cpu_ms} ms",
    "load": "The script needed longer than {load_ms} ms to load",
}
_TIME_LIMITS = ("cpu", "load")


class _Function(Protocol):
    def __call__(self, *arguments: str | float) -> str | None: ...


class _Report(msgspec.Struct):
    """What `report` of the harness says about the last call."""

    body: str | None
    kind: str | None
    message: str | None
    logs: dict[str, str]
    warnings: dict[str, str]


class Failure(Exception):
    """The script could not be loaded or run; `kind` is `script` or one of the limits."""

    def __init__(self, kind: str, message: str, report: _Report | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.report = report


class ScriptContext:
    """One script, loaded in a context of its own."""

    def __init__(self, code: str, limits: WorkerLimits, *, is_trial: bool) -> None:
        """Raises: Failure when the script cannot be loaded; the object is of no use then."""
        self.calls = 0
        self._limits = limits
        self.convention: str | None = None
        context = _quickjs.Context()
        context.set_memory_limit(limits.memory_limit_bytes)
        context.set_max_stack_size(limits.stack_limit_bytes)
        context.set_time_limit(limits.trial_limit_s if is_trial else limits.load_limit_s)
        self._context = context
        select = context.eval(_HARNESS)(limits.result_limit_bytes)
        self._run = cast(_Function, select("run"))
        self._report = cast(_Function, select("report"))
        if _NEEDS_SHIMS.search(code):
            for shim in _SHIMS:
                context.eval(shim)
        self._load(cast(_Function, select("load")), code)
        self._call_limit_s = 0.0

    def run(self, item: WorkItem) -> tuple[str, _Report | None]:
        """Returns the result's JSON and, if the script said more, the report. Raises: Failure."""
        self.calls += 1
        self._limit_call(item)
        try:
            payload, metadata = str(item.payload, "utf-8"), str(item.metadata, "utf-8")
        except UnicodeDecodeError:
            raise Failure("script", "The payload is not valid UTF-8") from None
        try:
            text = self._run(item.function, payload, metadata, float(item.received_ms))
        except _quickjs.JSException as exc:
            failure = self._escaped(exc, "cpu")
            with contextlib.suppress(Failure):
                # What it wrote to the console until then may tell where it hangs.
                failure.report = self._read_report()
            raise failure from None
        if text is not None:
            return text, None
        report = self._read_report()
        if report.body is None:
            raise Failure(report.kind or "script", report.message or "", report)
        return report.body, report

    def _limit_call(self, item: WorkItem) -> None:
        limits = self._limits
        limit_s = limits.trial_limit_s if item.is_trial else limits.cpu_limit_s
        if limit_s != self._call_limit_s:
            self._call_limit_s = limit_s
            self._context.set_time_limit(limit_s)

    def _load(self, load: _Function, code: str) -> None:
        try:
            found = load(code)
        except _quickjs.JSException as exc:
            raise self._escaped(exc, "load") from None
        if found is None:
            report = self._read_report()
            raise Failure(report.kind or "script", report.message or "", report)
        self.convention = msgspec.json.decode(found, type=str | None)

    def _read_report(self) -> _Report:
        try:
            text = self._report()
        except _quickjs.JSException as exc:
            raise self._escaped(exc, "cpu") from None
        return msgspec.json.decode(_without_surrogates(cast(str, text)), type=_Report)

    def _escaped(self, exc: Exception, time_kind: str) -> Failure:
        """An exception that the harness could not catch is an interrupt or exhaustion."""
        if isinstance(exc, _quickjs.StackOverflow):
            return Failure("stack", "")
        text = str(exc)
        if text.startswith("InternalError: interrupted"):
            return Failure(time_kind, "")
        if "out of memory" in text or text.startswith("null"):
            return Failure("memory", "")
        return Failure("script", "The script failed in a way that cannot be described")


class Engine:
    """Runs items one by one, keeping the contexts of the scripts it met last."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._codes: OrderedDict[tuple[int, str], bytes] = OrderedDict()
        self._contexts: OrderedDict[tuple[int, str], ScriptContext | Failure] = OrderedDict()
        self._sentences = {
            kind: sentence.format(
                memory_mb=limits.memory_limit_bytes // (1024 * 1024),
                result_kb=limits.result_limit_bytes // 1024,
                cpu_ms=round(limits.cpu_limit_s * 1000),
                load_ms=round(limits.load_limit_s * 1000),
            )
            for kind, sentence in _LIMIT_SENTENCES.items()
        }

    def execute(self, item: WorkItem, started: Running) -> WorkResult:
        """Runs one item. Whatever the script does, this returns, unless the process dies."""
        key = (item.decoder_id, item.version)
        if item.code is not None:
            self._remember(key, item.code)
        elif key not in self._codes:
            return WorkResult(item.sequence, Status.MISSING_CODE, None, 0, 0)
        convention: str | None = None
        try:
            script = self._context_of(key, is_trial=item.is_trial)
            convention = script.convention if item.function == "uplink" else item.function
            text, report = script.run(item)
            body = self._body_of(text)
        except Failure as failure:
            return self._failed(item, failure, convention, started)
        cpu_us, wall_us = _spent(started)
        if report is None:
            return WorkResult(item.sequence, Status.DONE, body, cpu_us, wall_us, convention)
        warnings, logs = list(report.warnings.values()), list(report.logs.values())
        return WorkResult(
            item.sequence, Status.DONE, body, cpu_us, wall_us, convention, "", warnings, logs
        )

    def forget_half(self) -> None:
        """Throws away the contexts used least recently; their scripts are loaded anew when needed."""
        for _ in range((len(self._contexts) + 1) // 2):
            self._contexts.popitem(last=False)

    def _remember(self, key: tuple[int, str], code: bytes) -> None:
        self._codes[key] = code
        while len(self._codes) > self._limits.context_cache:
            forgotten, _ = self._codes.popitem(last=False)
            self._contexts.pop(forgotten, None)

    def _forget(self, key: tuple[int, str]) -> None:
        """The code goes too: calls of the same script that are already on their way are then not
        run here, but go back to the hub, which has them run where they hold up nobody."""
        self._contexts.pop(key, None)
        self._codes.pop(key, None)

    def _context_of(self, key: tuple[int, str], *, is_trial: bool) -> ScriptContext:
        """Raises: Failure when the script does not load; it is kept, so loading is tried once."""
        known = self._contexts.get(key)
        if isinstance(known, ScriptContext) and known.calls >= self._limits.recycle_after_calls:
            del self._contexts[key]
            known = None
        if known is None:
            try:
                code = str(self._codes[key], "utf-8")
                known = ScriptContext(code, self._limits, is_trial=is_trial)
            except Failure as failure:
                failure.report = None
                known = failure
        self._contexts[key] = known
        self._contexts.move_to_end(key)
        self._codes.move_to_end(key)
        if isinstance(known, Failure):
            raise known
        return known

    def _body_of(self, text: str) -> bytes:
        text = _without_surrogates(text)
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
            raise Failure("script", f"The result is nested deeper than {MAX_DEPTH} levels")
        body = text.encode()
        if len(body) > self._limits.result_limit_bytes:
            raise Failure("result", "")
        return body

    def _failed(
        self, item: WorkItem, failure: Failure, convention: str | None, started: Running
    ) -> WorkResult:
        status, message = Status.FAILED, failure.message
        if failure.kind != "script":
            is_cut = item.is_trial and failure.kind in _TIME_LIMITS
            status = Status.CUT_SHORT if is_cut else Status.LIMIT
            message = self._sentences[failure.kind]
            self._forget((item.decoder_id, item.version))
        report = failure.report
        cpu_us, wall_us = _spent(started)
        return WorkResult(
            item.sequence,
            status,
            None,
            cpu_us,
            wall_us,
            convention,
            message,
            [] if report is None else list(report.warnings.values()),
            [] if report is None else list(report.logs.values()),
        )


def _spent(started: Running) -> tuple[int, int]:
    cpu_ns, now_ns = time.process_time_ns(), time.monotonic_ns()
    return (cpu_ns - started.cpu_ns) // 1000, (now_ns - started.started_ns) // 1000


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in _STRUCTURE.finditer(text):
        character = found[0]
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _without_surrogates(json_text: str) -> str:
    """Lone surrogates become U+FFFD: strict parsers and PostgreSQL refuse them."""
    if "\\ud" not in json_text:
        return json_text
    return _ESCAPE.sub(lambda found: "\ufffd" if found[1] else found[0], json_text)
