// The package with its WebAssembly as a file beside it, for pages that serve one.

import { Client, lazyClient, openClient } from "./client.js";
import { freshKey } from "./keys.js";

export { okOrThrow } from "./answers.js";
export { guardForm } from "./client.js";
export { IdempotencyError, NotSent, Rejected } from "./errors.js";

export class IdempotencyClient extends Client {
  /** `options.wasm` says where the file is, or is the module itself. */
  static open(options) {
    const { wasm } = options ?? {};
    return openClient(IdempotencyClient, () => servedWasm(wasm), options);
  }

  static lazy(options) {
    return lazyClient(() => IdempotencyClient.open(options));
  }
}

export function newKey() {
  return freshKey();
}

async function servedWasm(wasm = new URL("./idempotency_client_bg.wasm", import.meta.url)) {
  if (wasm instanceof WebAssembly.Module) return wasm;
  const isPlace = typeof wasm === "string" || wasm instanceof URL;
  const source = isPlace ? await fetch(wasm) : await wasm;
  if (!(source instanceof Response)) return WebAssembly.compile(source);
  if (!source.ok) throw new Error(`${source.url} answered ${source.status}`);
  return WebAssembly.compile(await source.arrayBuffer());
}
