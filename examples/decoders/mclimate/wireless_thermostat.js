// MClimate Wireless Thermostat.
//
// Format: docs.mclimate.eu, "Device communication protocol", keep-alive. Numbers of several bytes
// have the most significant first.

function decodeUplink(input) {
  const b = input.bytes;
  if (b.length < 11 || b[0] !== 0x01) {
    return { errors: ["not a keep-alive of this device"] };
  }
  return {
    data: {
      sensorTemperature: (((b[1] << 8) | b[2]) - 400) / 10,
      relativeHumidity: round((b[3] * 100) / 256, 2),
      batteryVoltage: ((b[4] << 8) | b[5]) / 1000,
      targetTemperature: b[6],
      powerSourceStatus: b[7],
      lux: (b[8] << 8) | b[9],
      pir: b[10] === 1,
    },
  };
}

function round(value, decimals) {
  return Number(value.toFixed(decimals));
}
