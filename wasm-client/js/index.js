// The package with its WebAssembly inside: nothing to serve, nothing to configure.

import { Client, openClient } from "./client.js";
import { inlinedWasm } from "./inlined.js";
import { freshKey } from "./keys.js";

export { IdempotencyError, NotSent, Rejected } from "./errors.js";

export class IdempotencyClient extends Client {
  static open(options) {
    return openClient(IdempotencyClient, inlinedWasm, options);
  }
}

export function newKey() {
  return freshKey();
}
