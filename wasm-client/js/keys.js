// Keys for callers that keep them themselves.

import { loadedCore } from "./wasm.js";

/** A UUIDv7. Before the core is there, the same form is made of the same randomness here. */
export function freshKey() {
  const now = Date.now();
  if (loadedCore) return loadedCore.newKey(now);
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let at = 0; at < 6; at++) bytes[at] = now / 2 ** (40 - 8 * at);
  bytes[6] = 0x70 | (bytes[6] & 15);
  bytes[8] = 0x80 | (bytes[8] & 63);
  const text = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
