// The host's side of every decoder context. Evaluated before the user's script in the same context.
//
// Rules:
// 1. Everything needed later is captured here, before a user's script can replace it. Containers the
//    harness serializes have no prototype, so neither setters nor toJSON planted on one are reached.
// 2. Every exception is caught and described here, inside the limits of the call: the engine's own
//    way of turning an exception into text runs the user's toString without any limit.
// 3. Only strings that JSON.stringify made, numbers and null leave: a rope cannot cross into Python.
//
// The value of this file is `select(name)`, which hands out load, run and report.
(function (resultLimit) {
  "use strict";

  const parse = JSON.parse;
  const stringify = JSON.stringify;
  const evaluate = eval;
  const NativeDate = Date;
  const NativeString = String;
  const NativeError = Error;
  const NativeRangeError = RangeError;
  const NativeInternalError = InternalError;
  const NativeRegExp = RegExp;
  const isView = ArrayBuffer.isView;
  const isArray = Array.isArray;
  const fromBase64 = Uint8Array.fromBase64.bind(Uint8Array);
  const fromHex = Uint8Array.fromHex.bind(Uint8Array);
  const freeze = Object.freeze;
  const create = Object.create;
  const define = Object.defineProperty;
  const bindCall = Function.prototype.bind.bind(Function.prototype.call);
  const textOf = bindCall(Function.prototype.toString);
  const slice = bindCall(String.prototype.slice);
  const startsWith = bindCall(String.prototype.startsWith);
  const exec = bindCall(RegExp.prototype.exec);

  const LOG_LINES = 50;
  const TEXT_LIMIT = 500;
  const LORAWAN = "decodeUplink";
  const OS2IOT = "decode";

  // An interrupt cannot be caught, so the engine stringifies that one error itself, outside the
  // limit. Nothing on its way may be the user's.
  define(Error, "prepareStackTrace", { value: undefined, writable: false, configurable: false });
  define(InternalError.prototype, "toString", { value: Error.prototype.toString });
  define(InternalError.prototype, Symbol.toPrimitive, { value: undefined });
  freeze(InternalError.prototype);

  // Text of the script's own making inside the result could be JSON that strict parsers refuse.
  delete JSON.rawJSON;
  delete JSON.isRawJSON;

  let lines = create(null);
  let lineCount = 0;
  let warnings = create(null);
  let warningCount = 0;
  let body = null;
  let failure = null;
  let entries = null;

  // ---- console

  function show(value) {
    if (typeof value === "string") return value;
    if (typeof value === "object" && value !== null && !(value instanceof NativeError)) {
      try {
        const text = stringify(value);
        if (text !== undefined) return text;
      } catch (_) {
        return "[object that cannot be shown]";
      }
    }
    try {
      return NativeString(value);
    } catch (_) {
      return "[value that cannot be shown]";
    }
  }

  function print() {
    let line = "";
    for (let i = 0; i < arguments.length && line.length < TEXT_LIMIT; i++) {
      line += (i === 0 ? "" : " ") + slice(show(arguments[i]), 0, TEXT_LIMIT);
    }
    lines[lineCount % LOG_LINES] = slice(line, 0, TEXT_LIMIT);
    lineCount++;
  }

  function ignore() {}

  globalThis.console = {
    log: print, info: print, warn: print, error: print, debug: print, trace: print, dir: print,
    table: print, assert(ok, ...rest) { if (!ok) print("Assertion failed:", ...rest); },
    group: print, groupCollapsed: print, groupEnd: ignore, clear: ignore, count: ignore,
    countReset: ignore, time: ignore, timeEnd: ignore, timeLog: ignore,
  };
  globalThis.module = { exports: {} };
  globalThis.exports = globalThis.module.exports;

  // ---- failures

  function fail(kind, message) {
    failure = create(null);
    failure.kind = kind;
    failure.message = message;
    return null;
  }

  function describe(error) {
    if (typeof error !== "object" || error === null) return "The script threw " + show(error);
    const message = error.message;
    const name = error.name;
    let text = typeof name === "string" ? name : "Error";
    if (typeof message === "string" && message !== "") text += ": " + message;
    const stack = error.stack;
    const where = typeof stack === "string" ? exec(/<(?:input|eval|evalScript)>:(\d+)/, slice(stack, 0, 4000)) : null;
    return slice(text, 0, TEXT_LIMIT) + (where === null ? "" : " (line " + where[1] + ")");
  }

  function failWith(error) {
    try {
      if (error instanceof NativeInternalError && error.message === "out of memory") {
        return fail("memory", "");
      }
      if (error instanceof NativeRangeError && error.message === "Maximum call stack size exceeded") {
        return fail("stack", "");
      }
      return fail("script", describe(error));
    } catch (_) {
      return fail("script", "The script threw a value that cannot be described");
    }
  }

  // ---- which functions the script defines

  const NAMES = ["decodeUplink", "decode", "Decoder", "Decode", "encodeDownlink", "decodeDownlink"];
  let probe = "\n;({";
  for (let i = 0; i < NAMES.length; i++) {
    probe += NAMES[i] + ":typeof " + NAMES[i] + "==='function'?" + NAMES[i] + ":undefined,";
  }
  probe += "module:typeof module==='undefined'?undefined:module," +
    "exports:typeof exports==='undefined'?undefined:exports})";

  function callable(value) {
    // A class is a function to typeof, but cannot be called.
    return typeof value === "function" && !startsWith(textOf(value), "class") ? value : undefined;
  }

  function member(holder, name) {
    if (holder === null || (typeof holder !== "object" && typeof holder !== "function")) return undefined;
    return callable(holder[name]) ||
      (typeof holder === "function" && holder.name === name ? callable(holder) : undefined);
  }

  // Comments and string literals cannot call anything: they are blanked before looking for calls.
  function withoutLiterals(text) {
    const literals = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\/\*[^]*?\*\/|\/\/[^\n]*/g;
    let bare = "";
    let at = 0;
    for (let found = exec(literals, text); found !== null; found = exec(literals, text)) {
      bare += slice(text, at, found.index) + " ";
      at = literals.lastIndex;
    }
    return bare + slice(text, at);
  }

  function calls(caller, name) {
    if (caller === undefined) return false;
    const text = withoutLiterals(textOf(caller));
    // Its own name in its own head ("function Decoder(") is no call.
    const head = exec(/^\s*(?:async\s+)?function\s*\*?\s*[\w$]*/, text);
    const body = head === null ? text : slice(text, head[0].length);
    const call = "(?:^|[^\\w$.])" + name + "\\s*(?:\\?\\.\\s*)?(?:\\(|\\.(?:call|apply)\\s*\\()";
    return exec(new NativeRegExp(call), body) !== null;
  }

  function detect(found) {
    const has = create(null);
    for (let i = 0; i < NAMES.length; i++) {
      const name = NAMES[i];
      const exported = found.module === undefined || found.module === null ? undefined : found.module.exports;
      has[name] = callable(found[name]) || member(exported, name) || member(found.exports, name);
    }
    const decode = has.decode;
    const wraps = calls(decode, "decodeUplink") || calls(decode, "Decoder") || calls(decode, "Decode");
    const helps = !wraps && (calls(has.Decoder, "decode") || calls(has.Decode, "decode"));
    let uplink = null;
    if (decode && wraps) uplink = OS2IOT;
    else if (has.decodeUplink) uplink = LORAWAN;
    else if (decode && !helps) uplink = OS2IOT;
    else if (has.Decoder) uplink = "Decoder";
    else if (has.Decode) uplink = "Decode";
    has.uplink = uplink;
    return has;
  }

  function load(source) {
    lineCount = 0;
    failure = null;
    try {
      entries = detect(evaluate(source + probe));
      return stringify(entries.uplink);
    } catch (error) {
      return failWith(error);
    }
  }

  // ---- one call

  // Scripts expect `bytes` to be an Array, and JSON shows typed arrays as objects.
  function plainArray(frame) {
    const bytes = [];
    const length = frame.length;
    for (let i = 0; i < length; i++) bytes[i] = frame[i];
    return bytes;
  }

  function readBase64(text) {
    try {
      return fromBase64(text);
    } catch (_) {
      return fromBase64(text, { __proto__: null, alphabet: "base64url" });
    }
  }

  function frameBytes(payload, name) {
    const holder = typeof payload === "object" && payload !== null ? payload : {};
    const base64 = holder.data;
    const hex = holder.payload_hex;
    let frame;
    try {
      if (typeof base64 === "string") frame = readBase64(base64);
      else if (typeof hex === "string") frame = fromHex(hex);
      else {
        fail("script", name + " needs the frame's bytes, but the payload has neither \"data\" (base64) nor \"payload_hex\"");
        return null;
      }
    } catch (_) {
      const field = typeof base64 === "string" ? "\"data\" is not base64" : "\"payload_hex\" is not hexadecimal";
      fail("script", name + " needs the frame's bytes, but the payload's " + field);
      return null;
    }
    return plainArray(frame);
  }

  function framePort(payload) {
    return payload.fPort === undefined ? payload.f_port : payload.fPort;
  }

  function variablesOf(metadata) {
    const variables = metadata === null || metadata === undefined ? undefined : metadata.variables;
    return typeof variables === "object" && variables !== null ? variables : {};
  }

  function say(text) {
    return slice(show(text), 0, TEXT_LIMIT);
  }

  function takeWarnings(given) {
    if (!isArray(given)) return;
    for (let i = 0; i < given.length && warningCount < LOG_LINES; i++) {
      warnings[warningCount++] = say(given[i]);
    }
  }

  function joinErrors(given) {
    if (typeof given === "string") return say(given);
    if (!isArray(given)) return "";
    let text = "";
    for (let i = 0; i < given.length && text.length < TEXT_LIMIT; i++) {
      text += (i === 0 ? "" : "; ") + say(given[i]);
    }
    return given.length > 0 && text === "" ? "no reason given" : text;
  }

  function unusable(value) {
    if (value === undefined || value === null) return "nothing";
    if (typeof value === "function") return "a function";
    if (typeof value === "symbol") return "a symbol";
    if (typeof value === "object" && typeof value.then === "function") {
      return "a promise (decoders must return their result at once, so they cannot be async)";
    }
    return null;
  }

  function finish(value, name, what) {
    const reason = unusable(value);
    if (reason !== null) return fail("script", name + " returned " + what + reason);
    const text = stringify(value);
    if (text === undefined || text === "null") return fail("script", name + " returned " + what + "nothing that JSON can hold");
    if (text.length > resultLimit) return fail("result", "");
    body = text;
    return null;
  }

  // The result of decodeUplink and decodeDownlink is {data, errors, warnings}; that of
  // encodeDownlink is {bytes, fPort, errors, warnings}.
  function unwrap(result, name) {
    const reason = unusable(result);
    if (reason !== null) return fail("script", name + " returned " + reason);
    takeWarnings(result.warnings);
    const errors = joinErrors(result.errors);
    if (errors !== "") return fail("script", name + " reported: " + errors);
    if (name !== "encodeDownlink") return finish(result.data, name, "as data ");
    const given = result.bytes;
    if (!isArray(given) && !isView(given)) return fail("script", name + " returned no bytes");
    return finish({ bytes: plainArray(given), fPort: result.fPort }, name, "");
  }

  function callLorawan(name, payload, metadata, receivedMs) {
    const bytes = frameBytes(payload, name);
    if (bytes === null) return null;
    const recvTime = new NativeDate(receivedMs);
    const input = { bytes, fPort: framePort(payload), recvTime, variables: variablesOf(metadata) };
    return unwrap(entries[name](input), name);
  }

  function callEncode(payload, metadata) {
    const wrapped = typeof payload === "object" && payload !== null && payload.data !== undefined;
    const input = { data: wrapped ? payload.data : payload, variables: variablesOf(metadata) };
    if (wrapped && framePort(payload) !== undefined) input.fPort = framePort(payload);
    return unwrap(entries.encodeDownlink(input), "encodeDownlink");
  }

  function callLegacy(name, payload, metadata) {
    const bytes = frameBytes(payload, name);
    if (bytes === null) return null;
    const port = framePort(payload);
    const result = name === "Decoder"
      ? entries.Decoder(bytes, port)
      : entries.Decode(port, bytes, variablesOf(metadata));
    return finish(result, name, "");
  }

  function call(name, payload, metadata, receivedMs) {
    if (name === OS2IOT) return finish(entries.decode(payload, metadata), name, "");
    if (name === "encodeDownlink") return callEncode(payload, metadata);
    if (name === "Decoder" || name === "Decode") return callLegacy(name, payload, metadata);
    return callLorawan(name, payload, metadata, receivedMs);
  }

  function choose(wanted) {
    if (wanted === "uplink") {
      if (entries.uplink === null) fail("script", "The script defines none of decodeUplink, decode, Decoder or Decode");
      return entries.uplink;
    }
    if (entries[wanted] === undefined) {
      fail("script", "The script does not define " + wanted);
      return null;
    }
    return wanted;
  }

  function readJson(text, what) {
    try {
      return parse(text);
    } catch (_) {
      fail("script", "The " + what + " is not valid JSON");
      return undefined;
    }
  }

  // Returns the decoded JSON, or null when there is more to say: then `report` says it.
  function run(wanted, payloadText, metadataText, receivedMs) {
    lineCount = 0;
    warningCount = 0;
    body = null;
    failure = null;
    try {
      const name = choose(wanted);
      if (name === null) return null;
      const payload = readJson(payloadText, "payload");
      if (failure !== null) return null;
      const metadata = metadataText === "" ? {} : readJson(metadataText, "metadata");
      if (failure !== null) return null;
      call(name, payload, metadata, receivedMs);
    } catch (error) {
      return failWith(error);
    }
    return lineCount === 0 && warningCount === 0 ? body : null;
  }

  function report() {
    const said = create(null);
    said.body = failure === null ? body : null;
    said.kind = failure === null ? null : failure.kind;
    said.message = failure === null ? null : failure.message;
    said.logs = create(null);
    const first = lineCount > LOG_LINES ? lineCount - LOG_LINES : 0;
    for (let i = first; i < lineCount; i++) said.logs[i - first] = lines[i % LOG_LINES];
    said.warnings = create(null);
    for (let i = 0; i < warningCount; i++) said.warnings[i] = warnings[i];
    return stringify(said);
  }

  return function select(name) {
    return name === "load" ? load : name === "run" ? run : report;
  };
})
