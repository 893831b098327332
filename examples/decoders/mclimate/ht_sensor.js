// MClimate HT Sensor, temperature and humidity.
//
// Format: docs.mclimate.eu, "Device communication protocol", keep-alive. Numbers of several bytes
// have the most significant first.

function decodeUplink(input) {
  const b = input.bytes;
  if (b.length < 7 || b[0] !== 0x01) {
    return { errors: ["not a keep-alive of this device"] };
  }
  return {
    data: {
      sensorTemperature: (((b[1] << 8) | b[2]) - 400) / 10,
      relativeHumidity: round((b[3] * 100) / 256, 2),
      batteryVoltage: round((b[4] * 8 + 1600) / 1000, 1),
      thermistorProperlyConnected: (b[5] & 0x04) === 0,
      extThermistorTemperature: (((b[5] & 0x03) << 8) | b[6]) / 10,
    },
  };
}

function round(value, decimals) {
  return Number(value.toFixed(decimals));
}
