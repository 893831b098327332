// Elsys sensors, as NGSI-LD entities for a data target of type FIWARE.
//
// What is returned is what the context broker stores, so it has to be an array of entities, each
// with an `id` that is a URI and a `type`. Two here: what was measured, and the sensor that did it.
// Give the data target a `context` that knows the names below, such as those of Smart Data Models;
// if it has none, add "@context" to each entity instead.
//
// Format of the payload: see elsys.js, which reads all of it. Published as "Elsys LoRa payload".

// Type -> [number of bytes, and for those that are sent on: entity, attribute, divisor, unit].
// Units are codes of UN/CEFACT Recommendation 20, as NGSI-LD wants them.
const TYPES = {
  0x01: [2, "environment", "temperature", 10, "CEL"],
  0x02: [1, "environment", "relativeHumidity", 1, "P1"],
  0x03: [3],
  0x04: [2, "environment", "illuminance", 1, "LUX"],
  0x05: [1, "environment", "motion", 1],
  0x06: [2, "environment", "co2", 1, "59"],
  0x07: [2, "device", "batteryVoltage", 1000, "VLT"],
  0x08: [2], 0x09: [6], 0x0a: [2], 0x0b: [4], 0x0c: [2], 0x0d: [1], 0x0e: [2], 0x0f: [1],
  0x10: [4], 0x11: [1], 0x12: [1], 0x14: [4], 0x15: [2], 0x16: [2], 0x17: [4], 0x18: [2],
  0x19: [2], 0x1a: [1], 0x1b: [4], 0x1c: [2],
};
const SIGNED = 0x01;

function decode(payload, metadata) {
  // The hub's own number of the device: it stays when the device is given another name.
  const name = "tingbro-" + metadata.id;
  const deviceId = "urn:ngsi-ld:Device:" + name;
  const entities = {
    environment: { id: "urn:ngsi-ld:IndoorEnvironmentObserved:" + name, type: "IndoorEnvironmentObserved" },
    device: { id: deviceId, type: "Device" },
  };
  // When the message was sent, if it says so; a message that is decoded again later must not become new.
  const sent = new Date(typeof payload.time === "string" ? payload.time : NaN);
  const observedAt = (isNaN(sent) ? new Date() : sent).toISOString();

  const bytes = bytesOf(payload);
  let count = 0;
  for (let at = 0; at < bytes.length;) {
    const code = bytes[at++];
    const known = TYPES[code];
    if (!known) throw new Error("value of unknown type " + code + " at byte " + (at - 1));
    const [size, entity, attribute, divisor, unitCode] = known;
    if (at + size > bytes.length) throw new Error("value of type " + code + " is cut off");
    if (entity) {
      const value = number(bytes.slice(at, at + size), code === SIGNED) / divisor;
      entities[entity][attribute] = { type: "Property", value, observedAt, unitCode };
      count++;
    }
    at += size;
  }
  if (count === 0) throw new Error("the payload holds nothing that is sent on");

  entities.environment.refDevice = { type: "Relationship", object: deviceId };
  entities.device.name = { type: "Property", value: metadata.name };
  if (metadata.location) {
    // Longitude first, in GeoJSON as in the hub.
    entities.environment.location = { type: "GeoProperty", value: metadata.location };
  }
  return [entities.environment, entities.device];
}

function bytesOf(payload) {
  if (typeof payload.data === "string") {
    return Array.from(atob(payload.data), (character) => character.charCodeAt(0));
  }
  if (/^([0-9a-f]{2})*$/i.test(payload.payload_hex)) {
    return (payload.payload_hex.match(/../g) || []).map((pair) => parseInt(pair, 16));
  }
  throw new Error("the message holds neither `data` nor `payload_hex`");
}

// The most significant byte comes first.
function number(bytes, isSigned) {
  const value = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  return isSigned && bytes[0] > 127 ? value - 256 ** bytes.length : value;
}
