// MClimate T-Valve, a water shut-off valve: its short message.
//
// Format: docs.mclimate.eu, "Device communication protocol", keep-alive. Numbers of several bytes
// have the most significant first.

function decodeUplink(input) {
  const b = input.bytes;
  if (b.length !== 2) {
    return { errors: ["only the short message of 2 bytes is decoded here"] };
  }
  return {
    data: {
      reason: "keepalive", // the only reason for a short message
      waterTemp: b[0] / 2,
      valveState: (b[1] & 0x80) !== 0, // true: open
      ambientTemp: ((b[1] & 0x7f) - 20) / 2,
    },
  };
}
