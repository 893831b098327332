// The part of Node's Buffer that payload decoders use. Needs text.js.
(function () {
  "use strict";

  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  function single(bytes, mask) {
    let text = "";
    for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(bytes[i] & mask);
    return text;
  }

  // The low byte of every UTF-16 unit, or both bytes, low one first.
  function unitBytes(text, wide) {
    const bytes = [];
    for (let i = 0; i < text.length; i++) {
      bytes.push(text.charCodeAt(i) & 0xff);
      if (wide) bytes.push(text.charCodeAt(i) >> 8);
    }
    return Uint8Array.from(bytes);
  }

  // Node stops at the first pair that is not hexadecimal instead of refusing the text.
  function fromHex(text) {
    const sound = /^(?:[0-9a-f]{2})*/i.exec(text)[0];
    return Uint8Array.fromHex(sound);
  }

  // Node takes both alphabets, skips what belongs to neither and stops at the padding.
  function fromBase64(text) {
    const end = text.indexOf("=");
    const sound = (end < 0 ? text : text.slice(0, end))
      .replace(/-/g, "+").replace(/_/g, "/").replace(/[^A-Za-z0-9+/]/g, "");
    const whole = sound.length % 4 === 1 ? sound.slice(0, -1) : sound;
    return Uint8Array.from(atob(whole), (c) => c.charCodeAt(0));
  }

  const plain = (bytes) => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

  const utf8 = { read: (text) => encoder.encode(text), show: (bytes) => decoder.decode(bytes) };
  const latin1 = { read: (text) => unitBytes(text, false), show: (bytes) => single(bytes, 0xff) };
  const utf16 = {
    read: (text) => unitBytes(text, true),
    show(bytes) {
      let text = "";
      for (let i = 0; i + 1 < bytes.length; i += 2) text += String.fromCharCode(bytes[i] | bytes[i + 1] << 8);
      return text;
    },
  };
  const ENCODINGS = {
    __proto__: null,
    utf8, "utf-8": utf8, latin1, binary: latin1,
    ascii: { read: latin1.read, show: (bytes) => single(bytes, 0x7f) },
    hex: { read: fromHex, show: (bytes) => plain(bytes).toHex() },
    base64: { read: fromBase64, show: (bytes) => plain(bytes).toBase64() },
    base64url: {
      read: fromBase64,
      show: (bytes) => plain(bytes).toBase64({ alphabet: "base64url", omitPadding: true }),
    },
    utf16le: utf16, "utf-16le": utf16, ucs2: utf16, "ucs-2": utf16,
  };

  function encodingOf(name) {
    const encoding = ENCODINGS[name === undefined || name === null ? "utf8" : String(name).toLowerCase()];
    if (encoding === undefined) throw new TypeError("Unknown encoding: " + name);
    return encoding;
  }

  // A function and no class: old codecs call Buffer(...) without new.
  function Buffer(value, second, third) {
    if (typeof value === "string") value = encodingOf(second).read(value);
    else if (value !== null && typeof value === "object" && value.type === "Buffer" && Array.isArray(value.data)) {
      value = value.data;
    }
    const given = value instanceof ArrayBuffer ? [value, second, third] : [value];
    return Reflect.construct(Uint8Array, given, new.target || Buffer);
  }
  Object.setPrototypeOf(Buffer, Uint8Array);
  Buffer.prototype = Object.create(Uint8Array.prototype, {
    constructor: { value: Buffer, writable: true, configurable: true },
  });

  function method(holder, name, value) {
    Object.defineProperty(holder, name, { value, writable: true, configurable: true });
  }

  function methods(holder, table) {
    for (const name of Object.keys(table)) method(holder, name, table[name]);
  }

  methods(Buffer, {
    from(value, second, third) {
      if (typeof value === "number") throw new TypeError("Buffer.from takes no number; use Buffer.alloc");
      return new Buffer(value, second, third);
    },
    of(...values) { return new Buffer(values); },
    alloc(size, fill, encoding) {
      const buffer = new Buffer(size);
      return fill === undefined ? buffer : buffer.fill(fill, 0, size, encoding);
    },
    allocUnsafe(size) { return new Buffer(size); },
    isBuffer(value) { return value instanceof Buffer; },
    isEncoding(name) { return String(name).toLowerCase() in ENCODINGS; },
    byteLength(value, encoding) {
      return typeof value === "string" ? encodingOf(encoding).read(value).length : value.byteLength;
    },
    concat(list, total) {
      const size = total === undefined ? list.reduce((sum, part) => sum + part.length, 0) : total;
      const joined = new Buffer(size);
      let at = 0;
      for (const part of list) {
        if (at >= size) break;
        joined.set(at + part.length > size ? part.slice(0, size - at) : part, at);
        at += part.length;
      }
      return joined;
    },
  });

  methods(Buffer.prototype, {
    toString(encoding, start = 0, end = this.length) {
      return encodingOf(encoding).show(plain(this).subarray(start, end));
    },
    toJSON() { return { type: "Buffer", data: Array.from(this) }; },
    equals(other) { return this.length === other.length && this.every((byte, i) => byte === other[i]); },
    // Unlike that of its parent, a Buffer's slice shares its memory.
    slice(start, end) { return this.subarray(start, end); },
    copy(target, at = 0, start = 0, end = this.length) {
      const part = plain(this).subarray(start, Math.min(end, start + target.length - at));
      target.set(part, at);
      return part.length;
    },
    fill(value, start = 0, end = this.length, encoding = undefined) {
      if (typeof value !== "string") return Uint8Array.prototype.fill.call(this, value, start, end);
      const pattern = encodingOf(encoding).read(value);
      for (let i = start; i < end; i++) this[i] = pattern.length === 0 ? 0 : pattern[(i - start) % pattern.length];
      return this;
    },
    write(text, ...rest) {
      const encoding = typeof rest[rest.length - 1] === "string" ? rest.pop() : undefined;
      const [at = 0, length = this.length - at] = rest;
      const bytes = encodingOf(encoding).read(text).subarray(0, Math.min(length, this.length - at));
      this.set(bytes, at);
      return bytes.length;
    },
  });

  function view(buffer) {
    return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  function pair(name, getter, setter, size, little) {
    method(Buffer.prototype, "read" + name, function (at = 0) { return view(this)[getter](at, little); });
    method(Buffer.prototype, "write" + name, function (value, at = 0) {
      view(this)[setter](at, value, little);
      return at + size;
    });
    if (name.includes("UInt")) {
      for (const verb of ["read", "write"]) {
        method(Buffer.prototype, verb + name.replace("UInt", "Uint"), Buffer.prototype[verb + name]);
      }
    }
  }

  pair("UInt8", "getUint8", "setUint8", 1);
  pair("Int8", "getInt8", "setInt8", 1);
  for (const [end, little] of [["LE", true], ["BE", false]]) {
    pair("UInt16" + end, "getUint16", "setUint16", 2, little);
    pair("Int16" + end, "getInt16", "setInt16", 2, little);
    pair("UInt32" + end, "getUint32", "setUint32", 4, little);
    pair("Int32" + end, "getInt32", "setInt32", 4, little);
    pair("Float" + end, "getFloat32", "setFloat32", 4, little);
    pair("Double" + end, "getFloat64", "setFloat64", 8, little);
    pair("BigUInt64" + end, "getBigUint64", "setBigUint64", 8, little);
    pair("BigInt64" + end, "getBigInt64", "setBigInt64", 8, little);
  }

  // One to six bytes, as in Node: more than 48 bits a number does not hold exactly.
  function checkSpan(buffer, at, size) {
    if (!(size >= 1 && size <= 6)) throw new RangeError("byteLength must be 1 to 6, not " + size);
    if (!(at >= 0 && at + size <= buffer.length)) throw new RangeError("Offset " + at + " is outside the buffer");
  }

  function readUnsigned(buffer, at, size, little) {
    checkSpan(buffer, at, size);
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 256 + buffer[little ? at + size - 1 - i : at + i];
    return value;
  }

  function readSigned(buffer, at, size, little) {
    const value = readUnsigned(buffer, at, size, little);
    return value >= 2 ** (8 * size - 1) ? value - 2 ** (8 * size) : value;
  }

  function writeSpan(buffer, value, at, size, little) {
    checkSpan(buffer, at, size);
    let rest = value < 0 ? value + 2 ** (8 * size) : value;
    for (let i = 0; i < size; i++) {
      buffer[little ? at + i : at + size - 1 - i] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    return at + size;
  }

  for (const [end, little] of [["LE", true], ["BE", false]]) {
    for (const kind of ["UInt", "Uint"]) {
      method(Buffer.prototype, "read" + kind + end, function (at, size) { return readUnsigned(this, at, size, little); });
      method(Buffer.prototype, "write" + kind + end, function (value, at, size) { return writeSpan(this, value, at, size, little); });
    }
    method(Buffer.prototype, "readInt" + end, function (at, size) { return readSigned(this, at, size, little); });
    method(Buffer.prototype, "writeInt" + end, function (value, at, size) { return writeSpan(this, value, at, size, little); });
  }

  method(globalThis, "Buffer", Buffer);
})();
