// Browan Tabs sensors and the MerryIoT CO2 sensor: the port says which one it is.
//
// Format: as in the reference manuals of the products (TBDW100, TBMS100, TBHH100, TBHV110,
// TBAM100, TBSL100, TBWL100, TBPB100, CD10), chapter "Messages". All begin with a status byte and
// the battery; numbers of several bytes have the least significant first.

// Port -> products on it, by the length of their messages.
const PRODUCTS = {
  100: { 8: doorOrMotion },           // TBDW100
  102: { 8: doorOrMotion },           // TBMS100
  103: { 8: temperatureHumidity, 11: airQuality }, // TBHH100, TBHV110
  104: { 6: ambientLight },           // TBAM100
  105: { 4: soundLevel },             // TBSL100
  106: { 5: waterLeak },              // TBWL100
  127: { 7: carbonDioxide },          // CD10
  147: { 8: pushButton },             // TBPB100
};

function decodeUplink(input) {
  const product = PRODUCTS[input.fPort];
  if (!product) {
    return { errors: ["no product of this family sends on port " + input.fPort] };
  }
  const decode = product[input.bytes.length];
  if (!decode) {
    return { errors: [input.bytes.length + " bytes are not a message of port " + input.fPort] };
  }
  return { data: decode(input.bytes) };
}

function doorOrMotion(bytes) {
  return {
    status: bit(bytes[0], 0),                     // 1: open, occupied
    battery: volts(bytes[1]),
    temperatureBoard: celsius(bytes[2]),
    time: number(bytes, 3, 2),                    // minutes since the last event
    count: number(bytes, 5, 3),                   // events since the start
  };
}

function temperatureHumidity(bytes) {
  return {
    status: bit(bytes[0], 3),                     // 1: sent because of a change
    battery: volts(bytes[1]),
    temperature: celsius(bytes[2]),
    humidity: bytes[3] & 0x7f,
    // The gas readings that follow are all ones on this model, which has no such sensor.
  };
}

function airQuality(bytes) {
  return {
    status: bit(bytes[0], 0),                     // 1: sent because of a change
    // A change of humidity alone is bit 5 in the manual; the values published for this device do
    // not report it, so neither does this decoder.
    tempHumidChanged: bit(bytes[0], 4),
    iaqChanged: bit(bytes[0], 6),
    battery: volts(bytes[1]),
    temperatureBoard: celsius(bytes[2]),
    humidity: bytes[3] & 0x7f,
    eco2: number(bytes, 4, 2),
    voc: number(bytes, 6, 2),
    iaq: number(bytes, 8, 2),
    temperature: celsius(bytes[10]),
  };
}

function ambientLight(bytes) {
  return {
    darker: bit(bytes[0], 0),
    lighter: bit(bytes[0], 1),
    // The manual calls bit 4 the keep-alive; the values published for this device, a status change.
    statusChange: bit(bytes[0], 4),
    keepAlive: bit(bytes[0], 5),
    battery: volts(bytes[1]),
    temperatureBoard: celsius(bytes[2]),
    lux: number(bytes, 3, 3) / 100,
  };
}

function soundLevel(bytes) {
  return {
    status: bit(bytes[0], 0),                     // 1: over the threshold
    battery: volts(bytes[1]),
    temperatureBoard: celsius(bytes[2]),
    decibel: bytes[3] === 255 ? null : bytes[3],  // 255: could not measure
  };
}

function waterLeak(bytes) {
  return {
    status: bit(bytes[0], 0),                     // 1: water
    temperatureChanged: bit(bytes[0], 5),
    humidityChanged: bit(bytes[0], 6),
    battery: volts(bytes[1]),
    temperatureBoard: celsius(bytes[2]),
    humidity: (bytes[3] & 0x7f) === 127 ? null : bytes[3] & 0x7f, // 127: could not measure
    temperature: celsius(bytes[4]),
  };
}

function pushButton(bytes) {
  return {
    status: bit(bytes[0], 0),                     // 1: pressed
    battery: volts(bytes[1]),
    temperatureBoard: celsius(bytes[2]),
  };
}

function carbonDioxide(bytes) {
  const temperature = number(bytes, 2, 2);
  return {
    status: bit(bytes[0], 0),                     // 1: sent because of an event
    button: bit(bytes[0], 1),
    co2threshold: bit(bytes[0], 4),               // 1: over the threshold
    co2calibration: bit(bytes[0], 5),
    battery: (21 + (bytes[1] & 0x0f)) / 10,       // V; two cells, hence not as the others
    temperature: (temperature < 0x8000 ? temperature : temperature - 0x10000) / 10,
    humidity: bytes[4] & 0x7f,
    co2_ppm: number(bytes, 5, 2),
  };
}

function bit(byte, position) {
  return (byte >> position) & 1;
}

function volts(byte) {
  return (25 + (byte & 0x0f)) / 10;
}

function celsius(byte) {
  return (byte & 0x7f) - 32;
}

function number(bytes, start, size) {
  let value = 0;
  for (let i = start + size - 1; i >= start; i--) {
    value = value * 256 + bytes[i];
  }
  return value;
}
