// A decoder in the convention of OS2iot: `decode(payload, metadata)`.
//
// `payload` is the JSON the device sent, `metadata` what the hub knows of the device: its name,
// its place and the pairs that were entered for it. What is returned is what is pushed.
//
// This one is for a device that posts {"temperature": 2153, "humidity": 401, "battery": 3.6}: a
// temperature in hundredths of a degree and a humidity in tenths of a per cent. Whoever receives
// it wants degrees and per cent, and to know where they were measured.

function decode(payload, metadata) {
  if (typeof payload.temperature !== "number") {
    throw new Error("the payload holds no temperature");
  }
  const decoded = {
    sensor: metadata.name,
    temperature: payload.temperature / 100,
  };
  if (typeof payload.humidity === "number") {
    decoded.humidity = payload.humidity / 10;
  }
  if (metadata.location) {
    const [longitude, latitude] = metadata.location.coordinates;
    decoded.location = { latitude, longitude };
  }
  return decoded;
}
