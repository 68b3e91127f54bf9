// The package with its WebAssembly inside: nothing to serve, nothing to configure.

import { Client, lazyClient, openClient } from "./client.js";
import { inlinedWasm } from "./inlined.js";
import { freshKey } from "./keys.js";

export { okOrThrow } from "./answers.js";
export { guardForm } from "./client.js";
export { IdempotencyError, NotSent, Rejected } from "./errors.js";

export class IdempotencyClient extends Client {
  static open(options) {
    return openClient(IdempotencyClient, inlinedWasm, options);
  }

  static lazy(options) {
    return lazyClient(() => IdempotencyClient.open(options));
  }
}

export function newKey() {
  return freshKey();
}
