// MClimate Flood Sensor: its short message.
//
// Format: docs.mclimate.eu, "Device communication protocol", keep-alive. Numbers of several bytes
// have the most significant first.

const REASONS = ["keepalive", "testButtonPressed", "floodDetected", "fraudDetected"];

function decodeUplink(input) {
  const b = input.bytes;
  if (b.length !== 2) {
    return { errors: ["only the short message of 2 bytes is decoded here"] };
  }
  const code = b[0] >> 5;
  return {
    data: {
      reason: REASONS[code] || "code " + code,
      boxTamper: (b[0] & 0x08) !== 0,
      flood: (b[0] & 0x04) !== 0,
      battery: (b[1] * 16) / 1000, // V
    },
  };
}
