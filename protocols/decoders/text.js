// TextEncoder and TextDecoder for UTF-8, which the engine does not bring.
(function () {
  "use strict";

  const fromCodePoint = String.fromCodePoint;
  const BATCH = 4096;

  function encodeUtf8(text) {
    const bytes = [];
    for (let i = 0; i < text.length; i++) {
      let point = text.codePointAt(i);
      if (point >= 0x10000) i++;
      else if (point >= 0xd800 && point <= 0xdfff) point = 0xfffd;
      if (point < 0x80) bytes.push(point);
      else if (point < 0x800) bytes.push(0xc0 | point >> 6, 0x80 | point & 63);
      else if (point < 0x10000) bytes.push(0xe0 | point >> 12, 0x80 | point >> 6 & 63, 0x80 | point & 63);
      else bytes.push(0xf0 | point >> 18, 0x80 | point >> 12 & 63, 0x80 | point >> 6 & 63, 0x80 | point & 63);
    }
    return new Uint8Array(bytes);
  }

  // How many bytes follow a lead byte, and the range its first follower must be in. The narrow
  // ranges shut out overlong forms, surrogates and what lies beyond U+10FFFF.
  function sequenceOf(lead) {
    if (lead >= 0xc2 && lead <= 0xdf) return [1, 0x80, 0xbf];
    if (lead === 0xe0) return [2, 0xa0, 0xbf];
    if (lead === 0xed) return [2, 0x80, 0x9f];
    if (lead >= 0xe1 && lead <= 0xef) return [2, 0x80, 0xbf];
    if (lead === 0xf0) return [3, 0x90, 0xbf];
    if (lead >= 0xf1 && lead <= 0xf3) return [3, 0x80, 0xbf];
    if (lead === 0xf4) return [3, 0x80, 0x8f];
    return null;
  }

  // Reads one code point at `at`; a broken sequence is null and as long as its sound beginning.
  function readPoint(bytes, at) {
    const lead = bytes[at];
    if (lead < 0x80) return [lead, 1];
    const sequence = sequenceOf(lead);
    if (sequence === null) return [null, 1];
    const [followers, low, high] = sequence;
    let point = lead & (0x3f >> followers);
    for (let k = 1; k <= followers; k++) {
      const next = bytes[at + k];
      if (next === undefined || next < (k === 1 ? low : 0x80) || next > (k === 1 ? high : 0xbf)) return [null, k];
      point = point << 6 | next & 63;
    }
    return [point, followers + 1];
  }

  function decodeUtf8(bytes, fatal) {
    let text = "";
    let points = [];
    for (let at = 0; at < bytes.length;) {
      const [point, length] = readPoint(bytes, at);
      if (point === null && fatal) throw new TypeError("The encoded data was not valid UTF-8");
      points.push(point === null ? 0xfffd : point);
      if (points.length === BATCH) {
        text += fromCodePoint(...points);
        points = [];
      }
      at += length;
    }
    return text + fromCodePoint(...points);
  }

  function bytesOf(source) {
    if (source === undefined) return new Uint8Array(0);
    if (source instanceof ArrayBuffer) return new Uint8Array(source);
    if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    throw new TypeError("The input is neither an ArrayBuffer nor a view of one");
  }

  class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") { return encodeUtf8(String(text)); }
    encodeInto(text, target) {
      let read = 0;
      let written = 0;
      for (const character of String(text)) {
        const bytes = encodeUtf8(character);
        if (written + bytes.length > target.length) break;
        target.set(bytes, written);
        read += character.length;
        written += bytes.length;
      }
      return { read, written };
    }
  }

  class TextDecoder {
    #fatal;
    #ignoreBOM;
    constructor(label = "utf-8", options = {}) {
      const name = String(label).trim().toLowerCase();
      if (name !== "utf-8" && name !== "utf8" && name !== "unicode-1-1-utf-8") {
        throw new RangeError("TextDecoder knows utf-8 only, not " + name);
      }
      this.#fatal = Boolean(options.fatal);
      this.#ignoreBOM = Boolean(options.ignoreBOM);
    }
    get encoding() { return "utf-8"; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }
    decode(source) {
      const text = decodeUtf8(bytesOf(source), this.#fatal);
      return !this.#ignoreBOM && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  }

  for (const [name, value] of [["TextEncoder", TextEncoder], ["TextDecoder", TextDecoder]]) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  }
})();
