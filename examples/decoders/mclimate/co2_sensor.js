// MClimate CO2 Sensor and Notifier.
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
      CO2: (b[1] << 8) | b[2], // ppm
      sensorTemperature: (((b[3] << 8) | b[4]) - 400) / 10,
      relativeHumidity: round((b[5] * 100) / 256, 2),
      batteryVoltage: round((b[6] * 8 + 1600) / 1000, 1),
    },
  };
}

function round(value, decimals) {
  return Number(value.toFixed(decimals));
}
