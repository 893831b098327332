// MClimate Vicki, a radiator valve.
//
// Format: docs.mclimate.eu, "Device communication protocol", keep-alive. Numbers of several bytes
// have the most significant first.

function decodeUplink(input) {
  const b = input.bytes;
  const isOldFirmware = b[0] === 0x01; // up to 3.4
  if (b.length < 9 || !(isOldFirmware || b[0] === 0x81)) {
    return { errors: ["not a keep-alive of this device"] };
  }
  const motorPosition = ((b[6] >> 4) << 8) | b[4];
  const motorRange = ((b[6] & 0x0f) << 8) | b[5];
  const celsius = isOldFirmware ? (b[2] * 165) / 256 - 40 : (b[2] - 28.33333) / 5.66666;
  return {
    data: {
      reason: b[0],
      targetTemperature: b[1],
      targetTemperatureFloat: b[1].toFixed(2),
      sensorTemperature: round(celsius, 2),
      relativeHumidity: round((b[3] * 100) / 256, 2),
      motorPosition,
      motorRange,
      // The valve is open when the motor is at position 0.
      motorOpenness: motorRange === 0 ? 0 : Math.round((1 - motorPosition / motorRange) * 100),
      batteryVoltage: round(2 + (b[7] >> 4) * 0.1, 1),
      openWindow: isSet(b[7], 3),
      highMotorConsumption: isSet(b[7], 2),
      lowMotorConsumption: isSet(b[7], 1),
      brokenSensor: isSet(b[7], 0),
      childLock: isSet(b[8], 7),
      calibrationFailed: isSet(b[8], 6),
      attachedBackplate: isSet(b[8], 5),
      perceiveAsOnline: isSet(b[8], 4),
      antiFreezeProtection: isSet(b[8], 3),
    },
  };
}

function isSet(byte, position) {
  return ((byte >> position) & 1) === 1;
}

function round(value, decimals) {
  return Number(value.toFixed(decimals));
}
