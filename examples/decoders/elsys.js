// Elsys sensors (ERS, ELT, EMS and their kin): one decoder for all of them.
//
// Format: the payload is a row of values, each a byte that names its type followed by a fixed
// number of bytes, most significant first. Published by Elsys as "Elsys LoRa payload".

// Type -> [number of bytes, function that writes the value into the result].
const TYPES = {
  0x01: [2, (at, out) => { out.temperature = at.signed(2) / 10; }],          // degrees Celsius
  0x02: [1, (at, out) => { out.humidity = at.unsigned(1); }],                // per cent
  0x03: [3, (at, out) => { out.x = at.signed(1); out.y = at.signed(1); out.z = at.signed(1); }],
  0x04: [2, (at, out) => { out.light = at.unsigned(2); }],                   // lux
  0x05: [1, (at, out) => { out.motion = at.unsigned(1); }],                  // times moved
  0x06: [2, (at, out) => { out.co2 = at.unsigned(2); }],                     // ppm
  0x07: [2, (at, out) => { out.vdd = at.unsigned(2); }],                     // mV
  0x08: [2, (at, out) => { out.analog1 = at.unsigned(2); }],                 // mV
  0x09: [6, (at, out) => { out.lat = at.signed(3) / 10000; out.long = at.signed(3) / 10000; }],
  0x0a: [2, (at, out) => { out.pulse1 = at.unsigned(2); }],
  0x0b: [4, (at, out) => { out.pulseAbs = at.unsigned(4); }],
  0x0c: [2, (at, out) => { out.externalTemperature = at.signed(2) / 10; }],
  0x0d: [1, (at, out) => { out.digital = at.unsigned(1); }],
  0x0e: [2, (at, out) => { out.distance = at.unsigned(2); }],                // mm
  0x0f: [1, (at, out) => { out.accMotion = at.unsigned(1); }],
  0x10: [4, (at, out) => {
    out.irInternalTemperature = at.signed(2) / 10;
    out.irExternalTemperature = at.signed(2) / 10;
  }],
  0x11: [1, (at, out) => { out.occupancy = at.unsigned(1); }],               // 0 none, 1 pending, 2 yes
  0x12: [1, (at, out) => { out.waterleak = at.unsigned(1); }],
  0x14: [4, (at, out) => { out.pressure = at.signed(4) / 1000; }],           // hPa
  0x15: [2, (at, out) => { out.soundPeak = at.unsigned(1); out.soundAvg = at.unsigned(1); }],
  0x16: [2, (at, out) => { out.pulse2 = at.unsigned(2); }],
  0x17: [4, (at, out) => { out.pulseAbs2 = at.unsigned(4); }],
  0x18: [2, (at, out) => { out.analog2 = at.unsigned(2); }],                 // mV
  0x19: [2, (at, out) => { out.externalTemperature2 = at.signed(2) / 10; }],
  0x1a: [1, (at, out) => { out.digital2 = at.unsigned(1); }],
  0x1b: [4, (at, out) => { out.analogUv = at.signed(4); }],                  // microvolt
  0x1c: [2, (at, out) => { out.tvoc = at.unsigned(2); }],                    // ppb
};

function decodeUplink(input) {
  const at = new Reader(input.bytes);
  const data = {};
  while (at.left > 0) {
    const type = at.unsigned(1);
    const known = TYPES[type];
    const name = "0x" + type.toString(16).padStart(2, "0");
    if (!known) {
      // Its length is unknown too, so nothing after it can be read.
      return { errors: ["value of unknown type " + name + " at byte " + (at.position - 1)] };
    }
    const [size, read] = known;
    if (at.left < size) {
      return { errors: ["value of type " + name + " is cut off"] };
    }
    read(at, data);
  }
  if (Object.keys(data).length === 0) {
    return { errors: ["the payload is empty"] };
  }
  return { data };
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.position = 0;
  }

  get left() {
    return this.bytes.length - this.position;
  }

  unsigned(size) {
    let value = 0;
    for (let i = 0; i < size; i++) {
      value = value * 256 + this.bytes[this.position++];
    }
    return value;
  }

  signed(size) {
    const value = this.unsigned(size);
    const range = 2 ** (8 * size);
    return value < range / 2 ? value : value - range;
  }
}
